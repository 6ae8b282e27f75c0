"""The indexer: a process beside the daemon that keeps the search index up with the ledger.

It has a core of its own where the machine has one, and steps back where it has not, so admission never waits for it.
The daemon writes a byte to its standard input when entries have arrived; it answers a line for each step that it has
taken. When its input ends, the daemon is gone, and it ends too. It may be killed at any moment.

    python -m node.indexer HOME
"""

import gc
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from keys.errors import HamkorError, IndexDamagedError
from ledger.comparison import Comparison
from ledger.lmdb_store import open_lmdb
from ledger.projection import Projection
from ledger.storage import Storage
from ledger.store import load
from node.clock import wall_ms
from node.home import open_home

_NICE: Final = 10  # a tenth of a core that others want
_GC_OBJECTS: Final = 200_000  # new ones before garbage is looked for: a batch makes many, and none in circles


def main(path: Path) -> int:
    """Follow until the input ends; 1 on an error, which is the last line of the output."""
    os.nice(_NICE)
    gc.set_threshold(_GC_OBJECTS)
    try:
        home = open_home(path)
        projection = Projection(home.search_path)
        comparison = Comparison(projection)
        with closing(open_lmdb(home.store_path, readonly=True)) as storage:
            while os.read(sys.stdin.fileno(), 1 << 16):
                while _step(projection, comparison, storage):
                    _tell(".")
                _tell(".")
    except BrokenPipeError:  # the node was killed: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered is written at the end
        return 0
    except HamkorError as error:
        _tell(str(error))
        return 1
    return 0


def _step(projection: Projection, comparison: Comparison, storage: Storage) -> bool:
    """One step; whether there may be more: the entries, then what checkpoints say. A damaged index is built anew."""
    try:
        ledger = load(storage)  # anew: authority may have changed
        if projection.catch_up(ledger) > 0 and projection.cursor() < ledger.arrival():
            return True
        return comparison.compare(ledger, wall_ms())
    except IndexDamagedError:
        projection.start_again()
        return True


def _tell(line: str) -> None:
    sys.stdout.write(" ".join(line.split()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
