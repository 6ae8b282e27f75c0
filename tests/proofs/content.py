"""Other records, checkpoints and paths than they should be, all correctly signed (SPEC.md 8.6, checks 8 to 10)."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from protocol.codec import encode
from tests.proofs.damage import DAMAGES, MAX, damages, flip
from tests.proofs.world import Attestation, Draft, Item, Person, Row, body_of, key_of

# -- 8 record --------------------------------------------------------------------------------------------


def _creation(draft: Draft, row: Row) -> bool:
    draft.entries[0].become(row)
    draft.record = row.id
    return not draft.world.author.ended


@damages("record")
def record_of_another_id(draft: Draft, random: Random) -> bool:
    draft.record = random.choice((*(item.row.id for item in draft.entries[1:]), random.randbytes(32)))
    return True


@damages("record")
def creation_of_another_kind(draft: Draft, random: Random) -> bool:
    return _creation(draft, draft.entries[0].row.again(kind=random.choice(("step", "records", "act"))))


@damages("record")
def creation_withheld(draft: Draft, _: Random) -> bool:
    draft.entries[0].body = None
    return True


@damages("record")
def creation_is_a_step(draft: Draft, _: Random) -> bool | None:
    if len(draft.entries) < 2:
        return None
    del draft.entries[0]
    draft.attestations = []
    draft.record = draft.entries[0].row.id
    return True


@damages("record")
def creation_malformed(draft: Draft, random: Random) -> bool:
    good = body_of(draft.entries[0].row)
    bodies: tuple[Any, ...] = (
        {"fields": good["fields"]}, {"type": "seizure"}, {**good, "type": "Seizure"}, {**good, "type": "a" * 25},
        {**good, "fields": []}, {**good, "fields": None}, {**good, "type": b"seizure"}, {**good, "type": ""}, [], None,
        {**good, "type": "9lives"},
    )  # fmt: skip
    return _creation(draft, draft.entries[0].row.again(body=encode(random.choice(bodies))))


@damages("record")
def creation_not_canonical(draft: Draft, random: Random) -> bool:
    row = draft.entries[0].row
    deep = b"\x82\xa6fields\x81\xa1a" + b"\x91" * 14 + b"\x90" + b"\xa4type\xa7seizure"
    many = b"\x82\xa6fields\x81\xa1a\xdc\x10\x01" + b"\xc0" * 4097 + b"\xa4type\xa7seizure"
    bodies = (row.body + b"\xc0", b"\xde\x00\x02" + row.body[1:], row.body[:-1], b"", deep, many,
              b"\x82\xa4type\xa7seizure\xa6fields\x80", b"\x82\xa6fields\xca\x3f\x80\x00\x00\xa4type\xa7seizure",
              b"\x82\xa6fields\x81\xa1a\xa2\xc3\x28\xa4type\xa7seizure",
              b"\x82\xa6fields\x81\x01\x01\xa4type\xa7seizure",
              b"\x83\xa6fields\x80\xa6fields\x80\xa4type\xa7seizure",
              b"\x82\xa6fields\x81\xa1a\xc1\xa4type\xa7seizure",
              b"\x82\xa6fields\x81\xa1a\xc7\x00\x01\xa4type\xa7seizure")  # fmt: skip
    return _creation(draft, row.again(body=random.choice(bodies)))


def _step(draft: Draft, random: Random, row: Row) -> bool | None:
    """Another step stands in place of one of the draft's; no path leads from it."""
    if len(draft.entries) < 2 or draft.world.person(row.key).ended:
        return None
    del draft.entries[random.randrange(1, len(draft.entries))]
    draft.attestations = []
    steps = [*draft.entries[1:], Item(row, row.body, [])]
    draft.entries[1:] = sorted(steps, key=lambda one: one.row.id)
    return True


def _some_step(draft: Draft, random: Random) -> Row:
    steps = [row for row in draft.world.steps if not draft.world.person(row.key).ended]
    return random.choice(steps or draft.world.steps or [draft.world.record])


@damages("record")
def step_of_another_kind(draft: Draft, random: Random) -> bool | None:
    return _step(draft, random, _some_step(draft, random).again(kind=random.choice(("record", "note", "act"))))


@damages("record")
def step_without_its_ref(draft: Draft, random: Random) -> bool | None:
    return _step(draft, random, _some_step(draft, random).again(refs=random.choice(([], [bytes(32)]))))


@damages("record")
def step_on_another_record(draft: Draft, random: Random) -> bool | None:
    row = _some_step(draft, random)
    return _step(draft, random, row.again(body=encode({**body_of(row), "record": random.randbytes(32)})))


@damages("record")
def step_malformed(draft: Draft, random: Random) -> bool | None:
    row = _some_step(draft, random)
    good = body_of(row)
    bodies = (
        {"fields": {}, "record": draft.record}, {"record": draft.record, "step": "comment"}, {**good, "fields": None},
        {**good, "step": "Comment"}, {**good, "step": "a" * 25}, {**good, "record": draft.record.hex()}, [], None,
        {**good, "record": None}, {**good, "step": 1},
    )  # fmt: skip
    return _step(draft, random, row.again(body=encode(random.choice(bodies))))


# -- 9 checkpoint ------------------------------------------------------------------------------------------


def _attestation(draft: Draft, random: Random) -> Attestation | None:
    """One whose node may sign it anew: no cutoff names the entry as it was."""
    found = [one for one in draft.attestations if not one.checkpoint.node.ended]
    return random.choice(found) if found else None


def _checkpoints() -> dict[str, Callable[[dict[str, Any], Random], dict[str, Any]]]:
    """Bodies of checkpoints that are none, or whose note is over something else."""
    head = b"\x01" * 32 + bytes(7) + b"\x01" + b"\x02" * 32

    def heads(raw: bytes) -> Callable[[dict[str, Any], Random], dict[str, Any]]:
        return lambda _, __: {"heads": raw}

    return {
        "rest_of_checkpoint_1": lambda *_: {"rest": 1},
        "rest_of_checkpoint_nil": lambda *_: {"rest": None},
        "rest_of_checkpoint_negative": lambda *_: {"rest": -1},
        "note_over_another_root": lambda _, random: {"root": random.randbytes(32)},
        "note_over_other_logs": lambda body, _: {"logs": body["logs"] + 1},
        "note_over_other_entries": lambda body, _: {"entries": body["entries"] - 1},
        "note_of_zeros": lambda *_: {"note": bytes(64)},
        "bit_of_the_note": lambda body, random: {"note": flip(body["note"], random)},
        "note_of_63": lambda *_: {"note": bytes(63)},
        "root_of_31": lambda *_: {"root": bytes(31)},
        "logs_negative": lambda *_: {"logs": -1},
        "logs_2_53": lambda *_: {"logs": 2**53},
        "entries_text": lambda *_: {"entries": "12"},
        "full_1": lambda *_: {"full": 1},
        "checkpoint_field_more": lambda *_: {"more": None},
        "heads_of_71": heads(head[:-1]),
        "heads_of_73": heads(head + b"\x00"),
        "heads_twice": heads(head * 2),
        "heads_descend": heads(b"\x02" + head[1:] + head),
        "heads_size_without_id": heads(head[:40] + bytes(32)),
        "heads_id_without_size": heads(head[:32] + bytes(8) + head[40:]),
        "heads_size_2_53": heads(head[:32] + (2**53).to_bytes(8, "big") + head[40:]),
        "heads_array": lambda *_: {"heads": []},
        "heads_too_many": heads(b"".join(at.to_bytes(32, "big") + head[32:] for at in range(3601))),
    }


def _register_checkpoints() -> None:
    for name, made in _checkpoints().items():

        def changed(draft: Draft, random: Random, made: Any = made) -> bool:
            attestation = _attestation(draft, random)
            if attestation:
                attestation.restate(**made(body_of(attestation.item.row), random))
            return attestation is not None

        DAMAGES.append(("checkpoint", name, changed))


_register_checkpoints()


@damages("checkpoint")
def checkpoint_of_another_kind(draft: Draft, random: Random) -> bool:
    attestation = _attestation(draft, random)
    if attestation:
        attestation.item.become(attestation.item.row.again(kind=random.choice(("record", "checkpoints"))))
    return attestation is not None


@damages("checkpoint")
def checkpoint_withheld(draft: Draft, random: Random) -> bool:
    attestation = _attestation(draft, random)
    if attestation:
        attestation.item.body = None
    return attestation is not None


@damages("checkpoint")
def note_of_another_node(draft: Draft, random: Random) -> bool:
    attestation = _attestation(draft, random)
    if attestation:
        attestation.checkpoint = replace(attestation.checkpoint, node=Person(key_of("stranger"), "", "node"))
        attestation.renote()
    return attestation is not None


@damages("checkpoint")
def note_of_another_network(draft: Draft, random: Random) -> bool:
    attestation = _attestation(draft, random)
    if attestation:
        body, row = body_of(attestation.item.row), attestation.item.row
        root = b64encode(body["root"]).decode()
        text = f"hamkor/{bytes(32).hex()}\n{body['logs']}\n{root}\nentries {body['entries']}\n"
        attestation.restate(note=row.signer.sign(text.encode()))
    return attestation is not None


# -- 10 path -----------------------------------------------------------------------------------------------


def _paths() -> dict[str, Callable[[list[Any], Random], list[Any] | None]]:
    """Paths that lead elsewhere; None where that cannot be said of this one."""

    def at(index: int, change: Callable[[Any, Random], Any]) -> Callable[[list[Any], Random], list[Any] | None]:
        def changed(path: list[Any], random: Random) -> list[Any] | None:
            value = change(path[index], random)
            return None if value is None else [*path[:index], value, *path[index + 1 :]]

        return changed

    def altered(hashes: list[bytes], random: Random) -> Any:
        if not hashes:
            return None
        spot = random.randrange(len(hashes))
        return [*hashes[:spot], flip(hashes[spot], random), *hashes[spot + 1 :]]

    def swapped(hashes: list[bytes], _: Random) -> Any:
        return hashes[::-1] if hashes != hashes[::-1] else None

    made: dict[str, Callable[[list[Any], Random], list[Any] | None]] = {
        "size_0": at(1, lambda *_: 0),
        "size_one_more": at(1, lambda size, _: size + 1),
        "size_one_less": at(1, lambda size, _: size - 1),
        "size_2_53_1": at(1, lambda *_: MAX),
        "leaf_next": at(3, lambda leaf, _: leaf + 1),
        "leaf_before": at(3, lambda leaf, _: leaf - 1 if leaf else None),
        "leaf_2_53_1": at(3, lambda *_: MAX),
    }
    for index, name in ((2, "log"), (4, "ledger")):
        made |= {
            f"{name}_hash_altered": at(index, altered),
            f"{name}_hash_more": at(index, lambda hashes, random: [*hashes, random.randbytes(32)]),
            f"{name}_hash_first": at(index, lambda hashes, random: [random.randbytes(32), *hashes]),
            f"{name}_hash_less": at(index, lambda hashes, _: hashes[:-1] if hashes else None),
            f"{name}_hashes_swapped": at(index, swapped),
            f"{name}_of_64": at(index, lambda *_: [bytes(32)] * 64),
        }
    return made


def _register_paths() -> None:
    for name, made in _paths().items():

        def changed(draft: Draft, random: Random, made: Any = made) -> bool | None:
            attestation = _attestation(draft, random)
            if attestation is None:
                return None
            spot = random.randrange(len(attestation.paths))
            path = made(attestation.paths[spot], random)
            if path is not None:
                attestation.paths[spot] = path
            return path is not None

        DAMAGES.append(("path", name, changed))


_register_paths()


@damages("path")
def path_of_another_entry(draft: Draft, random: Random) -> bool | None:
    attestation = _attestation(draft, random)
    free = sorted(set(range(len(draft.entries))) - {path[0] for path in attestation.paths}) if attestation else []
    if attestation is None or not free:
        return None
    attestation.paths = [[random.choice(free), *attestation.paths[0][1:]]]
    return True


@damages("path")
def path_into_another_checkpoint(draft: Draft, random: Random) -> bool | None:
    attestation = _attestation(draft, random)
    if attestation is None:
        return None
    attestation.renote(root=random.randbytes(32))
    return True


@damages("path")
def ledger_of_other_size(draft: Draft, random: Random) -> bool | None:
    """The note is over that many logs, and signed. Another number may have the same path: then this is no damage."""
    attestation = _attestation(draft, random)
    if attestation is None:
        return None
    attestation.renote(logs=random.choice((0, MAX)))
    return True
