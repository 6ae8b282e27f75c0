"""All verifiers of proofs say the same of the same files. `make agree` asks them 10,000 times."""

from functools import cache
from typing import Any

import pytest

from tests.proofs import Case, cases
from tests.proofs.verifiers import has_ledger, ledger, node, single_file, why_no_node

COUNT = 600  # each damage once


@cache
def made() -> tuple[list[Case], list[dict[str, Any]]]:
    found = list(cases(seed=20, count=COUNT))
    return found, [single_file(case) for case in found]


def assert_same(answers: list[dict[str, Any]]) -> None:
    found, expected = made()
    different = [
        (case.name, answer, other)
        for case, answer, other in zip(found, answers, expected, strict=True)
        if answer != other
    ]
    assert different == []


@pytest.mark.skipif(not has_ledger(), reason="ledger.verify is not here")
def test_ledger_says_what_the_single_file_says() -> None:
    assert_same([ledger(case) for case in made()[0]])


@pytest.mark.interop
@pytest.mark.skipif(why_no_node() is not None, reason=str(why_no_node()))
def test_node_says_what_the_single_file_says() -> None:
    assert_same(node(made()[0]))
