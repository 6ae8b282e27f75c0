"""Acts and other bodies: what is written is read back; what breaks a rule is neither written nor read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.errors import FormatError
from keys.signing import PublicKey
from protocol.acts import Act, Certify, Cutoff, Propose, Rekey, Remove, Revoke, Threshold, Unit, encode_act, parse_act
from protocol.body import encode_address, encode_record, encode_step, parse_address, parse_record, parse_step
from protocol.codec import encode
from protocol.entry import EntryId

KEY = PublicKey(bytes(range(32)))
ID = EntryId(bytes(32))


@pytest.mark.parametrize(
    "act",
    [
        Certify(KEY, "agency", "N", "mia", "", ()),
        Certify(PublicKey(b"short"), "officer", "N", "mia", "", ()),
        Certify(KEY, "officer", "N", "mia", "", ("officer", "auditor")),
        Certify(KEY, "officer", "line\nfeed", "mia", "", ()),
        Certify(KEY, "officer", "turned\u202eround", "mia", "", ()),
        Certify(KEY, "officer", "no unicode \udcff", "mia", "", ()),
        Certify(KEY, "officer", "x" * 201, "mia", "", ()),
        Revoke(KEY, 3, None, ""),
        Revoke(KEY, -1, ID, ""),
        Revoke(KEY, 2**53, ID, ""),
        Revoke(KEY, 0, EntryId(b"short"), ""),
        Unit("", "Team", ()),
        Unit("imt-1", "Team", ("UZ-SU", "UZ-AN")),
        Unit("imt-1", "Team", ("surxondaryo",)),
        Propose(Remove("", ())),
        Propose(Remove("mia", (Cutoff(KEY, 3, None),))),
        Propose(Remove("mia", (Cutoff(KEY, 3, ID), Cutoff(KEY, 4, ID)))),
        Propose(Rekey("mia", KEY, 3, None)),
        Propose(Threshold(65)),
    ],
    ids=repr,
)
def test_an_act_that_breaks_a_rule_is_not_written(act: Act) -> None:
    with pytest.raises(FormatError):
        encode_act(act)


def test_names_in_three_scripts_are_text() -> None:
    for name in ("Farg‘ona", "Фарғона", "Ферганская область", "ʻ ʼ ’", "é", "𝕳"):
        act = Certify(KEY, "officer", name, "mia", "", ("officer",))
        assert parse_act(encode_act(act)) == act


@given(st.binary(max_size=120))
def test_garbage_is_refused_with_a_format_error(body: bytes) -> None:
    for parse in (parse_act, parse_record, parse_step, parse_address):
        with pytest.raises(FormatError):
            parse(body)


def test_a_record_keeps_fields_that_this_version_does_not_know() -> None:
    fields = {"amount": "1.25", "later": {"a": [1, None, b"x"]}}
    assert parse_record(encode_record("seizure", fields)).fields == fields


def test_unknown_names_beside_a_records_own_are_allowed_and_ignored() -> None:
    assert parse_record(encode({"fields": {}, "later": 1, "type": "rfi"})) == parse_record(encode_record("rfi", {}))
    assert parse_step(encode({"fields": {}, "later": 1, "record": ID, "step": "ack"})).step == "ack"


def test_an_address_entry_has_no_other_names() -> None:
    assert parse_address(encode_address(["/ip4/192.0.2.1/tcp/1"])).addresses == ("/ip4/192.0.2.1/tcp/1",)
    with pytest.raises(FormatError):
        parse_address(encode({"addresses": [], "later": 1}))


@pytest.mark.parametrize("word", ["", "Seizure", "1st", "_x", "with space", "a-b", "é", "a" * 25, "a\n"])
def test_a_type_or_step_is_one_lower_case_word(word: str) -> None:
    with pytest.raises(FormatError):
        encode_record(word, {})
    with pytest.raises(FormatError):
        encode_step(ID, word, {})


@pytest.mark.parametrize("value", [1.5, {1: 2}, "\udcff", 2**64, Ellipsis], ids=repr)
def test_a_field_without_canonical_form_is_refused_with_a_format_error(value: object) -> None:
    with pytest.raises(FormatError, match="cannot be written"):
        encode_record("seizure", {"x": value})
