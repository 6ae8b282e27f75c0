"""What a writer could know of authority when it wrote: the causal past of an entry, and the acts in it.

An entry knows what is before it in its log, everything that it or those name in `refs`, all that stands before that
in its logs, and so on. So that this says something, writers name the newest acts that they hold (`acts_to_name`).
"""

from collections.abc import Mapping
from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey
from ledger.authority import Authority, evaluate
from ledger.council import ActEntry
from ledger.store import Ledger
from protocol.acts import Act, Certify, Propose, Rekey, Remove, Revoke, parse_act
from protocol.entry import Entry, EntryId

NAMED_MAX: Final = 8  # acts that one entry names
_LOOK_BACK: Final = 64  # entries of a log that may have named an act already
_PAGE: Final = 1000


def acts_to_name(ledger: Ledger, key: PublicKey) -> list[EntryId]:
    """The newest act that counts of each log, which none of `key`'s last entries has named: its certifiers' first.

    At most NAMED_MAX. Cost: O(acts), and 64 entries read.
    """
    newest: dict[PublicKey, ActEntry] = {}
    for act in ledger.acts:
        known = newest.get(act.key)
        if act.key != key and act.seq < ledger.heads.get(act.key).size and (known is None or act.seq > known.seq):
            newest[act.key] = act
    size = ledger.heads.get(key).size
    named = ledger.refs_named(key, max(0, size - _LOOK_BACK), size) if newest else set()
    above = [step.key for step in ledger.authority.chain(key)[1:]]
    ordered = [*above, *sorted(newest.keys() - set(above))]
    return [newest[one].id for one in ordered if one in newest and newest[one].id not in named][:NAMED_MAX]


def causal_past(ledger: Ledger, entry: Entry) -> dict[PublicKey, int]:
    """How many entries of each log the writer of `entry` knew; the entry itself is left out.

    What it names and is not held here adds nothing. Cost: O(entries in the past), about 20 us each.
    """
    past: dict[PublicKey, int] = {}
    reached: dict[PublicKey, int] = {entry.key: entry.seq}
    named = list(entry.refs)
    while reached or named:
        for ref in named:
            found = ledger.entry(ref)
            if found is not None and found.seq >= past.get(found.key, 0):
                reached[found.key] = max(reached.get(found.key, 0), found.seq + 1)
        named = []
        if reached:
            key, size = reached.popitem()
            first = past.get(key, 0)
            past[key] = max(first, size)
            while first < size:
                page = ledger.log_entries(key, first, min(_PAGE, size - first))
                if not page:
                    break
                named += [ref for item in page for ref in item.entry.refs]
                first += len(page)
    return {key: size for key, size in past.items() if size}


def known_acts(ledger: Ledger, past: Mapping[PublicKey, int]) -> list[ActEntry]:
    """The acts held here that lie in a causal past."""
    return [act for act in ledger.acts if act.seq < past.get(act.key, 0)]


def known_authority(ledger: Ledger, past: Mapping[PublicKey, int]) -> Authority:
    """Who counted, as somebody with that past could know it."""
    return evaluate(ledger.charter, known_acts(ledger, past))


def unknown_acts(ledger: Ledger, past: Mapping[PublicKey, int], key: PublicKey) -> list[ActEntry]:
    """The acts held here that lie outside a past and speak of `key`, or of those above it, then or now."""
    chain = [*known_authority(ledger, past).chain(key), *ledger.authority.chain(key)]
    keys = {key, *(step.key for step in chain)}
    agencies = {step.agency for step in chain}
    found = []
    for act in ledger.acts:
        said = read(act)
        if act.seq >= past.get(act.key, 0) and said is not None and _concerns(said, keys, agencies):
            found.append(act)
    return sorted(found, key=lambda act: (act.key, act.seq))


def _concerns(act: Act, keys: set[PublicKey], agencies: set[str]) -> bool:
    match act:
        case Revoke() | Certify():
            return act.subject in keys
        case Propose(change=Remove() | Rekey() as change):
            return change.name in agencies
        case _:
            return False


def read(act: ActEntry) -> Act | None:
    """What an act says, or None where it cannot be read."""
    try:
        return None if act.body is None else parse_act(act.body)
    except FormatError:
        return None
