"""Split a compiled lock on standard input into the two lock files; called by `make lock`."""

import re
import sys
from pathlib import Path

BUILD = ("packaging", "setuptools", "wheel")
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write requirements-build.lock and requirements.lock."""
    blocks = [block.rstrip() for block in re.split(r"\n(?=[a-z0-9])", sys.stdin.read()) if block.strip()]
    build = [block for block in blocks if block.partition("==")[0] in BUILD]
    rest = [block for block in blocks if block not in build]
    head = "# What builds the packages that come as plain Python source. Made by `make lock`.\n"
    (ROOT / "requirements-build.lock").write_text(head + "\n".join(build) + "\n")
    head = (
        "# Everything that runs, tests and checks hamkor, each file by its hash. Made by `make lock`.\n"
        "# fastecdsa is newer than libp2p asks for: that has wheels, and only ECDSA keys, not used here, need it.\n"
    )
    (ROOT / "requirements.lock").write_text(head + "\n".join(rest) + "\n")


main()
