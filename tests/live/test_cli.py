"""The commands as a person types them: a founding, records, files by hand, and every way to get it wrong."""

import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, chdir, closing, redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import pytest

from keys.errors import RemoteError
from keys.keyfile import read_owner
from keys.mark import Mark
from ledger.lmdb_store import open_lmdb
from ledger.store import load
from node.cli import main
from node.submit import commit_bundle

pytestmark = pytest.mark.live
SECRET = "correct horse"


class Shell:
    """Runs commands in one folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str] | None = None) -> None:
        self.folder = folder
        self.capsys = capsys

    def __call__(self, *words: object, secret: str | None = None) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        argv = [str(word) for word in words]
        reading = None
        if secret is not None:
            reading, writing = os.pipe()
            os.write(writing, secret.encode() + b"\n")
            os.close(writing)
            argv += ["--passphrase-fd", str(reading)]
        done = subprocess.run(
            [sys.executable, "-m", "node.cli", *argv], capture_output=True, text=True, check=False, cwd=self.folder,
            pass_fds=[reading] if reading is not None else [], stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        if reading is not None:
            os.close(reading)
        return done.returncode, done.stdout, done.stderr

    def here(self, *words: object, secret: str | None = None) -> tuple[int, str, str]:
        """The same in this process: quicker, but not for `run`."""
        out, err = io.StringIO(), io.StringIO()
        argv = [str(word) for word in words]
        with ExitStack() as stack:
            if secret is not None:
                reading, writing = os.pipe()
                stack.callback(os.close, reading)
                os.write(writing, secret.encode() + b"\n")
                os.close(writing)
                argv += ["--passphrase-fd", str(reading)]
            for change in (chdir(self.folder), redirect_stdout(out), redirect_stderr(err)):
                stack.enter_context(change)
            status = main(argv)
        return status, out.getvalue(), err.getvalue()

    def ok(self, *words: object, secret: str | None = None) -> str:
        """Standard output of a command that must succeed."""
        status, out, err = self(*words, secret=secret)
        assert status == 0, (words, status, out, err)
        return out


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Two agencies, two homes that know each other's certificates, one officer, three records in home `a`."""
    shell = Shell(tmp_path_factory.mktemp("founded"))
    for name in ("mia", "scc"):
        shell.ok(
            "agency",
            "new",
            name,
            "--title",
            name.upper(),
            "--key",
            f"{name}.key",
            "--kdf",
            "interactive",
            secret=SECRET,
        )
    shell.ok("charter", "draft", "mia.card", "scc.card", "--network", "test", "--threshold", "2", "-o", "draft")
    shutil.copy(shell.folder / "draft", shell.folder / "copy")
    shell.ok("charter", "sign", "draft", "--key", "mia.key", secret=SECRET)
    shell.ok("charter", "sign", "copy", "--key", "scc.key", secret=SECRET)
    shell.ok("charter", "merge", "draft", "copy", "-o", "charter")
    for home, agency in (("a", "mia"), ("b", "scc")):
        shell.ok("--home", home, "init", "--charter", "charter", "--name", f"hq-{agency}", "--agency", agency,
                 "--listen", f"/ip4/127.0.0.1/tcp/{free_port()}", "--no-passphrase")  # fmt: skip
    shell.ok("officer", "new", "--name", "Z. Tosheva", "--agency", "mia", "--unit", "imt-4", "-o", "tosheva.key",
             "--kdf", "interactive", secret=SECRET)  # fmt: skip
    shell.ok("--home", "a", "certify", "a/node.card", "tosheva.card", "--key", "mia.key", secret=SECRET)
    shell.ok("--home", "b", "certify", "b/node.card", "--key", "scc.key", secret=SECRET)
    shell.ok(
        "--home", "a", "unit", "imt-4", "--title", "Team 4", "--region", "UZ-SU", "--key", "mia.key", secret=SECRET
    )
    for home, other in (("a", "b"), ("b", "a")):
        shell.ok("--home", home, "invite", "-o", f"{home}.invitation")
        shell.ok("--home", other, "join", f"{home}.invitation")
    shell.ok("--home", "a", "add", "seizure", "region=UZ-SU", "place=Сариосиё", "items[0].substance=heroin",
             "seized_at=2026-03-14 22:40", "items[0].form=powder", "items[0].amount=24.350", "items[0].unit=kg",
             "--key", "tosheva.key", secret=SECRET)  # fmt: skip
    (shell.folder / "more.jsonl").write_text(
        '{"address": "Toshkent 1", "region": "UZ-TK"}\n'
        '{"address": "x", "region": "UZ-SA", "position": {"latitude": 39.65, "longitude": 66.9597}}\n'
    )
    shell.ok("--home", "a", "add", "location", "--file", "more.jsonl", "--key", "tosheva.key", secret=SECRET)
    shell.ok("--home", "a", "export", "ledger.bundle")
    return shell


AGENCIES = {"mia": "Ministry", "ncdc": "Center", "scc": "Customs", "sss": "Security"}


def done(shell: Shell, *words: object, secret: str | None = SECRET) -> Any:
    """The JSON of a command that must succeed, run in this process."""
    status, out, error = shell.here(*words, "--json", secret=secret)
    assert status == 0, (words, status, error)
    return json.loads(out)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shell]:
    """Four agencies, each in a folder of its own: they founded a network by passing one file round, and each has
    a home and an officer that only it knows of yet.
    """
    folder = tmp_path_factory.mktemp("apart")
    shells = {name: Shell(folder / name) for name in AGENCIES}
    for name, shell in shells.items():
        shell.folder.mkdir()
        done(shell, "agency", "new", name, "--title", AGENCIES[name], "-o", ".", "--kdf", "interactive")
        assert (shell.folder / f"{name}.key").stat().st_mode & 0o777 == 0o600
    cards = [shells[name].folder / f"{name}.card" for name in AGENCIES]
    draft = folder / "mia" / "draft"
    drafted = done(shells["mia"], "charter", "draft", *cards, "--network", "four", "--threshold", 3, "-o", draft,
                   secret=None)  # fmt: skip
    assert drafted["missing"] == list(AGENCIES)
    passed = draft
    for number, (name, shell) in enumerate(shells.items(), 1):
        shutil.copy(passed, shell.folder / "received")
        signed = done(shell, "charter", "sign", "received", "--key", f"{name}.key", "-o", "charter")
        assert signed["missing"] == list(AGENCIES)[number:]
        assert shell.here("charter", "verify", "received")[0] == 1  # what was received is left as it was
        passed = shell.folder / "charter"
    for shell in shells.values():
        if shell.folder / "charter" != passed:
            shutil.copy(passed, shell.folder / "charter")
        assert done(shell, "charter", "verify", "charter", secret=None)["network_id"] == drafted["network_id"]
    for name, shell in shells.items():
        done(shell, "--home", "home", "init", "--charter", "charter", "--name", f"{name}-hq", "--agency", name,
             "--no-passphrase", secret=None)  # fmt: skip
        done(shell, "officer", "new", "--name", f"Officer of {name}", "--agency", name, "-o", "o.key",
             "--kdf", "interactive")  # fmt: skip
        done(shell, "--home", "home", "certify", "home/node.card", "o.card", "--key", f"{name}.key")
        done(shell, "--home", "home", "invite", "-o", "invitation", secret=None)
    return shells


def test_four_agencies_apart_found_a_network_and_hold_the_same_in_the_end(apart: dict[str, Shell]) -> None:
    for shell in apart.values():
        for other in apart.values():
            done(shell, "--home", "home", "join", other.folder / "invitation", secret=None)
    for name, shell in apart.items():
        done(shell, "--home", "home", "add", "location", "--key", "o.key", f"address=Sariosiyo {name}")
        done(shell, "--home", "home", "export", "ledger", secret=None)
    roots = set()
    for shell in apart.values():
        for other in apart.values():
            done(shell, "--home", "home", "import", other.folder / "ledger", secret=None)
        assert len(done(shell, "--home", "home", "find", "sariosiyo", secret=None)["hits"]) == 4
        done(shell, "--home", "home", "export", "ledger", secret=None)
        roots.add(done(shell, "audit", "ledger", "--charter", "charter", secret=None)["root"])
        roots.add(done(shell, "--home", "home", "status", secret=None)["root"])
    assert len(roots) == 1


def test_what_is_of_another_network_is_refused(apart: dict[str, Shell], founded: Shell) -> None:
    shell = apart["mia"]
    for words in (("import", founded.folder / "ledger.bundle"), ("join", founded.folder / "a.invitation"),
                  ("export", "never", "--for", founded.folder / "other.heads")):  # fmt: skip
        founded.ok("--home", "a", "heads", "-o", "other.heads")
        status, _, error = shell.here("--home", "home", *words)
        assert status == 13, error
        assert error.startswith("hamkor: ")
        assert error.count("\n") == 1
    assert not (shell.folder / "never").exists()
    found = shell.here("audit", founded.folder / "ledger.bundle", "--charter", "charter", "--json")
    assert found[0] == 1
    assert json.loads(found[1])["faults"][0]["kind"] == "network"


def test_certifier_decides_on_rank_unit_and_roles_and_an_admin_makes_no_admins(apart: dict[str, Shell]) -> None:
    shell = apart["sss"]
    for name, role in (("chief", "admin"), ("deputy", "admin"), ("clerk", "auditor")):
        done(shell, "officer", "new", "--name", name, "--agency", "sss", "--unit", "imt-1", "--role", role,
             "-o", f"{name}.key", "--kdf", "interactive")  # fmt: skip
    done(shell, "--home", "home", "certify", "chief.card", "--key", "sss.key")
    status, _, error = shell.here("--home", "home", "certify", "deputy.card", "--key", "chief.key", secret=SECRET)
    assert (status, "root key only" in error) == (2, True)
    done(shell, "--home", "home", "certify", "--key", "chief.key", "clerk.card", "--unit", "imt-2",
         "--role", "coordinator")  # fmt: skip
    done(shell, "--home", "home", "certify", "deputy.card", "--rank", "officer", "--key", "chief.key")
    (clerk, by, root), *_ = done(shell, "--home", "home", "who", "clerk", secret=None)
    assert (clerk["rank"], clerk["unit"], clerk["roles"]) == ("officer", "imt-2", ["coordinator", "officer"])
    assert (by["name"], root["rank"]) == ("chief", "agency")
    (deputy, *_), *_ = done(shell, "--home", "home", "who", "deputy", secret=None)
    assert (deputy["rank"], deputy["roles"]) == ("officer", ["officer"])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_founding_leaves_a_verified_charter(founded: Shell) -> None:
    answer = json.loads(founded.ok("charter", "verify", "charter", "--json"))
    assert answer["valid"] is True
    shown = json.loads(founded.ok("charter", "show", "charter", "--json"))
    assert [agency["name"] for agency in shown["agencies"]] == ["mia", "scc"]
    assert founded("charter", "verify", "draft")[0] == 1  # one signature only


def test_record_is_found_shown_and_logged(founded: Shell) -> None:
    found = json.loads(founded.ok("--home", "a", "find", "sariosiyo", "--json"))["hits"]
    assert [hit["fields"]["items"] for hit in found] == [[{
        "amount": "24.350", "form": "powder", "mass_from": "amount in kg", "mass_g": "24350", "substance": "heroin",
        "unit": "kg",
    }]]  # fmt: skip
    shown = json.loads(founded.ok("--home", "a", "show", found[0]["short"], "--json"))
    assert shown["author"]["name"] == "Z. Tosheva"
    founded.ok("--home", "a", "step", shown["short"], "comment", "text=seen", "--key", "tosheva.key", secret=SECRET)
    again = json.loads(founded.ok("--home", "a", "show", shown["id"][:8], "--json"))
    assert [step["fields"] for step in again["steps"]] == [{"text": "seen"}]
    assert "UZ-SA" in founded.ok("--home", "a", "log", "--limit", "10")
    assert "Tosheva" in founded.ok("--home", "a", "who", "tosheva")


def test_fraction_is_kept_as_it_was_written(founded: Shell) -> None:
    hit = json.loads(founded.ok("--home", "a", "find", "UZ-SA", "--json"))["hits"][0]
    assert hit["fields"]["position"] == {"latitude": "39.65", "longitude": "66.9597"}


def test_find_ends_with_1_when_nothing_is_known(founded: Shell) -> None:
    status, out, err = founded("--home", "a", "find", "nosuchword")
    assert (status, out) == (1, "")
    assert "none known here" in err


def test_audit_of_bundle_and_home_is_sound_and_agrees(founded: Shell) -> None:
    bundle = json.loads(founded.ok("audit", "ledger.bundle", "--charter", "charter", "--json"))
    assert bundle["verdict"] == "sound"
    assert bundle["faults"] == []
    assert bundle["entries"] == bundle["signatures"] == 7  # three certificates, a unit, three records
    founded.ok("--home", "a", "export", "now.bundle")
    now = json.loads(founded.ok("audit", "now.bundle", "--charter", "charter", "--json"))
    home = json.loads(founded.ok("audit", "a", "--charter", "charter", "--json"))
    assert home["root"] == now["root"]
    assert home["verdict"] == "sound"


def test_bundle_is_imported_once_and_repeats_harmlessly(founded: Shell, tmp_path: Path) -> None:
    home = tmp_path / "b"
    shutil.copytree(founded.folder / "b", home)
    first = json.loads(founded.ok("--home", home, "import", "ledger.bundle", "--json"))
    assert first["admitted"] == 3
    second = json.loads(founded.ok("--home", home, "import", "ledger.bundle", "--json"))
    assert (second["admitted"], second["duplicates"]) == (0, 7)


def test_export_for_another_nodes_heads_holds_only_what_it_lacks(founded: Shell, tmp_path: Path) -> None:
    founded.ok("--home", "b", "heads", "-o", tmp_path / "heads")
    answer = json.loads(founded.ok("--home", "a", "export", tmp_path / "part", "--for", tmp_path / "heads", "--json"))
    whole = json.loads(founded.ok("--home", "a", "export", tmp_path / "whole", "--json"))
    assert 0 < answer["entries"] < whole["entries"]
    home = tmp_path / "b"
    shutil.copytree(founded.folder / "b", home)
    assert (
        json.loads(founded.ok("--home", home, "import", tmp_path / "part", "--json"))["admitted"] == answer["entries"]
    )


def test_a_thousand_damaged_bundles_are_refused_and_change_nothing(founded: Shell, tmp_path: Path) -> None:
    home = tmp_path / "b"
    shutil.copytree(founded.folder / "b", home)
    good = (founded.folder / "ledger.bundle").read_bytes()
    rng = random.Random(1000)
    path = tmp_path / "damaged"
    named = 0
    with closing(open_lmdb(home / "store")) as storage:
        ledger = load(storage)
        before = (ledger.root(), ledger.arrival())
        for _ in range(1000):
            damaged = bytearray(good)
            damaged[rng.randrange(len(good))] ^= rng.randrange(1, 256)
            path.write_bytes(bytes(damaged))
            with pytest.raises(RemoteError) as refused:
                commit_bundle(ledger, str(path))
            named += "entry" in str(refused.value)
        ledger = load(storage)
        assert (ledger.root(), ledger.arrival()) == before
    assert named > 500  # most damage lies in an entry, and the message says in which


def test_damaged_bundle_is_refused_in_one_sentence_that_names_the_entry(
    founded: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "b"
    shutil.copytree(founded.folder / "b", home)
    good = (founded.folder / "ledger.bundle").read_bytes()
    root = root_of(home, capsys)
    path = tmp_path / "damaged"
    for at in range(20, len(good), len(good) // 40):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        status = main(["--home", str(home), "import", str(path)])
        error = capsys.readouterr().err
        assert status in (10, 11, 12, 13), (status, error)
        assert error.startswith("hamkor: ")
        assert error.count("\n") == 1
    path.write_bytes(good.replace(b"heroin", b"geroin", 1))
    assert main(["--home", str(home), "import", str(path)]) == 12
    assert "the signature of entry 0 of log" in capsys.readouterr().err
    assert root_of(home, capsys) == root


def root_of(home: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--home", str(home), "status", "--json"]) == 0
    return str(json.loads(capsys.readouterr().out)["root"])


def own_copy(founded: Shell, folder: Path) -> Path:
    """A home of the test's own, and the officer's key with its mark beside it."""
    shutil.copytree(founded.folder / "a", folder / "a")
    for name in ("tosheva.key", "tosheva.key.mark"):
        shutil.copy(founded.folder / name, folder / name)
    mark = Mark.open(folder / "tosheva.key.mark", read_owner(folder / "tosheva.key").public)
    mark.adopt((mark.seq or 0) + 1, mark.id)  # a copy signs nothing, so it is made the mark of this folder
    return folder / "a"


def damage_nothing(_: Path) -> None:
    pass


def make_port_busy(home: Path) -> None:
    text = (home / "hamkor.toml").read_text()
    address = text.split('listen = ["')[1].split('"')[0]
    listener = socket.socket()
    listener.bind(("127.0.0.1", int(address.rsplit("/", 1)[1])))
    listener.listen()
    BUSY.append(listener)


BUSY: list[socket.socket] = []


def swap_charter(home: Path) -> None:
    from tests.cluster import charter_file

    (home / "charter").write_bytes(charter_file("another"))


def shrink_store(home: Path) -> None:
    path = home / "hamkor.toml"
    path.write_text(path.read_text().replace("store_mib_max = 0", "store_mib_max = 1"))


@pytest.mark.parametrize(
    ("spoil", "words", "secret", "status", "says"),
    [
        (damage_nothing, ["add", "case", "title=b", "--key", "tosheva.key"], "wrong", 4, "wrong passphrase"),
        (lambda home: (home / "charter").unlink(), ["run"], None, 5, "no charter"),
        (make_port_busy, ["run"], None, 7, "another process has that port"),
        (swap_charter, ["run"], None, 5, "another network"),
        (lambda home: (home / "hamkor.toml").write_text("listen = 3"), ["status"], None, 5, "list of addresses"),
        (lambda home: (home / "hamkor.toml").write_text("= ="), ["status"], None, 5, "not valid TOML"),
        (lambda home: (home / "hamkor.toml").unlink(), ["status"], None, 5, "no hamkor home"),
        (damage_nothing, ["add", "intel", "a", "--key", "tosheva.key"], SECRET, 2, "FIELD=VALUE"),
        (damage_nothing, ["add", "Case", "title=b", "--key", "tosheva.key"], SECRET, 2, "there is no type"),
        (damage_nothing, ["add", "case", "title=b", "--key", "mia.key"], SECRET, 4, "needs a key of officer"),
        (damage_nothing, ["add", "case", "title=b", "--key", "nosuch.key"], SECRET, 4, "no key file"),
        (damage_nothing, ["add", "case", "title=b"], SECRET, 2, "whose key"),
        (damage_nothing, ["import", "nosuch.bundle"], None, 3, "no bundle"),
        (damage_nothing, ["import", "charter"], None, 11, "not a hamkor bundle"),
        (damage_nothing, ["join", "charter"], None, 11, "invitation is expected"),
        (damage_nothing, ["certify", "b/node.card", "--key", "mia.key"], SECRET, 2, "certifies its own"),
        (damage_nothing, ["show", "xyz"], None, 2, "no id"),
        (swap_charter, ["find", "heroin"], None, 5, "another network"),
        (swap_charter, ["export", "never.bundle"], None, 5, "another network"),
        (damage_nothing, ["export", "mia.key"], None, 3, "no hamkor bundle"),
        (damage_nothing, ["invite", "-o", "mia.key"], None, 3, "no hamkor invitation"),
        (damage_nothing, ["heads", "-o", "mia.card"], None, 3, "no hamkor heads"),
        (damage_nothing, ["export", "never.bundle", "--for", "charter"], None, 11, "heads is expected"),
        (damage_nothing, ["step", "0000000", "ack", "--key", "tosheva.key"], SECRET, 3, "no entry here begins"),
        (damage_nothing, ["init", "--charter", "charter", "--name", "n", "--agency", "mia"], None, 5, "home already"),
        (damage_nothing, ["log", "--follow"], None, 7, "stopped"),
        (damage_nothing, ["log", "--limit", "0"], None, 2, "limit"),
        (damage_nothing, ["who", "nobody here"], None, 1, "nobody known"),
        (damage_nothing, ["certify", "mia.card", "--key", "mia.key"], SECRET, 2, "is an agency"),
        (damage_nothing, ["certify", "tosheva.key", "--key", "mia.key"], SECRET, 11, "a hamkor card is expected"),
        (damage_nothing, ["certify", "tosheva.card", "--key", "tosheva.key"], SECRET, 4, "needs a key of agency"),
        (damage_nothing, ["certify", "b/node.card", "--key", "scc.key"], "", 4, "wrong passphrase"),
        (damage_nothing, ["unit", "imt-4", "--title", "T", "--region", "surxon", "--key", "mia.key"], SECRET, 2,
         "ISO 3166-2"),
        (damage_nothing, ["charter", "sign", "charter", "--key", "tosheva.key"], SECRET, 4, "needs a key of agency"),
        (damage_nothing, ["agency", "new", "A B", "--title", "T", "--key", "never.key"], SECRET, 2, "a-z"),
        (damage_nothing, ["agency", "new", "mia", "--title", "T", "--key", "mia.key"], SECRET, 4, "exists already"),
        (damage_nothing, ["agency", "new", "x", "--title", "T", "--key", "never.key"], "", 4, "empty passphrase"),
        (damage_nothing, ["unit", "imt-4", "--title", "T", "--key", "mia.key"], None, 2, "--passphrase-fd"),
        (damage_nothing, ["unit", "imt-4", "--title", "T", "--key", "mia.key", "--passphrase-fd", "99"], None, 2,
         "cannot be read"),
        (damage_nothing, ["peers"], None, 7, "stopped"),
        (damage_nothing, ["frobnicate"], None, 2, "invalid choice"),
        (damage_nothing, ["find"], None, 2, "required"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_clear_sentence_and_its_exit_status(
    founded: Shell, tmp_path: Path, spoil: Callable[[Path], object], words: list[str], secret: str | None,
    status: int, says: str,
) -> None:  # fmt: skip
    home = tmp_path / "a"
    shutil.copytree(founded.folder / "a", home)
    spoil(home)
    keys = {path: path.read_bytes() for path in founded.folder.glob("*.key")}
    run = founded if words[0] == "run" else founded.here
    found, _, error = run("--home", home, *words, secret=secret)
    assert {path: path.read_bytes() for path in founded.folder.glob("*.key")} == keys
    assert not list(founded.folder.glob("never*"))
    while BUSY:
        BUSY.pop().close()
    assert says in error
    assert found == status, error
    assert status == 1 or error.startswith("hamkor: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error


def test_full_store_refuses_writes_and_loses_nothing(founded: Shell, tmp_path: Path) -> None:
    home = own_copy(founded, tmp_path)
    shrink_store(home)
    big = tmp_path / "big.jsonl"
    noise = (Random(n).randbytes(1100).hex() for n in range(900))  # the store compresses what it can
    big.write_text("\n".join(json.dumps({"title": str(n), "narrative": text}) for n, text in enumerate(noise)))
    status, _, error = founded(
        "--home", home, "add", "case", "--file", big, "--key", tmp_path / "tosheva.key", secret=SECRET
    )
    assert status == 6, error
    assert "nothing was changed" in error or "full" in error
    assert json.loads(founded.ok("audit", home, "--charter", "charter", "--json"))["verdict"] == "sound"


def test_restored_home_refuses_to_sign(founded: Shell, tmp_path: Path) -> None:
    home, old = own_copy(founded, tmp_path), tmp_path / "old"
    shutil.copytree(home / "store", old)
    founded.ok("--home", home, "add", "case", "title=1", "--key", tmp_path / "tosheva.key", secret=SECRET)
    founded.ok("--home", home, "add", "case", "title=2", "--key", tmp_path / "tosheva.key", secret=SECRET)
    shutil.rmtree(home / "store")
    shutil.copytree(old, home / "store")
    key = tmp_path / "tosheva.key"
    status, _, error = founded("--home", home, "add", "case", "title=3", "--key", key, secret=SECRET)
    assert status == 8
    assert "restored from an older copy" in error
    assert founded("--home", home, "find", "heroin")[0] == 0


def test_batch_that_was_signed_but_not_handed_in_goes_first(founded: Shell, tmp_path: Path) -> None:
    home = own_copy(founded, tmp_path)
    before = tmp_path / "before"
    shutil.copytree(home / "store", before)
    founded.ok("--home", home, "add", "case", "title=first", "--key", tmp_path / "tosheva.key", secret=SECRET)
    shutil.rmtree(home / "store")
    shutil.copytree(before, home / "store")  # as if the machine stopped between signing and storing
    (home / "search.db").unlink()
    founded.ok("--home", home, "add", "case", "title=second", "--key", tmp_path / "tosheva.key", secret=SECRET)
    for word in ("first", "second"):
        assert len(json.loads(founded.ok("--home", home, "find", word, "--json"))["hits"]) == 1


@pytest.mark.parametrize(
    ("source", "charter"),
    [("nosuch", "charter"), ("mia.card", "charter"), ("a.invitation", "charter"), (".", "charter"),
     ("ledger.bundle", "nosuch"), ("ledger.bundle", "draft"), ("ledger.bundle", "mia.card")],
)  # fmt: skip
def test_audit_of_something_unreadable_ends_with_2(founded: Shell, source: str, charter: str) -> None:
    status, out, error = founded("audit", source, "--charter", charter, "--json")
    assert status == 2
    assert json.loads(out)["verdict"] == "unreadable"
    assert error.startswith("hamkor: ")
    assert error.count("\n") == 1


def test_audit_of_a_damaged_bundle_ends_with_1_and_names_the_entry(founded: Shell, tmp_path: Path) -> None:
    damaged = (founded.folder / "ledger.bundle").read_bytes().replace(b"heroin", b"geroin", 1)
    (tmp_path / "damaged").write_bytes(damaged)
    status, out, _ = founded("audit", tmp_path / "damaged", "--charter", "charter", "--json")
    assert status == 1
    answer = json.loads(out)
    assert {"verdict", "logs", "entries", "signatures", "faults", "network", "root"} <= set(answer)
    assert answer["verdict"] == "faulty"
    fields = {"kind", "key", "seq", "id", "owner", "agency", "found", "expected", "means", "detail", "source"}
    assert all(set(fault) == fields for fault in answer["faults"])
    assert "signature" in {fault["kind"] for fault in answer["faults"] if fault["seq"] == 0}
    assert "FAULTY" in founded("audit", tmp_path / "damaged", "--charter", "charter")[1]


def test_lost_card_is_made_again_from_its_key_and_no_key_is_written_over(founded: Shell, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    words = ("agency", "new", "sss", "--title", "Security", "--kdf", "interactive")
    founded.ok(*words, "-o", tmp_path / "out", secret=SECRET)
    before = json.loads(founded.ok("agency", "card", tmp_path / "out" / "sss.key", "--json"))
    (tmp_path / "out" / "sss.card").unlink()
    founded.ok("agency", "card", tmp_path / "out" / "sss.key", secret=SECRET)
    assert json.loads(founded.ok("agency", "card", tmp_path / "out" / "sss.card", "--json")) == before
    (tmp_path / "out" / "sss.key").unlink()
    status, _, error = founded(*words, "-o", tmp_path / "out", secret=SECRET)  # another key with the old card
    assert status == 4
    assert "sss.card exists" in error
    odd = tmp_path / "odd.card"  # a key file that is called like a card keeps its name
    founded.ok(*words, "--key", odd, secret=SECRET)
    assert odd.read_bytes().startswith(b"hamkor key ")
    assert (tmp_path / "odd.card.card").read_bytes().startswith(b"hamkor card ")


def test_help_of_every_command_shows_an_example() -> None:
    from node.cli import EXTRAS, build_parser

    parser = build_parser()
    commands = next(action for action in parser._actions if isinstance(getattr(action, "choices", None), dict))
    assert isinstance(commands.choices, dict)
    waiting = [command for name, command in commands.choices.items() if name not in EXTRAS]
    while waiting:
        command = waiting.pop()
        nested = [a.choices for a in command._actions if isinstance(getattr(a, "choices", None), dict)]
        if nested:
            waiting += nested[0].values()
        text = f"an example of each: {command.prog} COMMAND" if nested else "example: hamkor "
        assert text in command.format_help(), command.prog
