"""Every decoder keeps to its rules on the committed fuzzing corpus, and on damaged copies of what it accepts."""

from pathlib import Path

import pytest

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, accepts

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
DAMAGED_MAX = 40  # of each kind, for one input
INPUTS_MAX = 12  # that are damaged, for one target: the shortest


def corpus(name: str) -> list[bytes]:
    return sorted({path.read_bytes() for path in (CORPUS / name).iterdir()}, key=lambda raw: (len(raw), raw))


def damaged(raw: bytes) -> list[bytes]:
    """Truncations, and copies with one bit changed, evenly over the whole length."""
    step = max(1, len(raw) // DAMAGED_MAX)
    found = [raw[:size] for size in range(0, len(raw), step)]
    for place in range(0, len(raw), step):
        found.append(raw[:place] + bytes([raw[place] ^ 1 << place % 8]) + raw[place + 1 :])
    return found


def test_every_corpus_is_a_target_s() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS) == set(seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_is_accepted_or_refused_by_the_rules(name: str) -> None:
    outcomes = {accepts(name, raw) for raw in corpus(name)}
    assert outcomes == {True, False}


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_seed_raises_only_our_errors(name: str) -> None:
    valid = [raw for raw in seeds()[name] if accepts(name, raw)]
    assert valid
    for raw in sorted(valid, key=len)[:INPUTS_MAX]:
        for copy in damaged(raw):
            accepts(name, copy)
