"""A record as it stands after everything that happened to it: a CRDT document (SPEC.md 4.8).

A record is created by one entry; steps on it are **operations**. What a record says is a set of named slots:
fields, tags, links, attachments, whether it is retracted. Each slot is a multi-value register: it holds every value
that no operation which saw it has replaced. An operation saw exactly the operations that it names in `refs`, and the
creating entry. Two values that did not see each other both stay, until somebody who saw both says something else.

    field      set by officers of the originating agency; by another agency it is a **proposal**, which stands
               beside the field until the originator accepts it (an operation that sets it anew) or declines it
    tag, link, added by anybody; taken away by the originating agency or the agency that added it, and only as far
    file       as the remover saw it: an addition that was not seen wins; what one agency adds leaves what another
               added standing, since a link that two agencies each made is more than a link
    retracted  like a field

Nothing waits: an id that an operation names and that is not here, or does not count, is only seen. When an operation
comes after others that name it, `apply` is given those, and what they replace of it never stands. So a document is a
function of the set of operations that count, whatever else is held and in whatever order it came.

A record is bounded: what the officers of one agency keep standing in it takes at most AGENCY_BYTES_MAX. An operation
that would exceed this has no effect and is counted in `left_out`. Which of them that hits may differ between nodes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple, cast

from keys.errors import FormatError
from protocol.codec import Value, decode, encode
from protocol.entry import EntryId

FIELD, TAG, LINK, FILE, RETRACTED = "f:", "t:", "l:", "a:", "r:"
_SETS: Final = (TAG, LINK, FILE)
AGENCY_BYTES_MAX: Final = 4 * 1024 * 1024  # of what one agency keeps standing in one record: 10,000 values and more
SLOTS_PER_OPERATION_MAX: Final = 500
_STATE_BYTES_MAX: Final = 128 * AGENCY_BYTES_MAX  # 64 agencies, and what the encoding adds
_STATE_ITEMS_MAX: Final = 1 << 22
_SAID_BYTES: Final = 160  # about what a value takes beside itself


@dataclass(frozen=True, slots=True)
class Operation:
    """A step on a record, or its creation (step ""). agency: of the author, by the certificates held."""

    id: EntryId
    author: bytes
    agency: str
    time_ms: int
    step: str
    fields: Mapping[str, Value]
    refs: tuple[EntryId, ...] = ()
    unit: str = ""  # where the author serves


class Said(NamedTuple):
    """A value that stands in a slot, and who said so when. value None: taken away."""

    op: EntryId
    author: bytes
    agency: str
    time_ms: int
    value: Value


@dataclass(slots=True)
class Document:
    """The state of one record. Made by `created` or `from_bytes`, moved on by `apply`."""

    record: EntryId
    agency: str  # the originating one
    author: bytes
    time_ms: int
    slots: dict[str, dict[EntryId, Said]] = field(default_factory=dict)
    proposals: dict[EntryId, tuple[Said, ...]] = field(default_factory=dict)  # open ones; op -> (slot's Said, ...)
    left_out: int = 0  # operations for which their agency had no room left
    sizes: dict[str, int] = field(default_factory=dict, repr=False, compare=False)  # agency -> bytes

    @classmethod
    def created(cls, entry: Operation) -> "Document":
        """The record as its first entry says it."""
        document = cls(entry.id, entry.agency, entry.author, entry.time_ms)
        for slot, value in changes(entry):
            document._say(slot, entry, value, ())
        return document

    def apply(self, op: Operation, later: Iterable[Operation] = ()) -> None:
        """Take in one operation. O(refs + fields of it and of `later`); twice is as once.

        later: the operations taken in before that name this one; read only as far as this one still has an effect.
        An operation of a form that means nothing here (a newer program's, or nonsense) changes nothing.
        """
        closes, said = self._effect(op)
        gone = self._replaced(op, said, later)
        stays = [(slot, value) for slot, value in said if slot not in gone]
        if not self._has_room(op, said, stays):
            self.left_out += 1
            return
        for proposal in (closes, op.id):
            for answered in self.proposals.pop(proposal, ()):
                self._count("", answered, -1)
        if self.is_proposal(op):
            proposed = tuple(Said(op.id, op.author, op.agency, op.time_ms, [slot, value]) for slot, value in stays)
            if proposed:
                self.proposals[op.id] = proposed
            for one in proposed:
                self._count("", one, 1)
            return
        for slot, value in said:
            self._say(slot, op, value, (self.record, *op.refs), stays=slot not in gone)

    def is_proposal(self, op: Operation) -> bool:
        """Whether an operation waits for the originating agency's word."""
        return op.step in ("amend", "retract") and op.agency != self.agency

    def _effect(self, op: Operation) -> tuple[EntryId, list[tuple[str, Value]]]:
        """(the proposal that it closes, or an empty id; what it says)."""
        said = list(islice(changes(op), SLOTS_PER_OPERATION_MAX))
        if op.step not in ("accept", "decline"):
            return EntryId(b""), said
        proposal = _id(op.fields.get("proposal"))
        return (proposal, said) if op.agency == self.agency and proposal in op.refs else (EntryId(b""), [])

    def _replaced(self, op: Operation, said: Iterable[tuple[str, Value]], later: Iterable[Operation]) -> set[str]:
        """The slots of an operation whose values those replace that saw it; of a proposal that was answered all."""
        left = {slot for slot, _ in said}
        gone: set[str] = set()
        found = Said(op.id, op.author, op.agency, op.time_ms, None)
        for other in later if left else ():
            closes, changed = self._effect(other)
            if self.is_proposal(op):
                gone = left if closes == op.id else gone
            elif not self.is_proposal(other):
                gone |= {slot for slot, value in changed if slot in left and self._replaces(slot, other, value, found)}
            if len(gone) == len(left):
                break
        return gone

    def _say(
        self, slot: str, op: Operation, value: Value, seen: Iterable[EntryId], *, stays: bool = True
    ) -> None:  # fmt: skip
        values = self.slots.setdefault(slot, {})
        for known in seen:
            found = values.get(known)
            if found is not None and self._replaces(slot, op, value, found):
                self._count(slot, found, -1)
                del values[known]
        if stays and (value is not None or not slot.startswith(_SETS)):
            if op.id in values:  # said twice in one operation
                self._count(slot, values[op.id], -1)
            values[op.id] = Said(op.id, op.author, op.agency, op.time_ms, value)
            self._count(slot, values[op.id], 1)
        if not values:
            del self.slots[slot]

    def _replaces(self, slot: str, op: Operation, value: Value, found: Said) -> bool:
        """Whether an operation that saw a value takes it away."""
        if not slot.startswith(_SETS) or op.agency == found.agency:
            return True
        return value is None and op.agency == self.agency

    def _has_room(
        self, op: Operation, said: Iterable[tuple[str, Value]], stays: Iterable[tuple[str, Value]]
    ) -> bool:  # fmt: skip
        """Whether what the agency keeps standing stays within its bound. stays: the part of `said` that is added."""
        added = sum(_size(slot, value) for slot, value in stays)
        taken = self.sizes.get(op.agency, 0) + added
        if taken <= AGENCY_BYTES_MAX or not added:
            return True
        for slot, _ in () if self.is_proposal(op) else said:
            values = self.slots.get(slot, {})
            known = [values[ref] for ref in (self.record, *op.refs) if ref in values]
            taken -= sum(_size(slot, found.value) for found in known if found.agency == op.agency)
        return taken <= AGENCY_BYTES_MAX

    def _count(self, slot: str, said: Said, sign: int) -> None:
        self.sizes[said.agency] = self.sizes.get(said.agency, 0) + sign * _size(slot, said.value)

    # -- reading ----------------------------------------------------------------------------------

    def standing(self, prefix: str) -> Iterator[tuple[str, list[Said]]]:
        """(name without prefix, what stands there in order of id) of the slots with that prefix, by name."""
        for slot in sorted(self.slots):
            if slot.startswith(prefix):
                yield slot[len(prefix) :], [self.slots[slot][op] for op in sorted(self.slots[slot])]

    def fields(self) -> dict[str, Value]:
        """One value for each field: where several stand, that of the smallest id, so that all nodes take the same."""
        return {name: values[0].value for name, values in self.standing(FIELD) if values[0].value is not None}

    def conflicts(self) -> dict[str, list[Said]]:
        """The fields with several different values (under "" whether it is retracted), in order of id."""
        slots = [*self.standing(FIELD), *self.standing(RETRACTED)]
        return {name: values for name, values in slots if len({encode(said.value) for said in values}) > 1}

    def members(self, prefix: str) -> dict[str, list[Said]]:
        """The tags, links or files that are there."""
        return {name: values for name, values in self.standing(prefix) if values}

    @property
    def retracted(self) -> str | None:
        """Why it was taken back, or None while it stands."""
        reasons = [str(said.value) for _, values in self.standing(RETRACTED) for said in values if said.value]
        return reasons[0] if reasons else None

    def live(self, slots: Iterable[str]) -> list[EntryId]:
        """The operations whose values stand in those slots: what an operation on them must name to replace them."""
        found = {op for slot in slots for op in self.slots.get(slot, {})} - {self.record}
        return sorted(found)

    # -- bytes ------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Canonical bytes: equal exactly when the documents are."""
        slots = {slot: [_packed(said) for _, said in sorted(values.items())] for slot, values in self.slots.items()}
        proposals = [[_packed(said) for said in self.proposals[op]] for op in sorted(self.proposals)]
        return encode([self.record, self.agency, self.author, self.time_ms, slots, proposals, self.left_out])

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Document":
        """The inverse of `to_bytes`. Raises FormatError."""
        match decode(raw, size_max=_STATE_BYTES_MAX, items_max=_STATE_ITEMS_MAX):
            case [
                bytes() as id_, str() as agency, bytes() as author, int() as time_ms, dict() as slots, list() as ps,
                int() as left_out,
            ]:  # fmt: skip
                document = cls(EntryId(id_), agency, author, time_ms, left_out=left_out)
                for slot, values in slots.items():
                    said = [_said(item) for item in cast("list[Value]", values)]
                    document.slots[slot] = {one.op: one for one in said}
                for changed in ps:
                    proposed = tuple(_said(item) for item in cast("list[Value]", changed))
                    document.proposals[proposed[0].op] = proposed
            case _:
                raise FormatError("a document's state is damaged; run: hamkor reindex")
        for slot, values_ in document.slots.items():
            for one in values_.values():
                document._count(slot, one, 1)
        for one in (one for proposed in document.proposals.values() for one in proposed):
            document._count("", one, 1)
        return document


def fold(entry: Operation, operations: Iterable[Operation]) -> Document:
    """The document that these operations make, in whatever order and however often they come.

    Depends on the set only, within the bound on what an agency keeps standing. O(n + what they name).
    """
    document = Document.created(entry)
    here: set[EntryId] = {entry.id}
    namers: dict[EntryId, list[Operation]] = {}
    for op in operations:
        if op.id not in here:
            here.add(op.id)
            document.apply(op, namers.get(op.id, ()))
            for ref in op.refs:
                if ref not in here:
                    namers.setdefault(ref, []).append(op)
    return document


def changes(op: Operation) -> Iterator[tuple[str, Value]]:
    """(slot, value) of everything that an operation says; value None takes away."""
    said = op.fields
    match op.step:
        case "":
            for name, value in said.items():
                if name in ("tags", "links") and isinstance(value, list):
                    yield from _initial(name, value)
                elif value is not None:
                    yield FIELD + name, value
        case "amend" | "accept":
            changed = said.get("set")
            for name, value in changed.items() if isinstance(changed, dict) else ():
                yield FIELD + name, value
        case "tag":
            for name, value in (("add", True), ("remove", None)):
                tags = said.get(name)
                texts = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
                yield from ((TAG + tag, value) for tag in texts)
        case "link":
            if to := _id(said.get("to")):
                yield _link_slot(said.get("relation"), to), None if said.get("remove") is True else True
        case "attach":
            if chunks := _id(said.get("chunks")):
                details = {name: value for name, value in said.items() if name != "detach"}
                yield FILE + chunks.hex(), None if said.get("detach") is True else details
        case "retract":
            yield RETRACTED, None if said.get("undo") is True else said.get("reason") or "-"
        case _:
            return


def _initial(name: str, items: list[Value]) -> Iterator[tuple[str, Value]]:
    for item in items:
        if name == "tags" and isinstance(item, str):
            yield TAG + item, True
        elif name == "links" and isinstance(item, dict) and (to := _id(item.get("to"))):
            yield _link_slot(item.get("relation"), to), True


def _link_slot(relation: Value, to: EntryId) -> str:
    return f"{LINK}{relation if isinstance(relation, str) else 'related'}:{to.hex()}"


def _id(value: Value) -> EntryId:
    """The id in hexadecimal text, or an empty one."""
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return EntryId(b"")
    return EntryId(found if len(found) == 32 else b"")


def _size(slot: str, value: Value) -> int:
    return _SAID_BYTES + 4 * len(slot) + len(encode(value))


def _packed(said: Said) -> list[object]:
    return [*said[:4], encode(said.value)]  # a value of its own: however deep it is nested, the state is not deeper


def _said(item: Value) -> Said:
    match item:
        case [bytes() as op, bytes() as author, str() as agency, int() as time_ms, bytes() as value]:
            return Said(EntryId(op), author, agency, time_ms, decode(value, size_max=_STATE_BYTES_MAX))
        case _:
            raise FormatError("a document's state is damaged; run: hamkor reindex")
