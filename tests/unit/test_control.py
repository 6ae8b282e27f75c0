"""Errors on their way from the node to whoever asked it."""

import pytest

from keys.errors import AdmissionError, BusyError, HamkorError, MarkError
from node.client import _raised
from node.control import error_value
from protocol.codec import decode, encode


@pytest.mark.parametrize(
    "error", [AdmissionError("forked", "the log is forked"), BusyError("later"), MarkError("behind its mark")]
)
def test_an_error_reaches_the_client_with_its_class_its_words_and_its_reason(error: HamkorError) -> None:
    value = decode(encode(error_value(error)), size_max=1000)
    assert isinstance(value, dict)
    raised = _raised(value)
    assert type(raised) is type(error)
    assert str(raised) == str(error)
    assert getattr(raised, "reason", None) == getattr(error, "reason", None)
