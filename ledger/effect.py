"""What an act does or would do, and why another does nothing: asked before anybody signs, and by whoever looks later.

An act that is only thought of is evaluated with the others as if its author had written it next.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from keys.signing import PublicKey
from ledger.authority import Authority, Standing, evaluate
from ledger.council import ActEntry, Proposal, spares
from ledger.knowledge import read
from ledger.layout import U64
from ledger.store import Ledger
from protocol.acts import (
    Act,
    Admit,
    Approve,
    Certify,
    Change,
    Cutoff,
    Propose,
    Rekey,
    Remove,
    Revoke,
    Threshold,
    Unit,
    encode_act,
)  # fmt: skip
from protocol.charter import Agency
from protocol.entry import EntryId
from protocol.limits import AGENCIES_MAX

_CERTIFIERS = {"admin": ("agency",), "node": ("agency", "admin"), "officer": ("agency", "admin")}


@dataclass(frozen=True, slots=True)
class Moved:
    """A log of which more or less would count. cutoff None: it has no standing any longer, or no end."""

    standing: Standing  # as it is now
    now: int  # entries that count
    then: int
    cutoff: Cutoff | None
    certified: bool  # whether a chain of certificates still leads to it

    @property
    def void(self) -> int:
        """How many entries would stop counting."""
        return max(0, self.now - self.then)


def with_acts(ledger: Ledger, more: Sequence[tuple[PublicKey, Act]]) -> Authority:
    """The authority if these authors wrote these acts next. Cost: that of `evaluate`."""
    acts = list(ledger.acts)
    written: dict[PublicKey, int] = {}
    for key, act in more:
        seq = _next_seq(ledger, key) + written.get(key, 0)
        written[key] = written.get(key, 0) + 1
        refs = (act.proposal,) if isinstance(act, Approve) else ()
        acts.append(ActEntry(_thought_id(key, seq, act), key, seq, refs, encode_act(act)))
    return evaluate(ledger.charter, acts)


def _next_seq(ledger: Ledger, key: PublicKey) -> int:
    log = ledger.log(key)
    return log.size if log is not None else 0


def _thought_id(key: PublicKey, seq: int, act: Act) -> EntryId:
    """No entry has this id."""
    return EntryId(sha256(b"only thought of" + key + U64.pack(seq) + encode_act(act)).digest())


def moved(ledger: Ledger, after: Authority) -> list[Moved]:
    """The logs that would be ended, or of which another part would count, under `after`. O(keys)."""
    found = []
    for key, standing in sorted(ledger.authority.standings.items()):
        known, cutoff = after.of(key), after.cutoff(key)
        if known is not None and cutoff == ledger.authority.cutoff(key):
            continue
        log = ledger.log(key)
        now = log.size if log is not None else 0
        then = now
        if known is None or (cutoff is not None and cutoff.id is None):
            then = 0
        elif cutoff is not None and log is not None:
            whole = ledger.ids_at(key, [cutoff.seq]) == [(cutoff.seq, cutoff.id)]
            endorsed = log.forked_at is not None and cutoff.seq >= log.forked_at and whole
            then = cutoff.seq + 1 if endorsed else min(now, cutoff.seq + 1)
        found.append(Moved(standing, now, then, cutoff, known is not None))
    return found


# -- revocations --------------------------------------------------------------------------------------


def why_not_revoke(ledger: Ledger, actor: Standing | None, act: Revoke) -> str | None:
    """Why a revocation by `actor` would change nothing, in a sentence; None: it would."""
    subject = ledger.authority.of(act.subject)
    if actor is None:
        return "the key that is to sign has no standing here"
    if actor.ended is not None:
        return f"the key of {actor.name} was ended itself; what it signs is void"
    if subject is None:
        return "that key has no standing here, so there is nothing to take from it"
    if subject.rank == "agency":
        return "a root key is replaced by the council: hamkor council propose rekey"
    if subject.agency != actor.agency:
        return f"{subject.name} is of {subject.agency}; only that agency revokes its keys"
    if actor.rank not in _CERTIFIERS[subject.rank]:
        return f"a key of rank {actor.rank} revokes none of rank {subject.rank}; it takes a higher one"
    if with_acts(ledger, [(actor.key, act)]).cutoff(act.subject) == ledger.authority.cutoff(act.subject):
        ended = subject.ended
        if ended is None or ended.cutoff.id is None:
            return "none of its entries counts already"
        return f"its log ends at entry {ended.cutoff.seq} already; only a lower cutoff changes anything"
    return None


def if_root_ended(ledger: Ledger, root: PublicKey, seq: int, last: EntryId | None) -> Authority:
    """The authority if the council gave the agency of a root key a new one, and ended the old log there."""
    council = ledger.authority.council
    change = Rekey(council.roots[root].name, PublicKey(sha256(b"only thought of" + root).digest()), seq, last)
    able = [council.members[name].key for name in voters(ledger.authority, change)]
    if not able:
        return ledger.authority
    return would_pass(ledger, able[0], Propose(change), change, ())


# -- the council --------------------------------------------------------------------------------------


def voters(authority: Authority, change: Change) -> list[str]:
    """The members whose yes counts for a change: all but the agency concerned."""
    concerned = change.name if isinstance(change, (Rekey, Remove)) else None
    return sorted(name for name in authority.council.members if name != concerned)


def why_not_change(authority: Authority, change: Change) -> str | None:
    """Why the council cannot make that change now, in a sentence; None: it can."""
    members, threshold = authority.council.members, authority.council.threshold
    able = voters(authority, change)
    why = _why_impossible(authority, change)
    if why is None and len(able) < threshold:
        return f"{threshold} agencies must agree, and only {len(able)} may on this; lower the threshold first"
    if why is None and isinstance(change, Remove) and len(members) <= threshold:
        return f"without {change.name} fewer agencies would be left than the {threshold} that decide"
    return why


def _why_impossible(authority: Authority, change: Change) -> str | None:
    members = authority.council.members
    match change:
        case Admit(agency) if agency.name in members:
            return f"{agency.name} is a member already"
        case Admit() if len(members) >= AGENCIES_MAX:
            return f"a council has at most {AGENCIES_MAX} members"
        case Admit(agency=Agency(key=key)) | Rekey(key=key) if key in authority.council.roots:
            return "that key is or was an agency's root key"
        case Rekey(name=name) | Remove(name=name) if name not in members:
            return f"{name} is no member of the council"
        case Threshold() if change.threshold > len(members):
            return f"there are {len(members)} agencies; so many cannot agree"
        case Threshold() if change.threshold == authority.council.threshold:
            return f"{change.threshold} agencies decide already"
        case _:
            return None


def why_not_speak(authority: Authority, key: PublicKey) -> str | None:
    """Why a key has no voice in the council, in a sentence; None: it speaks for its agency."""
    agency = authority.council.roots.get(key)
    if agency is None:
        return "only an agency's root key speaks in the council"
    member = authority.council.members.get(agency.name)
    if member is None:
        return f"{agency.name} was removed from the council"
    if member.key != key:
        return f"{agency.name} has another root key by now"
    return None


def would_pass(ledger: Ledger, key: PublicKey, act: Propose | Approve, change: Change, yes: Iterable[str]) -> Authority:
    """The authority if `key` wrote `act`, and then as many members said yes as are still needed."""
    council = ledger.authority.council
    if isinstance(act, Approve):
        proposal = act.proposal
    else:
        proposal = _thought_id(key, _next_seq(ledger, key), act)
    said = {*yes, council.roots[key].name}
    rest = [name for name in voters(ledger.authority, change) if name not in said]
    more: list[tuple[PublicKey, Act]] = [(key, act)]
    more += [(council.members[name].key, Approve(proposal)) for name in rest]
    return with_acts(ledger, more)


# -- acts without effect ------------------------------------------------------------------------------


def without_effect(ledger: Ledger) -> list[tuple[ActEntry, Act | None, str]]:
    """The acts held that do nothing, with the reason in a sentence, in order of author and seq. O(acts)."""
    proposals = {proposal.id: proposal for proposal in ledger.authority.council.proposals}
    found = []
    for entry in sorted(ledger.acts, key=lambda act: (act.key, act.seq)):
        act = read(entry)
        why = _why_nothing(ledger.authority, entry, act, proposals)
        if why is not None:
            found.append((entry, act, why))
    return found


def _why_nothing(
    authority: Authority, entry: ActEntry, act: Act | None, proposals: dict[EntryId, Proposal]
) -> str | None:  # fmt: skip
    if act is None:
        return "it cannot be read"
    actor = authority.of(entry.key)
    if actor is None:
        return "its author has no standing"
    if actor.ended is not None and not spares(actor.ended.cutoff, entry.seq):
        return f"it is after entry {_end(actor.ended.cutoff)} of its author's log, where that ends"
    if isinstance(act, (Propose, Approve)):
        return _why_unheard(authority, entry, act, proposals)
    if isinstance(act, Unit):
        return None if actor.rank in ("agency", "admin") else f"a key of rank {actor.rank} names no units"
    subject = authority.of(act.subject)
    if isinstance(act, Certify) and subject is not None and subject.agency != act.agency:
        return f"that key is of {subject.agency}, by its own word or by a certificate of higher rank"
    rank = act.rank if isinstance(act, Certify) else subject.rank if subject is not None else "officer"
    if rank not in _CERTIFIERS or actor.rank not in _CERTIFIERS[rank]:
        return f"a key of rank {actor.rank} has no say over one of rank {rank}"
    agency = act.agency if isinstance(act, Certify) else subject.agency if subject is not None else actor.agency
    return None if agency == actor.agency else f"its author is of {actor.agency}, and this is about {agency}"


def _why_unheard(
    authority: Authority, entry: ActEntry, act: Propose | Approve, proposals: dict[EntryId, Proposal]
) -> str | None:
    agency = authority.council.roots.get(entry.key)
    if agency is None:
        return "only an agency's root key speaks in the council"
    proposal = proposals.get(act.proposal if isinstance(act, Approve) else entry.id)
    if proposal is None:
        if isinstance(act, Approve):
            return "the proposal that it names is not here, or has no effect itself"
        return f"{agency.name} had left the council, or had another root key, when it was read"
    if agency.name not in proposal.yes:
        return f"{agency.name} had left the council, or had another root key, when it was read"
    if isinstance(act, Approve) and agency.name not in voters(authority, proposal.change):
        return f"the yes of {agency.name} is not counted: it is about that agency, or it is no member any longer"
    return None


def _end(cutoff: Cutoff) -> str:
    return "none" if cutoff.id is None else str(cutoff.seq)
