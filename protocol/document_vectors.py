"""Records and what was done to them, as bundles, and what the records say then (SPEC.md 4.8), for `document.json`.

What is expected is written down here by hand, slot by slot; no code decides it.
"""

from collections.abc import Iterator, Sequence

from protocol.body import encode_record, encode_step
from protocol.entry import Entry, EntryId
from protocol.ledger_vectors import Script
from protocol.vector_cast import Case, filler

OTHER = filler("another record").hex()
CHUNKS = filler("a list of chunks").hex()


class _Story(Script):
    """A record of mia's officer one, and steps on it by officer one, officer two (mia) and officer three (scc)."""

    def __init__(self, fields: dict[str, object]) -> None:
        super().__init__()
        self.certify("mia", "officer one", "officer", "mia")
        self.certify("mia", "officer two", "officer", "mia")
        self.certify("scc", "officer three", "officer", "scc")
        self.record = self.write("officer one", "record", encode_record("seizure", fields)).id

    def step(self, number: str, name: str, fields: dict[str, object], saw: Sequence[Entry | EntryId] = ()) -> Entry:
        """A step by that officer, who saw those steps."""
        refs = [one.id if isinstance(one, Entry) else one for one in saw]
        return self.write(f"officer {number}", "step", encode_step(self.record, name, fields), [self.record, *refs])

    def amend(self, number: str, place: object, saw: Sequence[Entry | EntryId] = ()) -> Entry:
        """Say another place."""
        return self.step(number, "amend", {"set": {"place": place}}, saw)

    def says(
        self, name: str, proposals: Sequence[Entry] = (), counts: dict[str, int] | None = None, **slots: object
    ) -> Case:
        """The case. slots: fields {name: [value, ...]}, tags, links, files, retracted; left out: as created."""
        expected = {"fields": {"place": ["Denov"]}, "tags": [], "links": [], "files": [], "retracted": []} | slots
        found = self.case(name, counts or {}, {})
        return {
            "name": name, "hex": found["hex"], "record": self.record.hex(), **expected,
            "proposals": sorted(one.id.hex() for one in proposals),
        }  # fmt: skip


def _fields() -> Iterator[Case]:
    one = _Story({"place": "Denov"})
    first = one.amend("one", "Termiz")
    yield one.says("an amendment takes the place of what it saw", fields={"place": ["Termiz"]})
    second = one.amend("two", "Boysun")
    yield one.says("two that did not see each other both stand", fields={"place": ["Boysun", "Termiz"]})
    third = one.amend("two", "Sherobod", [first, second])
    yield one.says("who saw both settles it", fields={"place": ["Sherobod"]})
    one.amend("one", "Sherobod", [first])
    yield one.says("the same value twice is no conflict", fields={"place": ["Sherobod", "Sherobod"]})
    one.amend("one", None, [third])
    yield one.says("a removal stands as nil", fields={"place": ["Sherobod", None]})

    one = _Story({"place": "Denov"})
    one.amend("one", "Termiz", [EntryId(filler("never came"))])
    yield one.says("an id that is not here was seen and says nothing", fields={"place": ["Termiz"]})

    one = _Story({"place": "Denov"})
    one.step("one", "comment", {"text": "ok"})
    one.step("one", "amend", {"set": "nonsense"})
    one.step("one", "dance", {"set": {"place": "x"}})
    yield one.says("other steps and nonsense change nothing")


def _proposals() -> Iterator[Case]:
    one = _Story({"place": "Denov"})
    asked = one.amend("three", "Termiz")
    yield one.says("another agency's amendment is a proposal", [asked])
    one.step("three", "accept", {"proposal": asked.id.hex(), "set": {"place": "Termiz"}}, [asked])
    yield one.says("whoever proposed cannot accept", [asked])
    one.step("one", "accept", {"proposal": asked.id.hex(), "set": {"place": "Termiz"}})
    yield one.says("an acceptance names the proposal in refs too", [asked])
    one.step("two", "accept", {"proposal": asked.id.hex(), "set": {"place": "Termiz"}}, [asked])
    yield one.says("the originator accepts", fields={"place": ["Termiz"]})

    one = _Story({"place": "Denov"})
    asked = one.amend("three", "Termiz")
    one.step("one", "decline", {"proposal": asked.id.hex(), "reason": "no"}, [asked])
    yield one.says("the originator declines")

    one = _Story({"place": "Denov"})
    asked = one.step("three", "retract", {"reason": "doubtful"})
    yield one.says("another agency cannot retract", [asked])
    back = one.step("one", "retract", {"reason": "counted twice"})
    yield one.says("the originator retracts", [asked], retracted=["counted twice"])
    one.step("two", "retract", {"undo": True}, [back])
    yield one.says("and undoes it", [asked], retracted=[None])


def _sets() -> Iterator[Case]:
    one = _Story({"place": "Denov", "tags": ["border", "night"], "links": [{"relation": "same_event", "to": OTHER}]})
    links = [["same_event", OTHER]]
    yield one.says("tags and links of the creation", tags=["border", "night"], links=links)
    added = one.step("three", "tag", {"add": ["night", "car"]})
    yield one.says("anybody adds", tags=["border", "car", "night"], links=links)
    one.step("one", "tag", {"remove": ["night", "border"]})
    yield one.says("a removal that did not see an addition leaves it", tags=["car", "night"], links=links)
    one.step("one", "tag", {"remove": ["night"]}, [added])
    yield one.says("one that saw it takes it away", tags=["car"], links=links)
    one.step("three", "link", {"to": OTHER, "relation": "same_event", "remove": True})
    yield one.says("nobody takes away what two other agencies' words made", tags=["car"], links=links)
    one.step("one", "link", {"to": OTHER, "relation": "same_event", "remove": True})
    yield one.says("the originator takes a link away", tags=["car"])

    one = _Story({"place": "Denov"})
    file = {"chunks": CHUNKS, "name": "photo.jpg", "size": 1, "sha256": filler("photo").hex(), "media": "image/jpeg"}
    put = one.step("three", "attach", file)
    yield one.says("a file", files=[CHUNKS])
    one.step("three", "attach", file | {"detach": True}, [put])
    yield one.says("a file that who attached it takes away")


def _void() -> Iterator[Case]:
    one = _Story({"place": "Denov"})
    stolen = one.amend("two", "Nowhere")
    one.revoke("mia", "officer two", 0)
    yield one.says("a void step says nothing", counts={"officer two": 0})
    one.amend("one", "Termiz", [stolen])
    yield one.says("who saw a void step holds all the same", counts={"officer two": 0}, fields={"place": ["Termiz"]})


def documents() -> tuple[str, list[Case], list[Case]]:
    """SPEC.md 4.8."""
    about = (
        "SPEC.md 4.8. Bundles of the network in charter.json, and what `record` says: of each field the values that"
        " stand, sorted as JSON; nil is a removal. `tags`, `links` (relation, to) and `files` (chunks) are those that"
        " are there, `retracted` what stands in that slot, `proposals` the open ones' ids."
    )
    return about, [*_fields(), *_proposals(), *_sets(), *_void()], []
