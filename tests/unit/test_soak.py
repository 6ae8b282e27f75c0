"""The pure parts of the soak: what a seed draws, what is left of a killed run, what counts as wrong."""

import pytest

from tests.soak.net import started
from tests.soak.plan import KINDS, Acknowledged, draw, expected, namespace, quantile, stale


def test_a_seed_draws_the_same_plan_again_and_another_seed_another() -> None:
    assert draw(7, 300, 5) == draw(7, 300, 5)
    assert draw(7, 300, 5) != draw(8, 300, 5)


@pytest.mark.parametrize("seed", range(200))
def test_every_kind_of_fault_comes_and_never_takes_all_nodes_or_kills_the_measured_one(seed: int) -> None:
    nodes = 3 + seed % 6
    plan = draw(seed, 20, nodes)
    assert {fault.kind for fault in plan.faults[: len(KINDS)]} == set(KINDS)
    assert sum(fault.gap_s for fault in plan.faults) >= 20 or len(plan.faults) == len(KINDS)
    for fault in plan.faults:
        assert 1 <= len(fault.nodes) <= max(1, nodes // 2)
        assert set(fault.nodes) <= set(range(nodes))
        assert 0 not in fault.nodes or fault.kind not in ("kill", "term")
    assert len({0, plan.cut_off, plan.second}) == 3


def test_only_the_namespaces_of_runs_that_are_gone_are_stale() -> None:
    running = {10: 500, 11: 700}
    names = [namespace(10, 500, 0), namespace(10, 499, 1), namespace(12, 500, "hub"), "other", "hksoak-1-2-x"]
    assert stale(names, running.get) == [namespace(10, 499, 1), namespace(12, 500, "hub")]


def test_a_process_that_does_not_exist_has_not_started() -> None:
    assert started(1 << 30) is None
    assert started(1) == started(1) is not None


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0), (0.01, 1.0), (0.0, 1.0)]
)
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, value: float) -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], share) == value


def test_the_quantile_of_nothing_is_zero() -> None:
    assert quantile([], 0.5) == 0.0


@pytest.mark.parametrize(
    ("officer", "seq", "status", "wrong"),
    [
        (2, 9, "ok", ""), (2, 9, "", "is missing, not ok"), (2, 9, "void", "is void, not ok"),
        (0, 4, "ok", ""), (0, 5, "void", ""), (0, 5, "ok", "is ok, not void"), (0, 5, "", "is missing, not void"),
        (1, 0, "disputed", ""), (1, 0, "void", "is void, not disputed"),
    ],
)  # fmt: skip
def test_an_acknowledged_entry_counts_below_the_end_of_its_log_and_is_shown_as_what_it_is_beyond(
    officer: int, seq: int, status: str, wrong: str
) -> None:
    ends = {0: (5, "void"), 1: (0, "disputed")}
    assert expected(status, Acknowledged(officer, seq, bytes(32), 0), ends) == wrong
