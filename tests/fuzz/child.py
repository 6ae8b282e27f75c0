"""One target under atheris, in a process of its own: `python -m tests.fuzz.child NAME LIBFUZZER-OPTIONS`."""

import resource
import signal
import sys
from random import Random
from types import FrameType

import atheris

with atheris.instrument_imports(include=["keys", "protocol", "ledger", "node"]):
    from tests.fuzz.targets import accepts

from tests.fuzz.mutate import mutate

CPU_S_MAX = 10.0  # for one input; real time says little on a machine that is shared
KEEPS_FORM = 0.5  # of the changes: the others are of bytes
ADDRESS_BYTES_MAX = 2 << 30  # beyond this an allocation fails: no input may ask for gigabytes that it does not touch


def _hang(_signal: int, _frame: FrameType | None) -> None:
    raise AssertionError(f"one input takes more than {CPU_S_MAX:.0f} s of the processor")


def main() -> None:
    name = sys.argv.pop(1)
    accepts(name, b"")  # what a target makes once is not the first input's time
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES_MAX, ADDRESS_BYTES_MAX))
    signal.signal(signal.SIGVTALRM, _hang)

    def one(raw: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S_MAX)
        accepts(name, raw)

    def change(raw: bytes, size_max: int, seed: int) -> bytes:
        random = Random(seed)
        found = mutate(raw, random) if random.random() < KEEPS_FORM else None
        while found is not None and random.random() < 0.3:  # at times several changes
            raw, found = found, mutate(found, random)
        if found is None or len(found) > size_max:
            found = atheris.Mutate(raw[:size_max], size_max)
        return bytes(found)

    atheris.Setup(sys.argv, one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
