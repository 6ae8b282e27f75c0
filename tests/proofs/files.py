"""Damaged files: form, page, network, charter (SPEC.md 8.6, checks 1 to 3)."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from random import Random
from typing import Any

from protocol.charter import encode_charter_file
from protocol.codec import encode
from tests.proofs.damage import DAMAGES, damages, flip
from tests.proofs.world import BEGIN, END, Draft, World, wrap

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
        "title_with_override": first("title", "Ma\u202ebay"),
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
