"""Proofs as a person types them: written beside a running node, checked with nothing but the charter."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keys.keyfile import load_key_file
from ledger.attest import latest, survey
from node.client import open_node, write
from node.commands.exporting import open_reader
from node.home import open_home
from protocol import verify_proof
from protocol.checkpoint import draft
from protocol.limits import PROOF_BYTES_MAX
from protocol.proof import BEGIN
from tests.cluster import until
from tests.live.test_authority import Network, network  # noqa: F401  the fixture
from tests.unit.test_report import Page

pytestmark = pytest.mark.live


def attest(folder: Path, name: str) -> None:
    """The node of that home signs a checkpoint of what it holds."""
    home = open_home(folder / name)
    signer, _ = load_key_file(home.key_path, b"")
    with open_reader(home) as ledger, ledger.storage.read() as reader:
        found, mine = survey(reader), latest(reader, signer.public)
    bodies = draft(signer, home.charter().network_id, found.root, found.heads, None if mine is None else mine.state)
    with open_node(home) as node:
        write(node, signer, home.key_path, "checkpoint", [("checkpoint", body, ()) for body in bodies])


@pytest.fixture
def record(network: Network) -> str:  # noqa: F811
    """A seizure by an officer of scc, with a comment by another, that all three homes hold."""
    known = network.write("tosheva", "add", "seizure", "seized_at=2026-03-14 22:40", "region=UZ-SU", "place=Denov",
                          "items[0].substance=heroin", "items[0].form=powder", "items[0].amount=24.350",
                          "items[0].unit=kg", "narrative=<script>alert(1)</script>")  # fmt: skip
    network.write("karimov", "comment", known, "two packages more")
    network.pass_on("scc", "mia", "sss")
    return known


def test_a_proof_is_written_when_enough_agencies_attest_it_and_stands_alone(
    network: Network,  # noqa: F811
    record: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    words = ("--home", "scc", "prove", record[:9], "-o", "proof.html")
    status, out, error = network.shell.here(*words)
    assert (status, out) == (1, "")
    assert "by nodes of 0 agencies (–); 2 are needed" in error
    assert "--partial" in error
    assert not (network.folder / "proof.html").exists()
    attest(network.folder, "scc")
    status, out, _ = network.shell.here(*words, "--partial", "--json")
    assert (status, json.loads(out)["verdict"], json.loads(out)["reason"]) == (0, "unproven", "threshold")
    assert network.shell.here("verify", "proof.html", "--charter", "charter")[0] == 1
    attest(network.folder, "mia")
    network.pass_on("mia", "scc")
    assert network.refused(*words)[1].startswith("hamkor: proof.html exists already; nothing was changed")
    said = network.text(*words, "--force")
    assert "attested by nodes of 2 agencies (mia, scc); 2 are needed" in said
    assert "hamkor verify proof.html --charter CHARTER" in said

    outside = tmp_path_factory.mktemp("outside")
    for name in ("proof.html", "charter"):  # what an outsider has
        shutil.copy(network.folder / name, outside / name)
    alone = subprocess.run(
        [sys.executable, "-m", "node.cli", "verify", "proof.html", "--charter", "charter"], cwd=outside, check=False,
        capture_output=True, text=True, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (alone.returncode, alone.stderr) == (0, "")
    for told in ("PROVEN", "items[0].amount: 24.350", "Tosheva (scc)", "two packages more", "admin Chief of scc",
                 "attested by mia-hq (mia)", "2 of 2 entries", "Agency scc: named in the charter"):  # fmt: skip
        assert told in alone.stdout, told
    found = network.run("verify", "proof.html", "--charter", "charter", secret=None)
    assert (found["verdict"], found["reason"], found["record"]) == ("proven", None, record)
    assert [one["agencies"] for one in found["entries"]] == [["mia", "scc"]] * 2


def test_proving_needs_no_stop_of_the_node(network: Network, record: str) -> None:  # noqa: F811
    attest(network.folder, "scc")
    network.pass_on("scc", "mia")
    attest(network.folder, "mia")
    network.pass_on("mia", "scc")
    daemon = subprocess.Popen(
        [sys.executable, "-m", "node.cli", "--home", "scc", "run"], cwd=network.folder, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        running = network.shell.here
        until(lambda: '"running": true' in running("--home", "scc", "status", "--json")[1], 40, "the node serves")
        found = network.run("--home", "scc", "prove", record, "-o", "proof.html", secret=None)
        assert (found["verdict"], len(found["entries"])) == ("proven", 2)
        step = network.run("--home", "scc", "show", record, secret=None)["steps"][0]["id"]
        again = network.run("--home", "scc", "prove", step[:12], "-o", "again.html", secret=None)
        assert again["record"] == record
    finally:
        daemon.terminate()
        daemon.wait(20)


def test_nodes_that_run_attest_a_record_until_it_is_proven(network: Network) -> None:  # noqa: F811
    daemons = []
    for name in ("mia", "scc"):
        settings = network.folder / name / "hamkor.toml"
        settings.write_text(settings.read_text().replace("checkpoint_s = 300", "checkpoint_s = 1"))
        daemons.append(subprocess.Popen(
            [sys.executable, "-m", "node.cli", "--home", name, "run"], cwd=network.folder, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        ))  # fmt: skip
    try:
        here = network.shell.here
        until(lambda: '"running": true' in here("--home", "scc", "status", "--json")[1], 40, "the node serves")
        known = network.write("tosheva", "add", "case", "title=joint work")
        words = ("--home", "scc", "prove", known, "-o", "proof.html")
        until(lambda: here(*words)[0] == 0, 60, "nodes of two agencies attest it")
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait(20)
    found = network.run("verify", "proof.html", "--charter", "charter", secret=None)
    assert (found["verdict"], found["entries"][0]["agencies"]) == ("proven", ["mia", "scc"])
    copy = [sys.executable, str(Path(verify_proof.__file__)), "proof.html", "charter"]
    alone = subprocess.run(copy, cwd=network.folder, capture_output=True, text=True, check=False)
    assert (alone.returncode, "proven" in alone.stdout.lower()) == (0, True)


def test_a_marked_record_is_proved_for_a_purpose_only(network: Network) -> None:  # noqa: F811
    known = network.write("tosheva", "add", "case", "title=x", "handling.tlp=RED")
    words = ("--home", "scc", "prove", known, "-o", "proof.html", "--partial")
    status, error = network.refused(*words)
    assert (status, "marked" in error, (network.folder / "proof.html").exists()) == (2, True, False)
    network.run(*words, "--why", "for the court", secret=None)
    assert "for the court" in network.text("--home", "scc", "consultations")


def test_what_is_wrong_is_said_in_a_sentence_and_by_the_exit_status(network: Network, record: str) -> None:  # noqa: F811
    attest(network.folder, "scc")
    network.run("--home", "scc", "prove", record, "-o", "proof.html", "--partial", secret=None)
    raw = (network.folder / "proof.html").read_bytes()
    files = {
        "page": raw.replace(b"Denov", b"Termi"), "form": raw.replace(BEGIN, b"<script>\n"), "large": raw * 1000,
        "signature": raw.replace(BEGIN, BEGIN + b"A"),
    }  # fmt: skip
    for name, content in files.items():
        (network.folder / name).write_bytes(content[: PROOF_BYTES_MAX + 1])
    status, out, _ = network.shell.here("verify", "page", "--charter", "charter")
    assert status == 1
    assert "REFUSED" in out
    assert "the page was changed" in out
    for name in ("form", "signature", "large", "charter"):
        status, out, _ = network.shell.here("verify", name, "--charter", "charter", "--json")
        assert (status, json.loads(out)) == (2, {"verdict": "refused", "reason": "form"})
    status, out, error = network.shell.here("verify", "proof.html", "--charter", "scc.card", "--json")
    assert (status, json.loads(out)) == (2, {"verdict": "refused", "reason": "charter"})
    assert "a hamkor charter is expected" in error
    assert network.refused("verify", "nothing", "--charter", "charter")[0] == 3
    assert "no entry here" in network.refused("--home", "scc", "prove", "0" * 60, "-o", "other.html")[1]
    assert network.refused("--home", "scc", "prove", "x", "-o", "other.html")[0] == 2
    _, error = network.refused("--home", "scc", "prove", record, "-o", "tosheva.key", "--force", "--partial")
    assert "is a hamkor file; nothing was changed" in error


@pytest.mark.parametrize("lang", ["en", "uz", "ru"])
def test_the_page_is_whole_in_each_language_and_runs_nothing(network: Network, record: str, lang: str) -> None:  # noqa: F811
    attest(network.folder, "scc")
    network.run("--home", "scc", "--lang", lang, "prove", record, "-o", "proof.html", "--partial", secret=None)
    raw = (network.folder / "proof.html").read_bytes()
    page = Page(raw.decode())
    assert f'<html lang="{lang}">'.encode() in raw
    assert page.tags.count("script") == 1
    assert "<script>alert(1)</script>" in " ".join(page.words)  # as text
    assert record in " ".join(page.words)
    assert raw.count(b"hamkor verify proof.html --charter CHARTER") == 1
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is not None and lang == "en":
        paper = network.folder / "proof.pdf"
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={network.folder}/profile",
             f"--print-to-pdf={paper}", "--no-pdf-header-footer", (network.folder / "proof.html").as_uri()],
            check=True, capture_output=True, timeout=90,
        )  # fmt: skip
        assert paper.read_bytes().startswith(b"%PDF-")
