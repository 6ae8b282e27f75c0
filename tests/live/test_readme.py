"""Every command in README runs, in order, as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import free_ports

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [line[2:] for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")]
HAMKOR = """\
hamkor() {{
  case " $* " in
    *" run "*) exec {python} -m node.cli "$@" ;;
    *" --no-passphrase "*) {python} -m node.cli "$@" ;;
    *" officer new "* | *" agency new "* | *" rekey "*)
      {python} -m node.cli "$@" --kdf interactive --passphrase-fd 9 9<<<'secret' ;;
    *" types "* | *" list "*) {python} -m node.cli "$@" ;;
    *" sign "* | *" certify "* | *" unit "* | *" add "* | *" amend "* | *" comment "* | *" tag "* | *" send "* \
      | *" import-csv "* | *" rfi new "* | *" revoke "* | *" propose "* | *" approve "*)
      {python} -m node.cli "$@" --passphrase-fd 9 9<<<'secret' ;;
    *) {python} -m node.cli "$@" ;;
  esac
}}
set -e
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
"""


@pytest.mark.live
@pytest.mark.timeout(600)
def test_commands_of_readme_run_in_order(tmp_path: Path) -> None:
    lines = [HAMKOR.format(python=sys.executable)]
    for number, command in enumerate(COMMANDS):
        lines += [f"echo '#{number}' >&2", command]
        if command.endswith(" run &"):
            home = command.split()[2]
            lines.append(f"for _ in $(seq 400); do [ -S {home}/control.sock ] && break; sleep 0.05; done")
        if command == "hamkor --home imt-4 run &":
            lines.append("for _ in $(seq 400); do hamkor --home imt-4 peers >/dev/null && break; sleep 0.05; done")
    script = "\n".join(lines)
    for printed, port in zip(("4090", "4094"), free_ports(2), strict=True):
        script = script.replace(f"/tcp/{printed}", f"/tcp/{port}")  # somebody else may have the one that is printed
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-1000:]
    assert "sound" in done.stdout.lower()
    assert "Two more packages" not in done.stderr


def test_readme_shows_commands_for_each_reader() -> None:
    assert len(BLOCKS) >= 8
    for word in (
        "charter",
        "certify",
        "invite",
        "join",
        "run",
        "add",
        "find",
        "show",
        "amend",
        "history",
        "rfi",
        "alert",
        "stats",
        "import-csv",
        "report",
        "export",
        "import",
        "audit",
        "stolen",
        "revoke",
        "rekey",
        "council",
        "authority",
    ):
        assert any(f" {word} " in f" {command} " for command in COMMANDS), word


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}: venv$", makefile, re.MULTILINE), target
