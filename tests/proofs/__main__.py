"""Let all verifiers that are here judge the same proofs: `python -m tests.proofs --count 10000 --seed 1`.

Prints how often they agreed on each verdict, and the first cases in which one differs. Exit status 1 when any does.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.proofs import Case, cases
from tests.proofs.verifiers import has_ledger, ledger, node, single_file, why_no_node

BATCH = 1000


def judged(batch: list[Case], times: Counter[str], *, with_node: bool) -> dict[str, list[dict[str, Any]]]:
    """What each verifier says of each case."""
    said: dict[str, list[dict[str, Any]]] = {}
    for name, verifier in (("single file", single_file), *((("ledger", ledger),) if has_ledger() else ())):
        start = perf_counter()
        said[name] = [verifier(case) for case in batch]
        times[name] += perf_counter() - start
    if with_node:
        start = perf_counter()
        said["node"] = node(batch)
        times["node"] += perf_counter() - start
    return said


def contradicts(case: Case, answer: dict[str, Any]) -> bool:
    """Whether the answer is not what the case was made to give."""
    verdict, reason = answer["verdict"], answer["reason"]
    return (
        (case.verdict is not None and case.verdict != verdict)
        or (case.reason is not None and case.reason != reason)
        or (case.expected is not None and case.expected != answer)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the files of cases in which a verifier differs")
    options = parser.parse_args()
    missing = why_no_node()
    made, verdicts, differ, times = cases(options.seed, options.count), Counter[str](), 0, Counter[str]()
    for start in range(0, options.count, BATCH):
        batch = [case for case, _ in zip(made, range(min(BATCH, options.count - start)), strict=False)]
        said = judged(batch, times, with_node=missing is None)
        for at, case in enumerate(batch):
            answers = {name: answer[at] for name, answer in said.items()}
            first = answers["single file"]
            if any(answer != first for answer in answers.values()) or contradicts(case, first):
                differ += 1
                print(f"case {start + at}, {case.name}: made to be {case.verdict} {case.reason}")
                for name, answer in answers.items():
                    print(f"    {name}: {json.dumps(answer, sort_keys=True)[:300]}")
                if options.keep:
                    options.keep.mkdir(exist_ok=True)
                    (options.keep / f"{start + at}.html").write_bytes(case.proof)
                    (options.keep / f"{start + at}.charter").write_bytes(case.charter)
            else:
                verdicts[" ".join(str(word) for word in (first["verdict"], first["reason"]) if word)] += 1
    for verdict, count in sorted(verdicts.items()):
        print(f"{count:7} {verdict}")
    for name in ("single file", "ledger", "node"):
        absent = missing if name == "node" else "not here"
        print(f"{name}: {times[name]:.1f} s" if name in times else f"{name}: {absent}")
    print(f"{options.count} cases of seed {options.seed}: {differ} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
