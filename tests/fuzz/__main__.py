"""Fuzz every decoder, each in a process of its own, from the inputs in `corpus/`: `python -m tests.fuzz`.

New finds go to a scratch folder, which is printed. A crash, a hang or memory that grows ends the run with 1, the
file that shows it and the command that runs it again. `--keep` puts into `corpus/` what covers more than it does.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from tests.fuzz.seeds import file_name, seeds
from tests.fuzz.targets import TARGETS, accepts

CORPUS: Final = Path(__file__).parent / "corpus"
TOTAL_S: Final = 300  # of a run that is given no time
START_S: Final = 4  # to import and instrument everything, before the first input
RSS_MIB_MAX: Final = 768
GROWTH_MIB_MAX: Final = 64  # over the second half, beside what the fuzzer keeps of its finds
STALL_S: Final = 600  # of real time for one input; child.py bounds its processor time much lower
KEPT_BYTES_MAX: Final = 8 * 1024
_STATUS: Final = re.compile(r"^#(\d+)\s.*?cov: (\d+) .*?corp: (\d+)/(\d+)(\w*)", re.MULTILINE)
_MADE_NAME: Final = re.compile("[0-9a-f]{40}")
_CODE: Final = tuple(str(CORPUS.parents[2] / folder) for folder in ("keys", "protocol", "ledger", "node"))
_UNITS: Final = {"b": 1, "Kb": 1024, "Mb": 1024 * 1024}


@dataclass(slots=True)
class Result:
    """What became of one target's run. Memory in MiB."""

    name: str
    seconds: int
    executions: int = 0
    coverage: int = 0
    corpus: int = 0
    corpus_mib: float = 0.0
    peak: float = 0.0
    samples: list[float] = field(default_factory=list)
    fault: str = ""

    @property
    def growth(self) -> float:
        """By how much the process grew from the middle of the run to its end."""
        middle = self.samples[len(self.samples) // 2 :]
        return middle[-1] - middle[0] if middle else 0.0

    def __str__(self) -> str:
        rate = self.executions / max(self.seconds, 1)
        return (
            f"{self.name:<10} {self.executions:>11,} runs {rate:>8,.0f}/s  coverage {self.coverage:>5}  corpus"
            f" {self.corpus:>5}  peak {self.peak:>4.0f} MiB  grew {self.growth:>+6.1f} MiB  {self.fault or 'ok'}"
        )


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, help=f"for each target; without it {TOTAL_S} s in all")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="only this one; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="targets at the same time")
    parser.add_argument("--out", type=Path, help="the scratch folder: finds, logs, inputs that fail")
    parser.add_argument("--keep", action="store_true", help="put finds that cover more into the corpus")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="run one input; needs no atheris")
    args = parser.parse_args(words)
    if args.replay:
        name, file = args.replay
        print("accepted" if accepts(name, Path(file).read_bytes()) else "refused, as it should be")
        return 0
    names = args.target or list(TARGETS)
    out = (args.out or Path(tempfile.mkdtemp(prefix="hamkor-fuzz-"))).resolve()
    seconds = args.seconds or max(1, TOTAL_S * args.jobs // len(names) - START_S)
    print(f"{len(names)} targets, {seconds} s each, {args.jobs} at a time; finds and logs: {out}", flush=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        results = []
        for result in pool.map(lambda name: fuzz(name, seconds, out), names):
            results.append(result)
            print(result, flush=True)
    if args.keep:
        for name in names:
            keep(name, out)
    faults = sum(1 for result in results if result.fault)
    print(f"{sum(result.executions for result in results):,} runs; {faults} of {len(results)} targets with a fault")
    return 1 if faults else 0


def fuzz(name: str, seconds: int, out: Path) -> Result:
    """Run one target for that long."""
    finds, failed = out / name, out / "failed"
    finds.mkdir(parents=True, exist_ok=True)
    failed.mkdir(exist_ok=True)
    for old in failed.glob(f"{name}-*"):  # of an earlier run with the same folder
        old.unlink()
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    log = out / f"{name}.log"
    options = [
        f"-max_total_time={seconds}", f"-max_len={TARGETS[name].size_max}", f"-rss_limit_mb={RSS_MIB_MAX}",
        f"-malloc_limit_mb={RSS_MIB_MAX}", f"-timeout={STALL_S}", f"-report_slow_units={STALL_S}",
        f"-artifact_prefix={failed}/{name}-", "-print_final_stats=1", "-len_control=100",
        str(finds), str(CORPUS / name),
    ]  # fmt: skip
    result = Result(name, seconds)
    command = [sys.executable, "-m", "tests.fuzz.child", name, *options]
    environment = os.environ | {"TMPDIR": str(out)}
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file, env=environment) as process:
        while process.poll() is None:
            _sample(process.pid, result)
            try:
                process.wait(timeout=max(seconds / 200, 0.2))
            except subprocess.TimeoutExpired:
                continue
    _read_log(log.read_text("utf-8", "replace"), result)
    _judge(result, process.returncode, failed, log)
    return result


def _sample(process_id: int, result: Result) -> None:
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:  # it has just ended
        return
    sizes = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    if sizes:  # none: it has ended, and waits to be reaped
        result.samples.append(int(sizes["VmRSS"]) / 1024)
        result.peak = max(result.peak, int(sizes["VmHWM"]) / 1024)


def _read_log(text: str, result: Result) -> None:
    lines = _STATUS.findall(text)
    if lines:
        runs, coverage, units, size, unit = lines[-1]
        result.executions, result.coverage, result.corpus = int(runs), int(coverage), int(units)
        result.corpus_mib = int(size) * _UNITS.get(unit, 1) / 1024**2


def _judge(result: Result, code: int, failed: Path, log: Path) -> None:
    inputs = sorted(failed.glob(f"{result.name}-*"), key=lambda path: path.stat().st_mtime)
    if inputs:
        again = f"{sys.executable} -m tests.fuzz --replay {result.name} {inputs[-1]}"
        result.fault = f"FAULT {inputs[-1]}\n  {again}\n  {log}"
    elif code != 0 or result.executions == 0:
        result.fault = f"FAULT it ended with {code}; see {log}"
    elif result.growth > GROWTH_MIB_MAX + result.corpus_mib:
        result.fault = f"FAULT memory grows; see {log}"


def keep(name: str, out: Path) -> None:
    """Make the committed corpus of one target anew: the shortest inputs that reach what all known ones do.

    Files that do not bear a name made here or by libFuzzer stay: they are there for a reason that this does not show.
    """
    known = CORPUS / name
    made = [path for path in known.iterdir() if _MADE_NAME.fullmatch(path.name)]
    found = [path for path in (*made, *(out / name).iterdir()) if path.stat().st_size <= KEPT_BYTES_MAX]
    pool = {*seeds()[name], *(path.read_bytes() for path in found)}
    for path in made:
        path.unlink()
    reached = set[object]()
    for raw in sorted(pool, key=lambda raw: (len(raw), raw)):
        steps = _steps(name, raw)
        if not steps <= reached:
            reached |= steps
            (known / file_name(raw)).write_bytes(raw)


def _steps(name: str, raw: bytes) -> set[object]:
    """The steps from line to line that the target takes with that input, and how it ends."""
    found = set[object]()

    def trace(frame: FrameType, _event: str, _argument: object) -> Callable[..., object] | None:
        code = frame.f_code
        if not code.co_filename.startswith(_CODE):
            return None
        last = 0

        def line(frame: FrameType, _event: str, _argument: object) -> Callable[..., object]:
            nonlocal last
            found.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        found.add(accepts(name, raw))
    finally:
        sys.settrace(None)
    return found


if __name__ == "__main__":
    sys.exit(main())
