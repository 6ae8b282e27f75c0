"""Synthetic proofs (SPEC.md 8.6), valid and damaged, from a seed: what every verifier must agree on.

    for case in cases(seed=1, count=300): case.name, case.proof, case.charter, case.verdict, case.reason

A damage gets a draft, changes it, and says so; or returns the bytes of a file; or None where it does not apply. It is
registered under the reason that a verifier must give. What it changes is signed again, so that each check is reached.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from random import Random
from typing import Any

from keys.signing import PublicKey
from protocol.acts import Act, Admit, Approve, Certify, Propose, Rekey, Remove, Revoke, Threshold, Unit
from protocol.card import consent_bytes
from protocol.charter import Agency, encode_charter_file
from protocol.codec import encode
from protocol.entry import EntryId
from tests.proof_world import BEGIN, END, FIELDS, Attestation, Draft, Item, Person, Row, World, body_of, key_of, wrap

ORDER = 2**252 + 27742317777372353535851937790883648493  # of the Ed25519 group
IDENTITY = bytes([1]) + bytes(31)  # a point of small order
MAX = 2**53 - 1

Damage = Callable[[Draft, Random], bytes | bool | None]  # a file; True: the draft as it is now; None, False: no


@dataclass(frozen=True)
class Case:
    """Two files, and what a verifier must say of them. verdict None: only that all verifiers say the same."""

    name: str
    proof: bytes
    charter: bytes
    verdict: str | None
    reason: str | None
    expected: dict[str, Any] | None = None  # all that it must say


DAMAGES: list[tuple[str, str, Damage]] = []  # reason, name, what does it


def damages(reason: str) -> Callable[[Damage], Damage]:
    """Register a damage under its reason."""

    def add(made: Damage) -> Damage:
        DAMAGES.append((reason, made.__name__, made))
        return made

    return add


def flip(raw: bytes, random: Random) -> bytes:
    """One bit of it changed."""
    at = random.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ (1 << random.randrange(8))]) + raw[at + 1 :]


# -- 1 form ------------------------------------------------------------------------------------------


def _files() -> dict[str, Callable[[bytes, Draft], bytes]]:
    """Files that are in another form: from the payload and the draft."""

    def shaped(payload: bytes, draft: Draft, width: int) -> bytes:
        return wrap(payload, draft.before, draft.after, width)

    def joined(draft: Draft, content: bytes) -> bytes:
        return draft.before + content + draft.after

    def lines(payload: bytes) -> list[bytes]:
        return wrap(payload, b"", b"").splitlines(keepends=True)

    return {
        "lines_of_77": lambda raw, draft: shaped(raw, draft, 77),
        "lines_of_75": lambda raw, draft: shaped(raw, draft, 75),
        "one_long_line": lambda raw, draft: shaped(raw, draft, 1 << 30),
        "last_line_without_its_end": lambda raw, draft: joined(draft, b"".join(lines(raw))[:-1]),
        "lines_end_in_crlf": lambda raw, draft: joined(draft, b"".join(lines(raw)).replace(b"\n", b"\r\n")),
        "empty_line": lambda raw, draft: joined(draft, b"".join(lines(raw)) + b"\n"),
        "empty_line_first": lambda raw, draft: joined(draft, b"\n" + b"".join(lines(raw))),
        "space_in_content": lambda raw, draft: joined(draft, b" " + b"".join(lines(raw))),
        "no_content": lambda _, draft: joined(draft, b""),
        "padding_and_more": lambda raw, draft: joined(draft, b"".join(lines(raw)) + b"AA==\n"),
        "letters_of_urls": lambda raw, draft: joined(draft, b"".join(lines(raw))[:-1] + b"-\n"),
        "marker_twice": lambda raw, draft: BEGIN + END + shaped(raw, draft, 76),
        "marker_again_after": lambda raw, draft: shaped(raw, draft, 76) + BEGIN,
        "no_marker": lambda raw, draft: shaped(raw, draft, 76).replace(BEGIN, b"<script>\n"),
        "marker_in_capitals": lambda raw, draft: shaped(raw, draft, 76).replace(b"<script type", b"<SCRIPT type"),
        "marker_with_crlf": lambda raw, draft: shaped(raw, draft, 76).replace(b'proof">\n', b'proof">\r\n'),
        "no_end": lambda raw, draft: wrap(raw, draft.before, b""),
        "page_not_utf8": lambda raw, draft: wrap(raw, draft.before, draft.after + b"\xc3"),
        "page_with_surrogate": lambda raw, draft: wrap(raw, b"\xed\xa0\x80" + draft.before, draft.after),
        "nothing_at_all": lambda *_: b"",
        "only_the_marker": lambda *_: BEGIN,
    }


def _payloads() -> dict[str, Callable[[bytes], bytes]]:
    """Payloads that are not canonical, or go on."""
    return {
        "byte_after_payload": lambda raw: raw + b"\xc0",
        "payload_cut_short": lambda raw: raw[:-1],
        "map_in_a_longer_form": lambda raw: b"\xde\x00\x07" + raw[1:],
        "map_32": lambda raw: b"\xdf\x00\x00\x00\x07" + raw[1:],
        "name_in_a_longer_form": lambda raw: raw[:1] + b"\xd9\x04" + raw[2:],
        "version_in_a_longer_form": lambda raw: raw[:-1] + b"\xcc\x01",
        "version_as_a_float": lambda raw: raw[:-1] + b"\xca\x3f\x80\x00\x00",
        "version_as_true": lambda raw: raw[:-1] + b"\xc3",
        "version_signed": lambda raw: raw[:-1] + b"\xd0\x01",
        "empty_payload": lambda _: b"\xc0",
        "payload_in_an_array": lambda raw: b"\x91" + raw,
        "nested_deep": lambda _: b"\x91" * 5000,
        "promise_of_items": lambda raw: raw[:6] + b"\xdd\xff\xff\xff\xff" + raw[7:],
        "promise_of_bytes": lambda raw: raw[:-1] + b"\xc6\xff\xff\xff\xff",
        "record_in_a_longer_form": lambda raw: raw.replace(b"\xa6record\xc4\x20", b"\xa6record\xc5\x00\x20"),
    }


def _values() -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Canonical payloads of another shape: each changes the value in place, or returns another."""

    def put(name: str, value: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda whole: {**whole, name: value}

    def entry(change: Callable[[list[Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        return lambda whole: {**whole, "entries": [change(list(whole["entries"][0])), *whole["entries"][1:]]}

    def path(change: Callable[[list[Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        def changed(whole: dict[str, Any]) -> Any:
            if not whole["attestations"]:
                return None
            (item, (first, *more)), *others = whole["attestations"]
            return {**whole, "attestations": [[item, [change(list(first)), *more]], *others]}

        return changed

    def at(index: int, value: Any) -> Callable[[list[Any]], Any]:
        return lambda row: [*row[:index], value, *row[index + 1 :]]

    def swapped(whole: dict[str, Any]) -> Any:
        first, *steps = whole["entries"]
        return {**whole, "entries": [first, *reversed(steps)]} if len(steps) > 1 else None

    def repeated(whole: dict[str, Any]) -> Any:
        more = whole["entries"][1:]
        return {**whole, "entries": [*whole["entries"], more[-1]]} if more else None

    def paths(change: Callable[[list[Any]], list[Any]]) -> Callable[[dict[str, Any]], Any]:
        def changed(whole: dict[str, Any]) -> Any:
            found = [one for one in whole["attestations"] if len(one[1]) > 1]
            if not found:
                return None
            others = [one for one in whole["attestations"] if one is not found[0]]
            return {**whole, "attestations": [[found[0][0], change(found[0][1])], *others]}

        return changed

    pair = [b"", bytes(64)]
    return {
        "version_2": put("version", 2),
        "version_text": put("version", "1"),
        "one_field_more": put("zone", "UZ"),
        "one_field_less": lambda whole: {name: value for name, value in whole.items() if name != "acts"},
        "no_entries": put("entries", []),
        "acts_nil": put("acts", None),
        "acts_a_map": put("acts", {}),
        "too_many_attestations": lambda whole: {**whole, "attestations": (whole["attestations"] * 257)[:257] or None},
        "network_of_31": put("network", bytes(31)),
        "record_of_33": put("record", bytes(33)),
        "page_text": put("page", "0" * 32),
        "item_of_3": entry(lambda row: row[:3]),
        "item_of_5": entry(lambda row: [*row, []]),
        "header_text": entry(at(0, "header")),
        "header_nil": entry(at(0, None)),
        "signature_of_63": entry(at(1, bytes(63))),
        "signature_of_65": entry(at(1, bytes(65))),
        "body_text": entry(at(2, "text")),
        "rest_nil": entry(at(3, None)),
        "rest_of_128": entry(at(3, [pair] * 128)),
        "rest_with_bare_header": entry(at(3, [b"header"])),
        "rest_of_three": entry(at(3, [[*pair, b""]])),
        "rest_signature_of_32": entry(at(3, [[b"", bytes(32)]])),
        "attestation_without_paths": lambda whole: {
            **whole, "attestations": [[one[0], []] for one in whole["attestations"]] or None
        },
        "path_to_no_entry": path(lambda row: [4096, *row[1:]]),
        "path_just_past_the_entries": lambda whole: path(at(0, len(whole["entries"])))(whole)
        if whole["attestations"] and len(whole["attestations"][0][1]) == 1 else None,
        "path_entry_negative": path(at(0, -1)),
        "path_size_2_53": path(at(1, 2**53)),
        "path_size_text": path(at(1, "1")),
        "path_size_nil": path(at(1, None)),
        "path_of_65": path(at(2, [bytes(32)] * 65)),
        "path_with_short_hash": path(at(2, [bytes(31)])),
        "path_with_text_hash": path(at(4, ["0" * 32])),
        "ledger_path_of_65": path(at(4, [bytes(32)] * 65)),
        "path_leaf_negative": path(at(3, -1)),
        "path_of_4": path(lambda row: row[:4]),
        "path_of_6": path(lambda row: [*row, 0]),
        "paths_descend": paths(lambda rows: rows[::-1]),
        "path_twice": paths(lambda rows: [rows[0], *rows]),
        "steps_descend": swapped,
        "step_twice": repeated,
    }  # fmt: skip


def _register_forms() -> None:
    for name, file in _files().items():
        DAMAGES.append(("form", name, lambda draft, _, file=file: file(draft.payload(), draft)))
    for name, payload in _payloads().items():
        DAMAGES.append(("form", name, lambda draft, _, payload=payload: draft.file(payload(draft.payload()))))
    for name, value in _values().items():

        def changed(draft: Draft, _: Random, value: Any = value) -> bytes | None:
            found = value(draft.value())
            return None if found is None else draft.file(encode(found))

        DAMAGES.append(("form", name, changed))


_register_forms()


@damages("form")
def bits_that_say_nothing(draft: Draft, _: Random) -> bytes | None:
    raw = draft.file()
    at = raw.find(b"=\n" + END)
    if at < 0:
        return None
    at -= raw[at - 1 : at] == b"="
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return raw[: at - 1] + letters[letters.index(raw[at - 1]) + 1 :][:1] + raw[at:]


@damages("form")
def no_padding(draft: Draft, _: Random) -> bytes | None:
    raw = draft.file()
    return raw.replace(b"=\n" + END, b"\n" + END) if b"=\n" + END in raw else None


# -- 2 page, 3 network, and the charter ----------------------------------------------------------------


@damages("page")
def word_on_the_page(draft: Draft, _: Random) -> bytes:
    return draft.file().replace(b"Sariosiyo\n", b"Termiz\n")


@damages("page")
def line_after_the_page(draft: Draft, _: Random) -> bytes:
    return draft.file() + b"\n"


@damages("page")
def hash_of_another_page(draft: Draft, random: Random) -> bool:
    draft.page = random.randbytes(32)
    return True


@damages("page")
def hash_of_the_whole_file(draft: Draft, _: Random) -> bool:
    draft.page = sha256(draft.before).digest()
    return True


@damages("network")
def another_network(draft: Draft, random: Random) -> bool:
    draft.network = flip(draft.network, random)
    return True


@damages("network")
def charter_of_another_network(draft: Draft, random: Random) -> bool:
    draft.charter = World(Random(random.getrandbits(20))).charter
    return True


def _charters() -> dict[str, Callable[[Draft, Random], bytes]]:
    def signed(draft: Draft, change: Callable[[dict[str, Any]], None], *, again: bool = True) -> bytes:
        """The charter file with something else in it; signed again by all founders that it names."""
        whole = {"charter": draft.world.signed.charter.value(), "signatures": dict(draft.world.signed.signatures)}
        change(whole)
        text = b"hamkor/charter/1\x00" + encode(whole["charter"])
        keys = {one.key: one.signer for one in draft.world.people}
        for agency in whole["charter"].get("agencies", []) if again else []:
            if agency["key"] in keys and agency["name"] in whole["signatures"]:
                whole["signatures"][agency["name"]] = keys[agency["key"]].sign(text)
        return b"hamkor charter 1\n" + encode(whole)

    def put(name: str, value: Any) -> Callable[[Draft, Random], bytes]:
        return lambda draft, _: signed(draft, lambda whole: whole["charter"].update({name: value}))

    def first(name: str, value: Any) -> Callable[[Draft, Random], bytes]:
        return lambda draft, _: signed(draft, lambda whole: whole["charter"]["agencies"][0].update({name: value}))

    def one_missing(draft: Draft, random: Random) -> bytes:
        signatures = dict(draft.world.signed.signatures)
        del signatures[random.choice(sorted(signatures))]
        return encode_charter_file(replace(draft.world.signed, signatures=signatures))

    def one_false(draft: Draft, random: Random) -> bytes:
        signatures = dict(draft.world.signed.signatures)
        signatures[random.choice(sorted(signatures))] = bytes(64)
        return encode_charter_file(replace(draft.world.signed, signatures=signatures))

    def reverse(whole: dict[str, Any]) -> None:
        whole["charter"]["agencies"].reverse()
        if len(whole["charter"]["agencies"]) < 2:
            whole["charter"]["version"] = 0

    def repeat(whole: dict[str, Any]) -> None:
        whole["charter"]["agencies"] *= 2

    return {
        "unsigned_by_one": one_missing,
        "signed_by_one_falsely": one_false,
        "stranger_signed": lambda draft, _: signed(draft, lambda whole: whole["signatures"].update({"zzz": bytes(64)})),
        "agencies_not_ascending": lambda draft, _: signed(draft, reverse),
        "agency_twice": lambda draft, _: signed(draft, repeat),
        "name_in_capitals": first("name", "MIA"),
        "key_of_31": first("key", bytes(31)),
        "title_with_override": first("title", "Ma‮bay"),
        "title_of_201": first("title", "a" * 201),
        "network_empty": put("network", ""),
        "network_with_line_feed": put("network", "two\nlines"),
        "nonce_of_15": put("nonce", bytes(15)),
        "threshold_0": put("threshold", 0),
        "threshold_of_too_many": put("threshold", 6),
        "threshold_true": put("threshold", True),
        "version_of_charter_2": put("version", 2),
        "founded_before_1970": put("founded_ms", -1),
        "field_more": put("more", None),
        "map_more": lambda draft, _: signed(draft, lambda whole: whole.update(more=1)),
        "byte_after_charter": lambda draft, _: draft.charter + b"\xc0",
        "charter_cut_short": lambda draft, _: draft.charter[:-1],
        "card_instead": lambda draft, _: draft.charter.replace(b"hamkor charter", b"hamkor card", 1),
        "next_version": lambda draft, _: draft.charter.replace(b"charter 1\n", b"charter 2\n", 1),
        "proof_instead": lambda draft, _: draft.file(),
        "charter_too_long": lambda draft, _: draft.charter + bytes(1 << 16),
        "bit_of_the_charter": lambda draft, random: flip(draft.charter, random),
    }


def _register_charters() -> None:
    for name, made in _charters().items():

        def changed(draft: Draft, random: Random, made: Any = made) -> bool:
            draft.charter = made(draft, random)
            return True

        DAMAGES.append(("charter", name, changed))


_register_charters()


# -- 4 entry -------------------------------------------------------------------------------------------


def _places(draft: Draft) -> list[Item]:
    """Items that may be signed anew without giving a form that is wrong: no steps, whose ids are in order."""
    return [*draft.acts, draft.entries[0], *(one.item for one in draft.attestations)]


def _headers() -> dict[str, dict[str, Any]]:
    """Headers that break a rule of SPEC.md 3.1, by what is other in them."""
    return {
        "version_of_header_2": {"version": 2},
        "version_of_header_text": {"version": "1"},
        "key_of_header_31": {"key": bytes(31)},
        "seq_negative": {"seq": -1},
        "seq_2_53": {"seq": 2**53},
        "seq_0_with_prev": {"seq": 0, "prev": bytes(32)},
        "seq_1_without_prev": {"seq": 1, "prev": None},
        "prev_of_31": {"seq": 1, "prev": bytes(31)},
        "refs_nil": {"refs": None},
        "refs_of_33": {"refs": [bytes([at]) + bytes(31) for at in range(33)]},
        "refs_of_80": {"refs": [bytes([at]) + bytes(31) for at in range(80)]},
        "refs_not_ascending": {"refs": [bytes([2]) * 32, bytes([1]) * 32]},
        "refs_twice": {"refs": [bytes(32), bytes(32)]},
        "refs_short": {"refs": [bytes(31)]},
        "refs_text": {"refs": ["a" * 32]},
        "kind_in_capitals": {"kind": "Record"},
        "kind_empty": {"kind": ""},
        "kind_of_25": {"kind": "a" * 25},
        "kind_with_line_feed": {"kind": "act\n"},
        "kind_bytes": {"kind": b"act"},
        "space_of_31": {"space": bytes(31)},
        "space_false": {"space": False},
        "body_size_262145": {"body_size": 262_145},
        "body_size_one_more": {"body_size": 1},
        "body_hash_of_31": {"body_hash": bytes(31)},
        "body_hash_other": {"body_hash": bytes(32)},
        "time_negative": {"time_ms": -1},
        "time_2_53": {"time_ms": 2**53},
        "time_nil": {"time_ms": None},
    }


def _register_headers() -> None:
    for name, changes in _headers().items():

        def changed(draft: Draft, random: Random, changes: Any = changes) -> bool:
            item = random.choice([one for one in _places(draft) if one.body is not None])
            if "body_size" in changes or "body_hash" in changes:
                made = {**item.row.made, **changes}
                if changes.get("body_size") == 1:
                    made["body_size"] = item.row.made["body_size"] + 1
                item.become(item.row.with_header(encode([made[field] for field in FIELDS])))
            else:
                item.become(item.row.again(**changes))
            return True

        DAMAGES.append(("entry", name, changed))


_register_headers()


@damages("entry")
def header_not_canonical(draft: Draft, random: Random) -> bool:
    item = random.choice(_places(draft))
    header = item.row.header
    forms = (
        b"\xdc\x00\x0a" + header[1:], header[:1] + b"\xcc\x01" + header[2:], header + b"\xc0", header[:-1], b"",
        header.replace(b"\xc4\x20", b"\xc5\x00\x20", 1), b"\x9b" + header[1:] + b"\xc0", b"\x91" * 2048,
    )  # fmt: skip
    item.become(item.row.with_header(random.choice(forms)))
    return True


@damages("entry")
def body_changed(draft: Draft, random: Random) -> bool:
    item = random.choice([one for one in [*draft.entries, *_places(draft)] if one.body])
    item.body = flip(item.body or b"", random)
    return True


@damages("entry")
def body_longer(draft: Draft, random: Random) -> bool:
    item = random.choice([one for one in [*draft.entries, *_places(draft)] if one.body is not None])
    item.body = (item.body or b"") + b"\xc0"
    return True


@damages("entry")
def body_of_another(draft: Draft, random: Random) -> bool:
    item, other = random.choice(_places(draft)), random.choice(_places(draft))
    item.body = other.row.body + b"" if other.row.body != item.row.body else b""
    return True


def _rest(draft: Draft, random: Random, change: Callable[[Row, Row], Row]) -> bool:
    """An item is followed by two entries of its log, the second of which is changed and signed."""
    item = random.choice([*draft.entries, *_places(draft)])
    made = {**item.row.made, "kind": "note-9", "refs": []}
    first = item.row.again(**{**made, "seq": item.row.seq + 1, "prev": item.row.id})
    second = change(first, first.again(seq=first.seq + 1, prev=first.id))
    item.rest = [(first.header, first.signature), (second.header, second.signature)]
    return True


@damages("entry")
def rest_skips_a_seq(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda _, row: row.again(seq=row.seq + 1))


@damages("entry")
def rest_stays_at_a_seq(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda _, row: row.again(seq=row.seq - 1))


@damages("entry")
def rest_of_another_prev(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda first, row: row.again(prev=flip(first.id, random)))


@damages("entry")
def rest_of_another_key(draft: Draft, random: Random) -> bool:
    signer = key_of(f"stranger {random.getrandbits(6)}")
    return _rest(draft, random, lambda _, row: replace(row, signer=signer).again(key=signer.public))


@damages("entry")
def rest_header_not_canonical(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda _, row: row.with_header(row.header + b"\xc0"))


@damages("entry")
def rest_leaves_out_the_next(draft: Draft, random: Random) -> bool | None:
    found = [item for item in [*draft.entries, *_places(draft)] if len(item.rest) > 1]
    if not found:
        return None
    del random.choice(found).rest[0]
    return True


@damages("entry")
def signature_of_an_entry_with_rest(draft: Draft, random: Random) -> bool:
    """The entry after it names another id as `prev`."""
    if not _rest(draft, random, lambda _, row: row):
        return False
    for item in [draft.entries[0], *_places(draft)]:
        if item.rest:
            item.row = item.row.with_signature(flip(item.row.signature, random))
            return True
    return False


# -- 5 signature ---------------------------------------------------------------------------------------


def _signed(draft: Draft, random: Random) -> Item | None:
    found = [item for item in _places(draft) if not item.rest]
    return random.choice(found) if found else None


@damages("signature")
def bit_of_a_signature(draft: Draft, random: Random) -> bool:
    item = _signed(draft, random)
    if item:
        item.row = item.row.with_signature(flip(item.row.signature, random))
    return item is not None


@damages("signature")
def signature_not_reduced(draft: Draft, random: Random) -> bool:
    """S and the group's order: the same signature to a lax verifier."""
    item = _signed(draft, random)
    if item:
        raw = item.row.signature
        wide = int.from_bytes(raw[32:], "little") + ORDER
        item.row = item.row.with_signature(raw[:32] + wide.to_bytes(32, "little"))
    return item is not None


@damages("signature")
def key_of_small_order(draft: Draft, random: Random) -> bool:
    """A key for which one signature holds over everything, to a lax verifier."""
    item = random.choice(_places(draft))
    keys = (IDENTITY, bytes(32), bytes([0xEC]) + b"\xff" * 30 + b"\x7f", bytes([1]) + bytes(30) + b"\x80")
    item.become(item.row.again(key=random.choice(keys)))
    item.row = item.row.with_signature(IDENTITY + bytes(32))
    return True


@damages("signature")
def signature_of_another_key(draft: Draft, random: Random) -> bool:
    item = random.choice(_places(draft))
    other = replace(item.row, signer=key_of("stranger")).again()
    item.become(replace(other, signer=item.row.signer))
    return True


@damages("signature")
def signature_for_another_network(draft: Draft, random: Random) -> bool:
    item = random.choice(_places(draft))
    item.become(replace(item.row, network=flip(item.row.network, random)).again())
    return True


@damages("signature")
def signature_of_another_context(draft: Draft, random: Random) -> bool:
    item = random.choice(_places(draft))
    item.become(item.row.with_signature(item.row.signer.sign(b"hamkor/card/1\x00" + item.row.header)))
    return True


@damages("signature")
def rest_unsigned(draft: Draft, random: Random) -> bool:
    return _rest(draft, random, lambda _, row: row.with_signature(flip(row.signature, random)))


@damages("signature")
def rest_left_out(draft: Draft, random: Random) -> bool | None:
    found = [item for item in [*draft.entries, *_places(draft)] if not item.row.holds]
    if not found:
        return None
    random.choice(found).rest = []
    return True


# -- 6 act -----------------------------------------------------------------------------------------------


def someone(draft: Draft, random: Random, *ranks: str, other: str | None = None) -> Person | None:
    """A person who may still write; not of agency `other`."""
    found = [one for one in draft.world.of(*ranks) if one.agency != other]
    return random.choice(found) if found else None


def stranger(random: Random) -> PublicKey:
    return key_of(f"stranger {random.getrandbits(6)}").public


def certificate(random: Random, agency: str) -> dict[str, Any]:
    return {
        "act": "certify", "agency": agency, "consent": None, "name": "A. Karimov", "rank": "officer", "roles": [],
        "subject": stranger(random), "unit": "",
    }  # fmt: skip


def _by(*ranks: str) -> Callable[[Callable[[Draft, Random, Person], Act | dict[str, Any] | None]], None]:
    """Register an act that somebody of these ranks writes, and that must be refused."""

    def add(made: Callable[[Draft, Random, Person], Act | dict[str, Any] | None]) -> None:
        def changed(draft: Draft, random: Random) -> bool | None:
            by = someone(draft, random, *ranks)
            act = made(draft, random, by) if by else None
            if by is None or act is None:
                return None
            draft.act(by, act)
            return True

        DAMAGES.append(("act", made.__name__, changed))

    return add


@_by("officer", "node")
def certified_by_an_officer(_: Draft, random: Random, by: Person) -> Act:
    return Certify(stranger(random), "officer", "A. Karimov", by.agency, "", ())


@_by("admin")
def admin_certified_by_an_admin(_: Draft, random: Random, by: Person) -> Act:
    return Certify(stranger(random), "admin", "A. Karimov", by.agency, "", ())


@_by("root", "admin")
def certified_for_another_agency(draft: Draft, random: Random, by: Person) -> Act | None:
    names = [name for name in (*draft.world.roots, "nobody") if name != by.agency]
    return Certify(stranger(random), "node", "A. Karimov", random.choice(names), "", ())


@_by("root")
def certified_twice(draft: Draft, random: Random, by: Person) -> Act | None:
    found = [one for one in draft.world.people if one.certificate]
    return Certify(random.choice(found).signer.public, "officer", "A. Karimov", by.agency, "", ())


@_by("root")
def root_key_certified(draft: Draft, random: Random, by: Person) -> Act:
    roots = [one for one in draft.world.people if one.rank == "root"]
    return Certify(random.choice(roots).signer.public, "officer", "A. Karimov", by.agency, "", ())


@_by("officer", "node")
def unit_by_an_officer(_: Draft, random: Random, __: Person) -> Act:
    return Unit("imt-4", "A team", ("UZ-SU",))


@_by("root", "admin")
def revoked_by_another_agency(draft: Draft, random: Random, by: Person) -> Act | None:
    found = [one for one in draft.world.people if one.certificate and one.agency != by.agency]
    return Revoke(random.choice(found).signer.public, 0, None, "") if found else None


@_by("admin")
def admin_revoked_by_an_admin(draft: Draft, random: Random, by: Person) -> Act:
    found = [one for one in draft.world.people if one.rank == "admin" and one.agency == by.agency]
    return Revoke(random.choice(found).signer.public, 1 << 40, EntryId(bytes(32)), "")


@_by("officer", "node")
def revoked_by_an_officer(draft: Draft, random: Random, by: Person) -> Act:
    return Revoke(by.signer.public, 1 << 40, EntryId(bytes(32)), "")


@_by("root")
def revoked_without_certificate(draft: Draft, random: Random, by: Person) -> Act:
    subject = random.choice((stranger(random), by.signer.public))
    return Revoke(subject, 1 << 40, EntryId(bytes(32)), "")


@_by("admin", "officer", "node")
def proposed_by_no_root(_: Draft, __: Random, ___: Person) -> Act:
    return Propose(Threshold(1))


@_by("root")
def approved_nothing(draft: Draft, random: Random, _: Person) -> Act:
    no_proposal = [item.row.id for item in draft.acts if body_of(item.row)["act"] != "propose"]
    return Approve(EntryId(random.choice([*no_proposal, random.randbytes(32)])))


@_by("admin", "officer", "node")
def approved_by_no_root(draft: Draft, random: Random, _: Person) -> Act | None:
    found = [item.row.id for item in draft.acts if body_of(item.row)["act"] == "propose"]
    return Approve(EntryId(random.choice(found))) if found else None


def _bodies() -> dict[str, Callable[[Random, str], dict[str, Any]]]:
    """Bodies that are no act of SPEC.md 4.3: from the agency of who signs."""
    cut = {"act": "revoke", "id": None, "reason": "", "seq": 0, "subject": bytes(32)}

    def proposal(change: Any) -> Callable[[Random, str], dict[str, Any]]:
        return lambda _, __: {"act": "propose", "change": change}

    def certify(**changes: Any) -> Callable[[Random, str], dict[str, Any]]:
        return lambda random, agency: {**certificate(random, agency), **changes}

    def unit(**changes: Any) -> Callable[[Random, str], dict[str, Any]]:
        return lambda _, __: {"act": "unit", "regions": ["UZ-SU"], "title": "A team", "unit": "imt-4", **changes}

    return {
        "no_act": lambda *_: {},
        "unknown_act": lambda *_: {"act": "crown"},
        "act_nil": lambda *_: {"act": None},
        "act_array": lambda *_: {"act": ["unit"]},
        "certify_field_more": certify(zone="UZ"),
        "certify_no_unit": lambda random, agency: {
            name: value for name, value in certificate(random, agency).items() if name != "unit"
        },
        "certify_rank_agency": certify(rank="agency"),
        "certify_subject_short": certify(subject=bytes(31)),
        "certify_consent_short": certify(consent=bytes(63)),
        "certify_name_empty": certify(name=""),
        "certify_name_of_201": certify(name="а" * 101),
        "certify_name_turned_round": certify(name="Karimov\u200f"),
        "certify_name_bytes": certify(name=b"Karimov"),
        "certify_unit_in_capitals": certify(unit="IMT"),
        "certify_roles_unsorted": certify(roles=["officer", "admin"]),
        "certify_roles_twice": certify(roles=["officer", "officer"]),
        "certify_role_unknown": certify(roles=["king"]),
        "certify_roles_text": certify(roles="admin"),
        "certify_agency_empty": certify(agency=""),
        "unit_region_lower": unit(regions=["uz-SU"]),
        "unit_region_long": unit(regions=["UZ-SURX"]),
        "unit_regions_twice": unit(regions=["UZ-SU", "UZ-SU"]),
        "unit_of_65_regions": unit(regions=[f"UZ-{at:03}" for at in range(65)]),
        "unit_without_code": unit(unit=""),
        "unit_title_with_tab": unit(title="A\tteam"),
        "revoke_reason_of_2001": lambda *_: {**cut, "reason": "a" * 2001},
        "revoke_reason_of_two_lines": lambda *_: {**cut, "reason": "a\nb"},
        "revoke_seq_without_id": lambda *_: {**cut, "seq": 1},
        "revoke_seq_negative": lambda *_: {**cut, "seq": -1, "id": bytes(32)},
        "revoke_seq_2_53": lambda *_: {**cut, "seq": 2**53, "id": bytes(32)},
        "revoke_id_short": lambda *_: {**cut, "id": bytes(31)},
        "revoke_seq_false": lambda *_: {**cut, "seq": False},
        "propose_two_changes": proposal({"admit": {}, "threshold": 1}),
        "propose_no_change": proposal({}),
        "propose_unknown_change": proposal({"crown": "mia"}),
        "propose_change_nil": proposal(None),
        "propose_threshold_0": proposal({"threshold": 0}),
        "propose_threshold_65": proposal({"threshold": 65}),
        "propose_threshold_text": proposal({"threshold": "1"}),
        "propose_admit_nil": proposal({"admit": None}),
        "propose_admit_untitled": proposal({"admit": {"key": bytes(32), "name": "new"}}),
        "propose_rekey_seq_without_id": proposal({"rekey": {"id": None, "key": bytes(32), "name": "mia", "seq": 1}}),
        "propose_rekey_short_key": proposal({"rekey": {"id": None, "key": bytes(30), "name": "mia", "seq": 0}}),
        "propose_remove_cutoffs_twice": proposal({"remove": {"cutoffs": [[bytes(32), 0, None]] * 2, "name": "mia"}}),
        "propose_remove_cutoff_of_two": proposal({"remove": {"cutoffs": [[bytes(32), 0]], "name": "mia"}}),
        "propose_remove_cutoff_no_id": proposal({"remove": {"cutoffs": [[bytes(32), 5, None]], "name": "mia"}}),
        "propose_remove_cutoffs_nil": proposal({"remove": {"cutoffs": None, "name": "mia"}}),
        "approve_short": lambda *_: {"act": "approve", "proposal": bytes(31)},
        "approve_field_more": lambda *_: {"act": "approve", "proposal": bytes(32), "reason": ""},
    }  # fmt: skip


def _register_bodies() -> None:
    for name, made in _bodies().items():

        def changed(draft: Draft, random: Random, made: Any = made) -> bool:
            by = random.choice(draft.world.of("root"))
            draft.act(by, made(random, by.agency))
            return True

        DAMAGES.append(("act", name, changed))


_register_bodies()


@damages("act")
def act_body_withheld(draft: Draft, random: Random) -> bool:
    random.choice(draft.acts).body = None
    return True


@damages("act")
def act_body_no_map(draft: Draft, random: Random) -> bool:
    item = random.choice(draft.acts)
    body = random.choice((b"", b"\xc0", b"\x80\xc0", b"\x90", item.row.body + b"\xc0", b"\xde\x00\x00", b"\xff"))
    item.become(item.row.again(body=body))
    return True


@damages("act")
def act_of_another_kind(draft: Draft, random: Random) -> bool:
    item = random.choice(draft.acts)
    item.become(item.row.again(kind=random.choice(("acts", "record", "step"))))
    return True


@damages("act")
def act_twice(draft: Draft, random: Random) -> bool:
    """Even one that may be made twice, by another entry."""
    units = [item for item in draft.acts if body_of(item.row)["act"] in ("unit", "revoke", "approve", "propose")]
    draft.acts.append(random.choice(units or draft.acts))
    return True


@damages("act")
def certificate_before_its_certifiers(draft: Draft, random: Random) -> bool | None:
    rows = {person.certificate.id: person for person in draft.world.people if person.certificate}
    by_admin = [at for at, item in enumerate(draft.acts)
                if item.row.id in rows and draft.world.person(item.row.key).rank == "admin"]  # fmt: skip
    if not by_admin:
        return None
    draft.acts.insert(0, draft.acts.pop(random.choice(by_admin)))
    return True


@damages("act")
def approval_before_its_proposal(draft: Draft, random: Random) -> bool | None:
    found = [at for at, item in enumerate(draft.acts) if body_of(item.row)["act"] == "approve"]
    if not found:
        return None
    draft.acts.insert(0, draft.acts.pop(random.choice(found)))
    return True


@damages("act")
def certificate_of_an_admin_left_out(draft: Draft, random: Random) -> bool | None:
    authors = {item.row.key for item in draft.acts}
    found = [one.certificate for one in draft.world.people if one.rank == "admin" and one.key in authors]
    if not found:
        return None
    row = random.choice(found)
    draft.acts = [item for item in draft.acts if item.row is not row]
    return True


@damages("act")
def act_of_a_removed_agency(draft: Draft, random: Random) -> bool | None:
    """A root key or an admin whose agency is no member acts as before."""
    names = draft.world.roots
    found = [one for one in draft.world.people if one.rank in ("admin", "root") and one.agency not in names]
    if not found:
        return None
    by = random.choice(found)
    draft.act(by, random.choice((
        certificate(random, by.agency), {"act": "unit", "regions": [], "title": "A team", "unit": "imt-9"},
    )))  # fmt: skip
    return True


@damages("act")
def act_of_a_former_root_key(draft: Draft, random: Random) -> bool | None:
    found = [one for one in draft.world.people if one.rank == "root" and draft.world.roots.get(one.agency) is not one]
    if not found:
        return None
    by = random.choice(found)
    draft.act(by, random.choice((
        certificate(random, by.agency), {"act": "unit", "regions": [], "title": "A team", "unit": "imt-9"},
        {"act": "propose", "change": {"threshold": 1}},
    )))  # fmt: skip
    return True


# -- 7 standing ------------------------------------------------------------------------------------------


def _roots(draft: Draft, random: Random, agency: str) -> Person | None:
    return draft.world.roots.get(agency)


@damages("standing")
def author_without_certificate(draft: Draft, random: Random) -> bool | None:
    """The certificate of an author or of an attesting node is left out, who certified and was revoked by nobody."""
    used = {item.row.key for item in [*draft.entries, *(one.item for one in draft.attestations)]}
    acting = {item.row.key for item in draft.acts}
    revoked = {body_of(item.row).get("subject") for item in draft.acts if body_of(item.row)["act"] == "revoke"}
    found = [one for one in draft.world.people
             if one.certificate and one.key in used and one.key not in acting and one.key not in revoked]  # fmt: skip
    if not found:
        return None
    row = random.choice(found).certificate
    draft.acts = [item for item in draft.acts if item.row is not row]
    return True


def _attested_by(draft: Draft, random: Random, person: Person) -> bool | None:
    """A checkpoint is signed by another person, note and all."""
    if not draft.attestations:
        return None
    attestation = random.choice(draft.attestations)
    checkpoint = replace(attestation.checkpoint, node=person)
    row = replace(attestation.item.row, signer=person.signer)
    attestation.item.row = row.again(key=person.key, seq=1 << 40, prev=bytes(32))
    attestation.checkpoint = checkpoint
    attestation.renote()
    return True


@damages("standing")
def attested_by_a_person(draft: Draft, random: Random) -> bool | None:
    person = someone(draft, random, "officer", "admin", "root")
    return _attested_by(draft, random, person) if person else None


@damages("standing")
def attested_by_a_stranger(draft: Draft, random: Random) -> bool | None:
    return _attested_by(draft, random, Person(key_of("stranger"), "mia", "node"))


@damages("standing")
def author_a_stranger(draft: Draft, random: Random) -> bool:
    signer = key_of("stranger")
    row = replace(draft.entries[0].row, signer=signer).again(key=signer.public)
    draft.entries[0].become(row)
    draft.record = row.id
    return True


def _cut(draft: Draft, random: Random, items: list[Item], cutoff: Callable[[Row], tuple[int, bytes | None]]) -> bool:
    """The agency revokes the key of one of the items, with a cutoff that depends on it."""
    random.shuffle(items)
    for item in items:
        person = draft.world.person(item.row.key)
        root = draft.world.roots.get(person.agency)
        if person.rank != "root" and root is not None:
            seq, last = cutoff(item.row)
            draft.act(root, Revoke(person.signer.public, seq, None if last is None else EntryId(last), "o‘g‘irlangan"))
            return True
    return False


def _all(draft: Draft) -> list[Item]:
    return [*draft.acts, *draft.entries, *(one.item for one in draft.attestations)]


@damages("standing")
def cut_wholly(draft: Draft, random: Random) -> bool:
    return _cut(draft, random, _all(draft), lambda _: (0, None))


@damages("standing")
def cut_one_below(draft: Draft, random: Random) -> bool:
    def below(row: Row) -> tuple[int, bytes | None]:
        return (row.seq - 1, row.made["prev"]) if row.seq else (0, None)

    return _cut(draft, random, _all(draft), below)


@damages("standing")
def cut_on_another_branch(draft: Draft, random: Random) -> bool:
    return _cut(draft, random, _all(draft), lambda row: (row.seq, flip(row.id, random)))


@damages("standing")
def cut_twice(draft: Draft, random: Random) -> bool:
    """The lower cutoff counts, whichever comes first."""
    items = _all(draft)
    seed = random.getrandbits(20)

    def high(row: Row) -> tuple[int, bytes | None]:
        return row.seq + 5, bytes(32)

    if not _cut(draft, Random(seed), [*items], high):
        return False
    _cut(draft, Random(seed), [*items], lambda _: (0, None))
    if random.random() < 0.5:
        draft.acts[-1], draft.acts[-2] = draft.acts[-2], draft.acts[-1]
    return True


def _council(draft: Draft, random: Random, what: Act, concerned: str) -> bool:
    """The council decides by the votes of all but the one concerned."""
    voices = [root for name, root in draft.world.roots.items() if name != concerned]
    if len(voices) < draft.world.threshold:
        return False
    first = draft.act(voices[0], what)
    for root in voices[1:]:
        draft.act(root, Approve(EntryId(first.id)))
    return True


@damages("standing")
def root_key_cut(draft: Draft, random: Random) -> bool | None:
    """The council replaces a root key, and cuts its log below what it did."""
    acting = {item.row.key for item in _all(draft)}
    found = [name for name, root in draft.world.roots.items() if root.key in acting]
    if not found:
        return None
    name = random.choice(found)
    return _council(draft, random, Propose(Rekey(name, key_of("new root").public, 0, None)), name)


@damages("standing")
def agency_removed_wholly(draft: Draft, random: Random) -> bool | None:
    acting = {draft.world.person(item.row.key).agency for item in _all(draft)}
    found = sorted(acting & draft.world.roots.keys())
    if not found or len(draft.world.roots) <= draft.world.threshold:
        return None
    name = random.choice(found)
    return _council(draft, random, Propose(Remove(name, ())), name)


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
    deep = encode({"fields": {}, "type": "seizure"}).replace(b"\xa6fields\x80", b"\xa6fields\x81\xa1a" + b"\x91" * 15 + b"\x90")
    many = b"\x82\xa6fields\x81\xa1a\xdc\x10\x01" + b"\xc0" * 4097 + b"\xa4type\xa7seizure"
    bodies = (row.body + b"\xc0", b"\xde\x00\x02" + row.body[1:], row.body[:-1], b"", deep, many,
              b"\x82\xa4type\xa7seizure\xa6fields\x80", b"\x82\xa6fields\xca\x3f\x80\x00\x00\xa4type\xa7seizure",
              b"\x82\xa6fields\x81\xa1a\xa2\xc3\x28\xa4type\xa7seizure", b"\x82\xa6fields\x81\x01\x01\xa4type\xa7seizure",
              b"\x83\xa6fields\x80\xa6fields\x80\xa4type\xa7seizure", b"\x82\xa6fields\x81\xa1a\xc1\xa4type\xa7seizure",
              b"\x82\xa6fields\x81\xa1a\xc7\x00\x01\xa4type\xa7seizure")  # fmt: skip
    return _creation(draft, row.again(body=random.choice(bodies)))


def _step(draft: Draft, random: Random, row: Row) -> bool | None:
    """Another step stands in place of one of the draft's; no path leads from it."""
    if len(draft.entries) < 2 or draft.world.person(row.key).ended:
        return None
    del draft.entries[random.randrange(1, len(draft.entries))]
    draft.attestations = []
    draft.entries = [draft.entries[0], *sorted([*draft.entries[1:], Item(row, row.body, [])], key=lambda one: one.row.id)]
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
        text = f"hamkor/{bytes(32).hex()}\n{body['logs']}\n{b64encode(body['root']).decode()}\nentries {body['entries']}\n"
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


# -- what is no damage ---------------------------------------------------------------------------------------


def _spaced(draft: Draft, random: Random) -> None:
    """A compartment in a header changes nothing (SPEC.md 8.6)."""
    act = random.choice((certificate(random, ""), {"act": "unit", "regions": [], "title": "A", "unit": "imt-9"}))
    by = random.choice(draft.world.of("root"))
    if act["act"] == "certify":
        act["agency"] = by.agency
    draft.act(by, act, space=random.randbytes(32))


def _signed_on(draft: Draft, random: Random) -> None:
    """More acts that have an effect: the same verdict."""
    by = random.choice(draft.world.of("root"))
    subject = key_of(f"another {random.getrandbits(8)}")
    consent = subject.sign(consent_bytes(by.agency))
    rank = random.choice(("node", "officer", "admin"))
    draft.act(by, Certify(subject.public, rank, "N", by.agency, "imt-4", ("admin", "officer"), consent))
    if random.random() < 0.5:
        draft.act(by, Revoke(subject.public, random.randrange(9), EntryId(random.randbytes(32)), ""))


def _proposed(draft: Draft, random: Random) -> None:
    """Proposals that cannot be done stay open, however many say yes."""
    voices, taken = list(draft.world.roots.values()), random.choice(list(draft.world.roots.values()))
    change = random.choice((
        Admit(Agency(taken.agency, "A double", key_of("double").public)), Admit(Agency("free", "F", taken.signer.public)),
        Threshold(64), Rekey("nobody", key_of("double").public, 0, None), Remove("nobody", ()),
        Rekey(taken.agency, taken.signer.public, 0, None),
    ))  # fmt: skip
    first = draft.act(voices[0], Propose(change))
    for root in voices[1:]:
        draft.act(root, Approve(EntryId(first.id)))


SOUND = (None, None, _spaced, _signed_on, _proposed)


def valid(world: World, random: Random) -> Case:
    """A proof that no check refuses."""
    draft = world.draft()
    more = random.choice(SOUND)
    if more:
        more(draft, random)
    expected = draft.expected()
    name = more.__name__ if more else "sound"
    return Case(name, draft.file(), draft.charter, expected["verdict"], expected["reason"], expected)


def damaged(world: World, random: Random, at: int) -> Case:
    """The next damage that can be done to a draft of this world."""
    while True:
        reason, name, made = DAMAGES[at % len(DAMAGES)]
        draft = world.draft()
        if not draft.attestations and world.checkpoints and reason in ("checkpoint", "path", "form", "standing"):
            draft = world.draft()
        found = made(draft, random)
        if found:
            raw = draft.file() if found is True else found
            return Case(f"{reason}: {name}", raw, draft.charter, "refused", reason)
        at += 1


# -- damage at random ----------------------------------------------------------------------------------------


def _mutate(value: Any, random: Random, others: list[Any]) -> Any:
    """The value with something in it dropped, doubled, swapped, put elsewhere, or made another."""
    if isinstance(value, list) and value and random.random() < 0.75:
        at = random.randrange(len(value))
        match random.randrange(8):
            case 0:
                return [*value[:at], *value[at + 1 :]]
            case 1:
                return [*value[:at], value[at], *value[at:]]
            case 2:
                other = random.randrange(len(value))
                swapped = list(value)
                swapped[at], swapped[other] = swapped[other], swapped[at]
                return swapped
            case 3:
                return [*value[:at], random.choice(others), *value[at + 1 :]]
            case _:
                return [*value[:at], _mutate(value[at], random, others), *value[at + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool):
        return random.choice((0, 1, value + 1, value - 1, value * 2, MAX, 2**53, random.getrandbits(16)))
    if isinstance(value, bytes) and value:
        return random.choice((flip(value, random), value[:-1], value + b"\x00", None, random.choice(others)))
    return random.choice((None, [], b"", 0, random.choice(others)))


def at_random(world: World, random: Random) -> Case:
    """Bytes or structures changed blindly. What must be said of most is only that all verifiers say the same."""
    draft = world.draft()
    raw = draft.file()
    match random.randrange(6):
        case 0:
            at = random.randrange(len(raw))
            other = random.choice([byte for byte in range(256) if byte != raw[at]])
            return Case("random: byte", raw[:at] + bytes([other]) + raw[at + 1 :], draft.charter, "refused", None)
        case 1:
            return Case("random: cut", raw[: random.randrange(len(raw))], draft.charter, "refused", None)
        case 2:
            one, two = sorted(random.randrange(len(raw)) for _ in "ab")
            spliced = raw[:one] + raw[two:] if random.random() < 0.5 else raw[:two] + raw[one:]
            return Case("random: splice", spliced, draft.charter, None, None)
        case 3:
            return Case("random: payload bit", draft.file(flip(draft.payload(), random)), draft.charter, "refused", None)
        case 4:
            payload = draft.payload()
            one, two = sorted(random.randrange(len(payload)) for _ in "ab")
            spliced = payload[:one] + random.randbytes(random.randrange(4)) + payload[two:]
            return Case("random: payload splice", draft.file(spliced), draft.charter, None, None)
        case _:
            value = draft.value()
            parts = [*value["acts"], *value["entries"], *value["attestations"], value["record"]]
            for _ in range(random.choice((1, 1, 2))):
                name = random.choice(("acts", "attestations", "attestations", "entries", "record"))
                value[name] = _mutate(value[name], random, parts)
            return Case("random: structure", draft.file(encode(value)), draft.charter, None, None)


def cases(seed: int, count: int) -> Iterator[Case]:
    """That many cases: a quarter that no check refuses, half damaged on purpose, a quarter at random. 4 ms each."""
    random = Random(seed)
    start = random.randrange(len(DAMAGES))
    world = World(Random(random.getrandbits(64)))
    for at in range(count):
        if at % 8 == 7:
            world = World(Random(random.getrandbits(64)))
        match at % 4:
            case 0:
                yield valid(world, random)
            case 1:
                yield at_random(world, random)
            case _:
                yield damaged(world, random, start + at // 2 + (at % 2) * len(DAMAGES) // 2)
