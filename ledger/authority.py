"""Who may write, and up to which entry, as a pure function of the set of acts (SPEC.md 4.4).

Authority is read rank by rank from the top, and what one rank has cut is final before the next is read: the council
(ledger/council.py) says which agencies there are and under which root keys; a root key certifies and revokes admins,
nodes and officers of its own agency; an admin certifies and revokes nodes and officers of its own agency. An act by
anybody else, about another agency, or after its signer's cutoff has no effect; it stays in its log and is shown.

Where several acts certify one key or name one unit, the signer of higher rank decides, then the smaller key, then
the later act in its log; but of several agencies that certify a key, only those to which it consented. Of several
cutoffs of one key the lowest counts, and nothing lifts one. So the order in which acts arrive never matters.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey, Signature, verify
from ledger.council import ActEntry, Council, decide, lower, spares
from protocol.acts import Act, Certify, Cutoff, Revoke, Unit, parse_act
from protocol.card import consent_bytes
from protocol.charter import Charter
from protocol.entry import EntryId

RANKS: Final = ("agency", "admin", "node", "officer")
_MAY_CERTIFY: Final = {"agency": frozenset({"admin", "node", "officer"}), "admin": frozenset({"node", "officer"})}


@dataclass(frozen=True, slots=True)
class Ended:
    """A key that writes no more: what of its log counts, and by which act."""

    cutoff: Cutoff
    by: PublicKey | None  # who revoked it; None: the council
    act: EntryId
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a key is, and by which act. `act` is None for root keys."""

    key: PublicKey
    rank: str  # one of RANKS
    name: str
    agency: str
    unit: str
    roles: tuple[str, ...]
    certifier: PublicKey | None = None
    act: EntryId | None = None
    ended: Ended | None = None

    def counts(self, seq: int) -> bool:
        """Whether entry `seq` of the key's log is not after a cutoff."""
        return self.ended is None or spares(self.ended.cutoff, seq)


@dataclass(frozen=True, slots=True)
class UnitStanding:
    """A team and the regions it covers (ISO 3166-2), and the act that says so."""

    unit: str
    title: str
    regions: tuple[str, ...]
    act: EntryId


@dataclass(frozen=True, slots=True)
class Authority:
    """The outcome: every key that ever counted, every unit, and the council."""

    standings: Mapping[PublicKey, Standing]
    units: Mapping[str, UnitStanding]
    council: Council
    endorsed: frozenset[PublicKey] = frozenset()  # whose branch beyond a fork counts, up to the cutoff
    named: frozenset[PublicKey] = field(default=frozenset(), compare=False, repr=False)  # in acts

    def of(self, key: PublicKey) -> Standing | None:
        """What `key` is, or None when no chain of certificates reaches it."""
        return self.standings.get(key)

    def may_write(self, key: PublicKey) -> bool:
        """Whether new entries of `key` can count."""
        standing = self.standings.get(key)
        return standing is not None and standing.ended is None

    def cutoff(self, key: PublicKey) -> Cutoff | None:
        """Where `key`'s log ends; None: nowhere."""
        standing = self.standings.get(key)
        return None if standing is None or standing.ended is None else standing.ended.cutoff

    def speaks(self, key: PublicKey) -> bool:
        """Whether the council's acts of `key` are read: it is or was a root key, or may become one."""
        return key in self.council.speakers

    def admits(self, key: PublicKey) -> bool:
        """Whether entries of `key` are taken: it has standing, or the council's acts of it are read."""
        return key in self.standings or key in self.council.speakers

    def is_node(self, key: PublicKey) -> bool:
        """Whether `key` may open a link."""
        standing = self.standings.get(key)
        return standing is not None and standing.rank == "node" and standing.ended is None

    def certifies(self, key: PublicKey) -> bool:
        """Whether acts by `key` can have an effect: its log is synced first."""
        standing = self.standings.get(key)
        return standing is not None and standing.rank in _MAY_CERTIFY

    def chain(self, key: PublicKey) -> tuple[Standing, ...]:
        """The standings from `key` up to the charter; empty for an unknown key."""
        steps: list[Standing] = []
        standing = self.standings.get(key)
        while standing is not None and len(steps) < len(RANKS):
            steps.append(standing)
            standing = self.standings.get(standing.certifier) if standing.certifier else None
        return tuple(steps)


@dataclass(frozen=True, slots=True)
class _Question:
    """A charter and acts; two with the same ids are the same question."""

    network_id: bytes
    ids: frozenset[EntryId]
    charter: Charter = field(compare=False)
    acts: tuple[ActEntry, ...] = field(compare=False)


def evaluate(charter: Charter, acts: Iterable[ActEntry]) -> Authority:
    """The authority that `acts` give, whatever their order. Cost: O(acts log acts), 15 us an act (30 at first).

    The answers to the last few sets of acts are remembered: admission asks twice, and every node of a simulation.
    """
    known = tuple(entry for entry in acts if entry.body is not None)
    return _evaluate(_Question(charter.network_id, frozenset(entry.id for entry in known), charter, known))


def evaluate_held(
    charter: Charter, acts: Sequence[ActEntry], forks: Mapping[PublicKey, int], holds: Callable[[Cutoff], bool]
) -> Authority:
    """The authority that acts of logs give which may be forked (SPEC.md 4.4.4). Cost: as of `evaluate`, mostly once.

    forks: key -> the lowest proved seq. holds: whether the entry held at a cutoff's place is the cutoff's.

    First all that lies beyond forks is left out, then the branches are read that cutoffs endorse, up to the cutoffs,
    until these are those that were read. What follows a cutoff there is void, and not held by everybody. If that goes
    in a circle, only what is endorsed all around it is read. So it does not matter what counted before.
    """
    tried: list[dict[PublicKey, int]] = [{}]  # the endorsed branches, and the last seq of each that is read
    while True:
        found = _with_branches(charter, acts, tried[-1])
        endorsed = _endorsed(found, forks, holds)
        if endorsed == tried[-1]:
            return found
        if endorsed in tried:
            circle = tried[tried.index(endorsed) :]
            everywhere = set.intersection(*map(set, circle))
            return _with_branches(charter, acts, {key: min(one[key] for one in circle) for key in everywhere})
        tried.append(endorsed)


def evaluate_more(
    charter: Charter, before: Authority, acts: Sequence[ActEntry], fresh: Sequence[ActEntry],
    forks: Mapping[PublicKey, int], holds: Callable[[Cutoff], bool],
) -> Authority:  # fmt: skip
    """What `evaluate_held` says of `acts` and `fresh`, where `before` is what it said of `acts`.

    Most acts certify a key of which nobody has said anything yet, and such a one gives that key its standing and
    changes nothing else: no other act names the key or is by it, no cutoff can mean it but that of its whole agency,
    and the council does not read it. Then the cost is O(keys) at a dictionary's speed: a hundredth of reading all.
    """
    standings, named = dict(before.standings), set(before.named)
    for entry in fresh:
        act = _parse(entry.body) if entry.body is not None else None
        actor = standings.get(entry.key)
        if (
            not isinstance(act, Certify) or act.subject in named or act.subject in standings or act.subject in forks
            or act.subject == entry.key or before.speaks(act.subject) or entry.beyond
            or actor is None or not actor.counts(entry.seq) or actor.rank not in _MAY_CERTIFY
            or act.agency != actor.agency or act.rank not in _MAY_CERTIFY[actor.rank]
        ):  # fmt: skip
            return evaluate_held(charter, [*acts, *fresh], forks, holds)
        standing = Standing(act.subject, act.rank, act.name, act.agency, act.unit, act.roles, entry.key, entry.id)
        standings[act.subject] = standing
        standings[act.subject] = _cut(standing, standings, before.council, {})
        named.update((entry.key, act.subject))
    if any(entry.beyond for entry in acts):
        return evaluate_held(charter, [*acts, *fresh], forks, holds)  # which of them are read, is to be found out
    found = replace(before, standings=standings, named=frozenset(named))
    return replace(found, endorsed=frozenset(_endorsed(found, forks, holds)))


def _endorsed(
    found: Authority, forks: Mapping[PublicKey, int], holds: Callable[[Cutoff], bool]
) -> dict[PublicKey, int]:  # fmt: skip
    """The forked logs of which a cutoff names a branch that is held, and its seq."""
    cutoffs = [(seq, found.cutoff(key)) for key, seq in forks.items()]
    return {
        cutoff.key: cutoff.seq for seq, cutoff in cutoffs
        if cutoff is not None and cutoff.id is not None and cutoff.seq >= seq and holds(cutoff)
    }  # fmt: skip


def _with_branches(charter: Charter, acts: Sequence[ActEntry], endorsed: Mapping[PublicKey, int]) -> Authority:
    found = evaluate(charter, (act for act in acts if not act.beyond or act.seq <= endorsed.get(act.key, -1)))
    return replace(found, endorsed=frozenset(endorsed)) if endorsed else found


@lru_cache(maxsize=32)
def _evaluate(question: _Question) -> Authority:
    charter = question.charter
    parsed: list[tuple[ActEntry, Act]] = []
    for entry in question.acts:
        body = entry.body or b""
        act = _parse_again(body) if len(body) <= _KEPT_BYTES_MAX else _parse(body)
        if act is not None:
            parsed.append((entry, act))
    council = decide(charter, parsed)
    consents = _consents(parsed)
    standings = {key: _root(key, council) for key in council.roots}
    revoked: dict[tuple[str, PublicKey], Ended] = {}
    for rank in _MAY_CERTIFY:  # from the top: a rank is final before the next is read
        chosen = _by(rank, standings, parsed)
        granted: dict[PublicKey, Standing] = {}
        for entry, act in chosen:
            actor = standings[entry.key]
            if isinstance(act, Certify) and act.subject not in standings and _may(actor, act, consents):
                granted[act.subject] = Standing(
                    act.subject, act.rank, act.name, act.agency, act.unit, act.roles, entry.key, entry.id
                )
            elif isinstance(act, Revoke):
                ended = Ended(Cutoff(act.subject, act.seq, act.id), entry.key, entry.id, act.reason)
                held = standings.get(act.subject) or granted.get(act.subject)
                if held is None or held.rank in _MAY_CERTIFY[rank]:
                    _lowest(revoked, (actor.agency, act.subject), ended)
        standings |= granted
        standings = {key: _cut(standing, standings, council, revoked) for key, standing in standings.items()}
    units: dict[str, UnitStanding] = {}
    for rank in reversed(_MAY_CERTIFY):  # the higher rank is written last, and stays
        for entry, act in _by(rank, standings, parsed):
            if isinstance(act, Unit):
                units[act.unit] = UnitStanding(act.unit, act.title, act.regions, entry.id)
    return Authority(standings, units, council, named=_named(question.acts, parsed))


def _named(acts: Iterable[ActEntry], parsed: Iterable[tuple[ActEntry, Act]]) -> frozenset[PublicKey]:
    subjects = {act.subject for _, act in parsed if isinstance(act, (Certify, Revoke))}
    return frozenset(subjects.union(entry.key for entry in acts))


def _root(key: PublicKey, council: Council) -> Standing:
    agency = council.roots[key]
    ended = None
    if key in council.cutoffs:
        cutoff, act = council.cutoffs[key]
        ended = Ended(cutoff, None, act, "")
    return Standing(key, "agency", agency.title, agency.name, "", ("admin",), ended=ended)


def _by(
    rank: str, standings: Mapping[PublicKey, Standing], acts: list[tuple[ActEntry, Act]]
) -> list[tuple[ActEntry, Act]]:
    """The acts of all keys of one rank that count, so ordered that the one that decides comes last."""
    chosen = [
        (entry, act)
        for entry, act in acts
        if (actor := standings.get(entry.key)) is not None and actor.rank == rank and actor.counts(entry.seq)
    ]
    chosen.sort(key=lambda item: (item[0].seq, item[0].id))
    chosen.sort(key=lambda item: item[0].key, reverse=True)
    return chosen


def _may(actor: Standing, act: Certify, consents: Mapping[PublicKey, set[str]]) -> bool:
    own = act.agency == actor.agency and act.rank in _MAY_CERTIFY[actor.rank]
    return own and act.agency in consents.get(act.subject, {act.agency})


def _consents(acts: list[tuple[ActEntry, Act]]) -> dict[PublicKey, set[str]]:
    """The agencies of which a key has said that it is of them, for keys that several certify and that said so."""
    found: dict[PublicKey, dict[str, set[Signature | None]]] = {}
    for _, act in acts:
        if isinstance(act, Certify):
            found.setdefault(act.subject, {}).setdefault(act.agency, set()).add(act.consent)
    contested = {key: agencies for key, agencies in found.items() if len(agencies) > 1}
    given = {
        key: {name for name, consents in agencies.items() if any(_holds(key, name, one) for one in consents if one)}
        for key, agencies in contested.items()
    }
    return {key: names for key, names in given.items() if names}


@lru_cache(maxsize=4096)
def _holds(key: PublicKey, agency: str, consent: Signature) -> bool:
    return verify(key, consent_bytes(agency), consent)


def _lowest(revoked: dict[tuple[str, PublicKey], Ended], whose: tuple[str, PublicKey], ended: Ended) -> None:
    known = revoked.get(whose)
    if known is None or lower(ended.cutoff, known.cutoff):
        revoked[whose] = ended


def _cut(
    standing: Standing, standings: Mapping[PublicKey, Standing], council: Council,
    revoked: Mapping[tuple[str, PublicKey], Ended],
) -> Standing:  # fmt: skip
    """The standing, ended by its agency's revocation or by the agency's removal, whichever leaves less."""
    if standing.certifier is None:
        return standing
    root = standing.certifier
    while (above := standings[root].certifier) is not None:
        root = above
    found = revoked.get((standing.agency, standing.key))
    for removal in council.removed.get(root, ()):
        cutoff = removal.cutoffs.get(standing.key, Cutoff(standing.key, 0, None))
        if found is None or lower(cutoff, found.cutoff):
            found = Ended(cutoff, None, removal.act, "")
    return standing if found is None else replace(standing, ended=found)


def _parse(body: bytes) -> Act | None:
    try:
        return parse_act(body)
    except FormatError:
        return None  # kept in its log and shown there as malformed; it can have no effect


_parse_again = lru_cache(maxsize=16_384)(_parse)  # all acts are read whenever one comes; keeps 16 MiB at most
_KEPT_BYTES_MAX: Final = 1024
