"""Frames are read before their turn: whatever can be found out about entries without the store.

Shapes, hashes and signatures need nothing but the frame. So while one frame is admitted and written (`ingest.py`), the
next can be read elsewhere, on another core. This decides nothing: what is missing here, or found wrong, admission reads
in its turn, by the same functions, and says what is wrong with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from keys.errors import RemoteError
from keys.signing import all_hold
from protocol.entry import Chain, NetworkId, read_rows, signed_bytes
from protocol.frame import Run
from protocol.limits import ANCHOR
from protocol.message import Fork

Item: TypeAlias = "bytes | tuple[Run, ...] | Fork"
Wanted: TypeAlias = Callable[[Run], bool]


@dataclass(frozen=True, slots=True)
class ReadFrame:
    """A frame of the right shape, and the rows of some of its runs."""

    runs: tuple[Run, ...]
    chains: Mapping[int, Chain]  # which run -> its rows


Ahead: TypeAlias = "Callable[[Iterable[Item], Wanted], Iterator[tuple[Item, ReadFrame | None]]]"


def in_turn(items: Iterable[Item], _wanted: Wanted) -> Iterator[tuple[Item, ReadFrame | None]]:
    """The items, nothing of them read. Others read runs that are wanted, a few frames ahead of the caller."""
    return ((item, None) for item in items)


def read_run(network_id: NetworkId, run: Run) -> Chain | None:
    """The rows of a run that has no acts, and whether the signatures that prove it hold; None: admission reads it."""
    try:
        chain = read_rows(run.rows, run.key, run.seq, run.prev, 0)
    except RemoteError:
        return None
    if "act" in chain.kinds:  # each is signed by itself: admission knows which are new
        return None
    facts = map(chain.fact, proving(chain, run.seq))
    signed = (fact.signature + signed_bytes(network_id, fact.header) for fact in facts)
    return replace(chain, proved=all_hold(run.key, signed))


def proving(chain: Chain, first: int) -> list[int]:
    """Which rows, of those from seq `first` on, are held to their own signatures: the last, acts, each ANCHOR-th."""
    fresh, last = first - chain.place.seq, len(chain) - 1
    found = {last, *range(fresh + (-first - 1) % ANCHOR, last, ANCHOR)}
    if "act" in chain.kinds:
        found.update(at for at in range(fresh, last) if chain.kinds[at] == "act")
    return sorted(found)
