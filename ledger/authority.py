"""Who may write, as a pure function of the set of acts (SPEC.md 4.4).

Authority is read rank by rank from the top: the charter names the agencies' root keys; a root key certifies
admins, nodes and officers of its own agency; an admin certifies nodes and officers of its own agency. An act
by anybody else, or about another agency, has no effect; it stays in its log and is shown.

Where several valid acts speak of one key or unit, the certifier of higher rank decides, then the smaller
certifier key, then the later act in its log. So the order in which acts arrive never matters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.acts import Act, Certify, Unit, parse_act
from protocol.charter import Charter
from protocol.entry import EntryId

RANKS: Final = ("agency", "admin", "node", "officer")
_MAY_CERTIFY: Final = {"agency": frozenset({"admin", "node", "officer"}), "admin": frozenset({"node", "officer"})}


@dataclass(frozen=True, slots=True)
class ActEntry:
    """An admitted entry of kind `act`. body None: withheld or erased, so it has no effect here."""

    id: EntryId
    key: PublicKey  # who acts
    seq: int
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a key is, and by which act. `act` is None for the charter's root keys."""

    key: PublicKey
    rank: str  # one of RANKS
    name: str
    agency: str
    unit: str
    roles: tuple[str, ...]
    certifier: PublicKey | None = None
    act: EntryId | None = None


@dataclass(frozen=True, slots=True)
class UnitStanding:
    """A team and the regions it covers (ISO 3166-2), and the act that says so."""

    unit: str
    title: str
    regions: tuple[str, ...]
    act: EntryId


@dataclass(frozen=True, slots=True)
class Authority:
    """The outcome: every key that counts, and every unit."""

    standings: Mapping[PublicKey, Standing]
    units: Mapping[str, UnitStanding] = field(default_factory=dict)

    def of(self, key: PublicKey) -> Standing | None:
        """What `key` is, or None when no chain of certificates reaches it."""
        return self.standings.get(key)

    def is_node(self, key: PublicKey) -> bool:
        """Whether `key` may open a link."""
        standing = self.standings.get(key)
        return standing is not None and standing.rank == "node"

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


def evaluate(charter: Charter, acts: Iterable[ActEntry]) -> Authority:
    """The authority that `acts` give, whatever their order. Cost: O(acts log acts), about 5 us an act."""
    parsed = [(entry, act) for entry in acts if (act := _parse(entry)) is not None]
    standings = {
        agency.key: Standing(agency.key, "agency", agency.title, agency.name, "", ("admin",))
        for agency in charter.agencies
    }
    for rank in _MAY_CERTIFY:  # from the top: a rank is final before the next is read
        granted: dict[PublicKey, Standing] = {}
        for entry, act in _by(rank, standings, parsed):
            if isinstance(act, Certify) and _may(standings[entry.key], act) and act.subject not in standings:
                granted[act.subject] = Standing(
                    act.subject, act.rank, act.name, act.agency, act.unit, act.roles, entry.key, entry.id
                )
        standings |= granted
    units: dict[str, UnitStanding] = {}
    for rank in reversed(_MAY_CERTIFY):  # the higher rank is written last, and stays
        for entry, act in _by(rank, standings, parsed):
            if isinstance(act, Unit):
                units[act.unit] = UnitStanding(act.unit, act.title, act.regions, entry.id)
    return Authority(standings, units)


def _by(
    rank: str, standings: Mapping[PublicKey, Standing], acts: list[tuple[ActEntry, Act]]
) -> list[tuple[ActEntry, Act]]:
    """The acts of all keys of one rank, so ordered that the one that decides comes last."""
    chosen = [(entry, act) for entry, act in acts if entry.key in standings and standings[entry.key].rank == rank]
    chosen.sort(key=lambda item: item[0].seq)
    chosen.sort(key=lambda item: item[0].key, reverse=True)
    return chosen


def _may(actor: Standing, act: Certify) -> bool:
    return act.agency == actor.agency and act.rank in _MAY_CERTIFY[actor.rank]


def _parse(entry: ActEntry) -> Act | None:
    try:
        return None if entry.body is None else parse_act(entry.body)
    except FormatError:
        return None  # kept in its log and shown there as malformed; it can have no effect
