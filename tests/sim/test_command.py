"""`hamkor sim`: many seeds, replay lines, shrinking, the picture, and what is said to wrong arguments."""

import io
import json
import os
import shlex
import signal
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest

from node.cli import main
from node.engine.engine import Engine, EngineSettings
from node.engine.sync import Sync
from sim import parallel, scenario
from sim.command import summary
from sim.parallel import Done, many
from sim.scenario import BIG_ENTRIES, WEATHER, Case, Outcome, draw, kind, run_case, settings_for, with_set
from sim.shrink import shrink
from sim.stage import FAULTS, MINUTE, Stage, Weather
from sim.world import World

pytestmark = pytest.mark.sim
SMALL = ["--nodes", "3", "--minutes", "3"]


def told(capsys: pytest.CaptureFixture[str], *words: str, status: int | None = 0) -> dict[str, object]:
    """What it prints as JSON. status: how it ends, None for any."""
    assert main(["sim", *words, "--json"]) in ((0, 1) if status is None else (status,))
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: nobody asks for what they lack."""
    monkeypatch.setattr(Sync, "_want", lambda *_: None)


# -- many seeds -------------------------------------------------------------------------------------


def test_many_seeds_give_the_same_with_any_number_of_jobs_and_alone(capsys: pytest.CaptureFixture[str]) -> None:
    alone = {seed: run_case(draw(seed, 3, 3)) for seed in (4, 5, 6)}
    for jobs in (1, 3):
        done = list(many([draw(seed, 3, 3) for seed in (4, 5, 6)], jobs, 100))
        assert {item.case.seed: item.outcome for item in done} == alone
    found = told(capsys, "--seeds", "3", "--from", "4", "--jobs", "2", *SMALL)
    assert found["entries"] == sum(item.entries for item in alone.values())
    assert found["steps"] == sum(item.steps for item in alone.values())
    assert found["failed"] == []
    assert found["done"] == 3


def dies_at_2(case: Case) -> Outcome:
    if case.seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if case.seed == 3:
        raise ValueError("not this one")
    return Outcome(case.seed, case.nodes, case.minutes)


def hangs_at_2(case: Case) -> Outcome:
    while case.seed == 2:
        signal.pause()
    return Outcome(case.seed, case.nodes, case.minutes)


def test_process_that_dies_or_raises_is_a_failure_that_names_its_seed() -> None:
    done = {item.case.seed: item for item in many([draw(seed, 2, 1) for seed in range(1, 6)], 2, 100, dies_at_2)}
    assert sorted(done) == [1, 2, 3, 4, 5]
    assert done[2].violations == ["its process died (exit status -9)"]
    assert done[3].violations == ["ValueError: not this one"]
    assert not any(done[seed].violations for seed in (1, 4, 5))


def test_process_that_hangs_is_ended_and_the_others_go_on() -> None:
    done = {item.case.seed: item for item in many([draw(seed, 2, 1) for seed in range(1, 5)], 2, 2, hangs_at_2)}
    assert [seed for seed in sorted(done) if done[seed].violations] == [2]
    assert "not done after 2 s" in done[2].failure


def test_leaving_early_ends_the_processes() -> None:
    running = many([draw(seed, 2, 1) for seed in range(3, 40)], 2, 100, hangs_at_2)
    assert next(running).violations == []
    assert len(active_children()) == 2
    running.close()
    assert active_children() == []


def test_interrupt_tells_what_there_is_so_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(cases: list[Case], *_: object) -> Iterator[Done]:
        yield Done(cases[0], Outcome(cases[0].seed, 3, 3, entries=17), 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "many", interrupted)
    found = told(capsys, "--seeds", "1000", *SMALL, status=130)
    assert (found["done"], found["asked"], found["entries"]) == (1, 1000, 17)


def test_summary_names_failing_seeds_and_faults_that_never_happened() -> None:
    good, bad = draw(1, 3, 3), draw(2, 3, 3)
    results = [
        Done(good, Outcome(1, 3, 3, entries=5, converged=True, settled_s=9, faults={"crash": 2, "cut": 0}), 1.0),
        Done(bad, Outcome(2, 3, 3, violations=["invariant 0: no"], faults={"crash": 1, "cut": 0}), 1.0),
    ]
    found = summary(results, 3, 2.0)
    assert (found["done"], found["asked"], found["seeds_per_s"]) == (2, 3, 1.0)
    assert found["faults"] == {"crash": 3, "cut": 0}
    assert found["never"] == ["cut"]
    assert found["slowest"] == {"seed": 1, "settled_s": 9}
    assert found["failed"] == [{"seed": 2, "violations": ["invariant 0: no"], "again": bad.line()}]


def test_failing_seeds_make_the_command_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(cases: list[Case], *_: object) -> list[Done]:
        return [Done(case, None, 1.0, "it broke" if case.seed == 8 else "") for case in cases]

    monkeypatch.setattr(parallel, "many", broken)
    assert main(["sim", "--seeds", "3", "--from", "7", *SMALL]) == 1
    out = capsys.readouterr().out
    assert "FAILED seed 8\n  it broke\n  again: hamkor sim --seed 8 --nodes 3 --minutes 3\n" in out


# -- one seed ---------------------------------------------------------------------------------------


def test_replay_line_plays_the_same_run(capsys: pytest.CaptureFixture[str]) -> None:
    changed = ["--set", "crash_every_s=60", "--set", "shape=ring", "--set", "twice=yes"]
    first = told(capsys, "--seed", "9", *SMALL, *changed)
    line = str(first["again"])
    assert "--set shape=ring" in line
    again = told(capsys, *shlex.split(line)[2:])
    assert again["digest"] == first["digest"]
    assert told(capsys, "--seed", "9", *SMALL)["digest"] != first["digest"]


def test_replay_line_says_only_what_the_seed_does_not_give() -> None:
    case = draw(7, 5, 120)
    assert case.line() == "hamkor sim --seed 7 --nodes 5 --hours 2"
    other = replace(case, minutes=7, weather=replace(case.weather, loss_percent=77, twice=not case.weather.twice))
    twice = "no" if case.weather.twice else "yes"
    assert other.line() == f"hamkor sim --seed 7 --nodes 5 --minutes 7 --set loss_percent=77 --set twice={twice}"
    assert with_set(draw(7, 5, 7), ["loss_percent=77", f"twice={twice}"]) == other


def test_failing_seed_tells_what_happened_and_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deaf(monkeypatch)
    words = ["--seed", "1", "--nodes", "3", "--minutes", "6", "--set", "crash_every_s=60"]
    assert main(["sim", *words]) == 1
    out = capsys.readouterr().out
    assert "crashes\n" in out
    assert "VIOLATION invariant 2: the nodes do not hold the same" in out
    assert f"again: {with_set(draw(1, 3, 6), ['crash_every_s=60']).line()}\n" in out


def test_what_an_engine_raises_is_a_violation_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("gone")

    monkeypatch.setattr(Engine, "_committed", broken)
    outcome = run_case(draw(1, 3, 3))
    assert len(outcome.violations) == 1
    assert outcome.violations[0].startswith("invariant 5: KeyError: 'gone' (test_command.py, broken, line ")
    assert outcome.broken_minute == 1
    assert "VIOLATION" in outcome.trace[-1]


def test_trace_ends_where_the_violation_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def look(world: World) -> list[str]:
        seen.append(world.now_ns)
        return ["invariant 0: it is late"] if world.now_ns >= 10 * MINUTE else []

    monkeypatch.setattr(scenario, "look", look)
    outcome = run_case(with_set(draw(1, 3, 20), ["crash_every_s=60"]))
    assert outcome.broken_minute == 10
    assert outcome.trace[-1] == "00:10:00.000  VIOLATION     invariant 0: it is late"
    assert outcome.trace[-2].startswith("00:09:")
    assert len(seen) == 2  # what is broken once is not looked for again


def test_notes_are_kept_up_to_a_bound_and_say_when_and_where() -> None:
    world = World(1, 2, Weather())
    world.now_ns = 90_061_234 * 10**6
    for number in range(5000):
        world.note(f"thing {number}", world.machines[1])
    assert len(world.trace) < 5000
    assert world.trace[-1] == "25:01:01.234  machine 1     thing 4999"
    assert set(world.faults) == set(FAULTS)
    assert isinstance(world, Stage)


# -- shrinking --------------------------------------------------------------------------------------


def test_shrinking_gives_a_smaller_case_that_fails_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf(monkeypatch)

    def play(case: Case) -> tuple[list[str], int]:
        outcome = run_case(case)
        return outcome.violations, outcome.broken_minute

    case = with_set(draw(3, 4, 8), ["loss_percent=5", "jitter_ms=50"])
    small = shrink(case, play)
    assert small.nodes < case.nodes
    assert small.minutes < case.minutes
    assert rough(small) < rough(case)
    assert kind(play(small)[0][0]) == kind(play(case)[0][0])


def rough(case: Case) -> int:
    return sum(getattr(case.weather, name) != getattr(Weather(), name) for name in WEATHER)


def needs(case: Case) -> tuple[list[str], int]:
    """Fails only with enough nodes and time, and while machines crash; below that, in another way."""
    if case.nodes >= 5 and case.minutes >= 7 and case.weather.crash_every_s:
        return [f"invariant 1: {case.nodes} differ"], 0
    return ["invariant 2: something else"], 0


def test_shrinking_leaves_what_is_needed_and_drops_the_rest() -> None:
    case = with_set(draw(1, 12, 60), ["crash_every_s=300", "loss_percent=5", "twice=yes", "shape=star"])
    small = shrink(case, needs)
    assert (small.nodes, small.minutes) == (5, 7)
    assert small.weather == replace(Weather(), crash_every_s=300)
    assert shrink(case, lambda _: ([], 0)) == case


def test_shrink_option_prints_the_smallest_replay_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(case: Case, *_: object) -> Outcome:
        violations, minute = needs(case)
        return Outcome(case.seed, case.nodes, case.minutes, violations=violations, broken_minute=minute)

    monkeypatch.setattr(scenario, "run_case", play)
    assert main(["sim", "--seed", "1", "--set", "crash_every_s=300", "--shrink"]) == 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("smallest: hamkor sim --seed 1 --nodes 5 --minutes 7")
    assert "--set crash_every_s=300" in line


# -- the picture, big worlds, arguments -------------------------------------------------------------


def test_picture_is_a_png_and_looking_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "run.png"
    words = ["--seed", "2", "--nodes", "4", "--minutes", "8", "--set", "cut_every_s=120", "--set", "loss_percent=2"]
    drawn = told(capsys, *words, "--plot", str(path), status=None)
    assert drawn["digest"] == told(capsys, *words, status=None)["digest"]
    with image.open(io.BytesIO(path.read_bytes())) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_big_world_writes_and_pings_less_however_long_it_is() -> None:
    case = draw(5, 1000, 24 * 60)
    assert case.weather.writers * case.minutes * 60 // case.weather.write_every_s * 5 // 2 <= BIG_ENTRIES
    assert case.weather.neighbours == 4
    assert settings_for(12, 24 * 60) == EngineSettings()
    big = settings_for(1000, 24 * 60)
    assert 24 * 3_600_000 // big.ping_after_ms <= 200
    assert big.silent_after_ms > 2 * big.ping_after_ms


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--set", "wind=3"], "--set wind=3: the weather has no wind; it has shape, neighbours, "),
        (["--set", "loss_percent=101"], "loss_percent is a whole number from 0 to 100"),
        (["--set", "delay_ms=-1"], "delay_ms is a whole number from 0 to"),
        (["--set", "delay_ms"], "delay_ms is a whole number from 0 to"),
        (["--set", "twice=maybe"], "twice is yes or no"),
        (["--set", "shape=cube"], "shape is one of all, ring, "),
        (["--nodes", "1"], "--nodes is from 2 to 2000, not 1"),
        (["--nodes", "0"], "--nodes is from 2 to 2000, not 0"),
        (["--minutes", "0"], "--minutes is from 1 to"),
        (["--minutes", "5", "--hours", "1"], "not allowed with argument"),
        (["--seeds", "0"], "--seeds is from 1 to 1000000, not 0"),
        (["--seeds", "2", "--seed", "1"], "not allowed with argument"),
        (["--seeds", "2", "--jobs", "0"], "--jobs is from 1 to 256, not 0"),
        (["--seeds", "2", "--plot", "a.png"], "--plot draws one seed: say --seed"),
        (["--plot", "a.jpg"], "--plot writes PNG: a.jpg should end in .png"),
        (["--plot", "/nowhere/at/all/a.png"], "there is no folder /nowhere/at/all"),
        (["--seed", "many"], "invalid int value"),
    ],
)
def test_wrong_arguments_get_one_sentence(words: list[str], answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert answer in printed.err
    assert printed.err.count("\n") == 1
