"""Commands about authority as a person types them, and what a restored, copied or emptied home does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keys.errors import MarkError
from keys.keyfile import load_key_file
from keys.mark import Mark, birth_ns_of, mark_path
from ledger.lmdb_store import open_lmdb
from ledger.store import load
from node.home import open_home
from node.submit import sign_batch
from protocol.body import encode_record
from protocol.entry import EntryId, Place
from tests.live.test_cli import SECRET, Shell, free_port

pytestmark = pytest.mark.live
AGENCIES = ("mia", "scc", "sss")


class Network:
    """Three agencies with a node each, `mia`, `scc` and `sss`, that know each other's certificates, none running;
    an admin and two officers of scc.
    """

    def __init__(self, folder: Path) -> None:
        self.shell = Shell(folder)
        self.folder = folder
        for name in AGENCIES:
            self.run("agency", "new", name, "--title", f"Agency {name}", "--key", f"{name}.key", "--kdf", "interactive")
        self.run("charter", "draft", *(f"{name}.card" for name in AGENCIES), "--network", "test", "--threshold", 2,
                 "-o", "charter", secret=None)  # fmt: skip
        for name in AGENCIES:
            self.run("charter", "sign", "charter", "--key", f"{name}.key")
        for name in AGENCIES:
            self.run("--home", name, "init", "--charter", "charter", "--name", f"{name}-hq", "--agency", name,
                     "--no-passphrase", "--listen", f"/ip4/127.0.0.1/tcp/{free_port()}", secret=None)  # fmt: skip
            self.run("--home", name, "certify", f"{name}/node.card", "--key", f"{name}.key")
        for name, role in (("chief", ("--role", "admin")), ("tosheva", ()), ("karimov", ())):
            self.run("officer", "new", "--name", name.title(), "--agency", "scc", "--unit", "imt-4", *role,
                     "-o", f"{name}.key", "--kdf", "interactive")  # fmt: skip
        self.run("--home", "scc", "certify", "chief.card", "tosheva.card", "--key", "scc.key")
        self.run("--home", "scc", "certify", "karimov.card", "--key", "chief.key")
        for name in AGENCIES:
            self.run("--home", name, "invite", "-o", f"{name}.invitation", secret=None)
        for name in AGENCIES:
            for other in AGENCIES:
                self.run("--home", name, "join", f"{other}.invitation", secret=None)

    def run(self, *words: object, secret: str | None = SECRET) -> Any:
        """The JSON of a command that must succeed."""
        status, out, error = self.shell.here(*words, "--json", secret=secret)
        assert status == 0, (words, status, error)
        return json.loads(out)

    def text(self, *words: object, secret: str | None = None) -> str:
        """What a command that must succeed prints."""
        status, out, error = self.shell.here(*words, secret=secret)
        assert status == 0, (words, status, error)
        return out

    def refused(self, *words: object, secret: str | None = None) -> tuple[int, str]:
        """Exit status and the one sentence of a command that must fail."""
        status, _, error = self.shell.here(*words, secret=secret)
        assert status != 0, words
        assert error.count("\n") == 1, error
        return status, error

    def write(self, who: str, *words: object, home: str = "scc") -> str:
        """The id of an entry that an officer writes."""
        return str(self.run("--home", home, *words, "--key", f"{who}.key")["ids"][0])

    def pass_on(self, source: str, *homes: str) -> None:
        """Carry what one home holds to others."""
        self.run("--home", source, "export", f"{source}.bundle", secret=None)
        for home in homes:
            self.run("--home", home, "import", f"{source}.bundle", secret=None)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """See `Network`."""
    return Network(tmp_path)


# -- revoking -----------------------------------------------------------------------------------------


def test_revoked_key_is_void_after_its_cutoff_and_shown_so_everywhere(network: Network) -> None:
    good = network.write("tosheva", "add", "case", "title=honest work")
    bad = network.write("tosheva", "add", "case", "title=forged work")
    network.write("tosheva", "amend", good, "title=changed by a thief")
    network.write("karimov", "comment", bad, "is this right?")
    said = network.text("--home", "scc", "revoke", "tosheva", "--last", good[:10], "--reason", "laptop stolen", "--key",
                        "scc.key", secret=SECRET)  # fmt: skip
    assert "counts up to entry 0" in said
    assert "hamkor rekey --key OLD.key -o NEW.key" in said
    hits = network.run("--home", "scc", "find", "work", secret=None)["hits"]
    assert {(hit["id"], hit["status"]) for hit in hits} == {(good, "ok"), (bad, "void")}
    assert "[void]" in network.text("--home", "scc", "find", "forged")
    assert [hit["id"] for hit in network.run("--home", "scc", "find", "status:void", secret=None)["hits"]] == [bad]
    shown = network.run("--home", "scc", "show", good, secret=None)
    assert (shown["fields"]["title"], shown["steps"][0]["status"]) == ("honest work", "void")
    assert "VOID" in network.text("--home", "scc", "show", bad)
    assert "недействительно" in network.text("--home", "scc", "--lang", "ru", "find", "forged")
    states = [row["state"] for row in network.run("--home", "scc", "history", good, secret=None)["history"]]
    assert states == ["", "void"]
    assert network.run("--home", "scc", "history", bad, secret=None)["history"][0]["state"] == "void"
    entries = network.run("--home", "scc", "log", "--key", "tosheva", secret=None)["entries"]
    assert [entry["status"] for entry in entries] == ["ok", "void", "void"]
    assert network.run("--home", "scc", "status", secret=None)["records"] == 1
    (chain,) = network.run("--home", "scc", "who", "tosheva", secret=None)
    assert [step["rank"] for step in chain] == ["officer", "agency"]
    assert (chain[0]["counts"], chain[0]["void"], chain[0]["ended"]["reason"]) == (1, 2, "laptop stolen")
    assert "laptop stolen" in network.text("--home", "scc", "who", "tosheva")
    status, error = network.refused("--home", "scc", "add", "case", "title=x", "--key", "tosheva.key", secret=SECRET)
    assert (status, "revoked" in error) == (12, True)


def test_revocation_that_changes_nothing_is_refused_with_the_reason(network: Network) -> None:
    first = network.write("tosheva", "add", "case", "title=one")
    network.write("tosheva", "add", "case", "title=two")
    for name, key, why in (("tosheva", "mia", "only that agency"), ("chief", "chief", "takes a higher one"),
                           ("Agency scc", "scc", "replaced by the council")):  # fmt: skip
        words = ("--home", "scc", "revoke", name, "--reason", "x", "--key", f"{key}.key")
        status, error = network.refused(*words, secret=SECRET)
        assert (status, why in error) == (3, True), error
    network.run("--home", "scc", "revoke", "tosheva", "--last", first, "--reason", "x", "--key", "chief.key")
    words = ("--home", "scc", "revoke", "tosheva", "--reason", "x", "--key", "scc.key")
    assert "only a lower cutoff" in network.refused(*words, secret=SECRET)[1]
    assert network.run(*words, "--all")["changes"][0]["void"] == 1


def test_revoked_admin_takes_down_what_rests_on_its_certificates(network: Network) -> None:
    record = network.write("karimov", "add", "case", "title=by karimov")
    told = network.run("--home", "scc", "stolen", "chief", "--since", "2020", secret=None)
    assert {row["name"]: (row["void"], row["certified"]) for row in told["void"]} == {
        "Chief": (1, True), "Karimov": (1, False),
    }  # fmt: skip
    assert [(row["id"], row["gone"]) for row in told["records"]] == [(record, True)]
    assert told["command"].endswith("--all --reason stolen --key scc.key")
    network.run("--home", "scc", *told["command"].split()[1:])
    assert network.run("--home", "scc", "show", record, secret=None)["status"] == "uncertified"
    (chain,) = network.run("--home", "scc", "who", "karimov", secret=None)
    assert (chain[0]["rank"], chain[0]["uncertified"]) == ("uncertified", 1)
    assert "no certificate of it counts" in network.text("--home", "scc", "who", "karimov")


def test_stolen_tells_what_would_change_and_its_command_does_just_that(network: Network) -> None:
    first = network.write("tosheva", "add", "case", "title=one", "status=open")
    by_other = network.write("karimov", "add", "case", "title=two", "status=open")
    network.write("tosheva", "amend", by_other, "title=forged")
    forged = network.write("tosheva", "add", "case", "title=three")
    told = network.run("--home", "scc", "stolen", "tosheva", "--last", first[:12], secret=None)
    assert told["signed"] == 3
    assert {row["kind"]: row["count"] for row in told["by_day"]} == {"record": 2, "step": 1}
    assert told["could_read"] == {"records": 3, "files": 0}
    assert {row["id"]: (row["gone"], row["fields"]) for row in told["records"]} == {
        forged: (True, {}), by_other: (False, {"title": {"now": "forged", "then": "two"}}),
    }  # fmt: skip
    text = network.text("--home", "scc", "stolen", "tosheva", "--last", first[:12])
    assert "title: forged → two" in text
    assert told["command"] in text
    assert network.run("--home", "scc", "who", "tosheva", secret=None)[0][0]["ended"] is None  # nothing was signed
    network.run("--home", "scc", *told["command"].split()[1:])
    assert network.run("--home", "scc", "show", by_other, secret=None)["fields"]["title"] == "two"
    assert network.run("--home", "scc", "show", forged, secret=None)["status"] == "void"


def forked(network: Network) -> tuple[str, str, str]:
    """Tosheva's log forks at entry 1: (entry below, entry on scc's branch, entry on mia's branch)."""
    below = network.write("tosheva", "add", "case", "title=below")
    network.pass_on("scc", "mia")
    ours = network.write("tosheva", "add", "case", "title=ours")
    signer, _ = load_key_file(network.folder / "tosheva.key", SECRET.encode())
    home = open_home(network.folder / "mia")
    with closing(open_lmdb(home.store_path)) as storage:
        ledger = load(storage)
        place = Place(signer.public, 1, EntryId(bytes.fromhex(below)))
        aside = Mark.create(network.folder / "copied.mark", signer.public)
        run, (theirs,) = sign_batch(signer, ledger.network_id, aside, place,
                                    [("record", encode_record("case", {"title": "theirs"}), ())], 2**42)  # fmt: skip
        ledger.apply(ledger.commit([(run,)]))
    network.pass_on("mia", "scc")
    return below, ours, theirs.hex()


def test_forked_log_is_revoked_at_an_entry_that_is_named_and_endorses_its_branch(network: Network) -> None:
    below, ours, theirs = forked(network)
    assert network.run("--home", "scc", "show", ours, secret=None)["status"] == "disputed"
    hits = network.run("--home", "scc", "find", "status:disputed", secret=None)["hits"]
    assert [hit["id"] for hit in hits] == [ours]
    (chain,) = network.run("--home", "scc", "who", "tosheva", secret=None)
    assert (chain[0]["forked_at"], chain[0]["disputed"]) == (1, 1)
    words = ("--home", "scc", "revoke", "tosheva", "--reason", "copied", "--key", "scc.key")
    status, error = network.refused(*words, secret=SECRET)
    assert status == 2
    assert all(known[:12] in error for known in (below, ours, theirs))
    said = network.run(*words, "--last", ours)
    assert (said["endorses"], said["seq"]) == (True, 1)
    assert network.run("--home", "scc", "show", ours, secret=None)["status"] == "ok"
    assert network.run("--home", "scc", "find", "ours", secret=None)["hits"][0]["status"] == "ok"


# -- the council --------------------------------------------------------------------------------------


def test_council_removes_an_agency_and_keeps_what_it_wrote_before(network: Network) -> None:
    network.run("officer", "new", "--name", "Umarov", "--agency", "sss", "-o", "umarov.key", "--kdf", "interactive")
    network.run("--home", "sss", "certify", "umarov.card", "--key", "sss.key")
    kept = network.write("umarov", "add", "case", "title=before", home="sss")
    network.pass_on("sss", "scc")
    proposed = network.run("--home", "scc", "council", "propose", "remove", "sss", "--key", "scc.key")
    assert (proposed["more"], {row["agency"] for row in proposed["would_change"]}) == (1, {"sss"})
    (row,) = network.run("--home", "scc", "council", "list", secret=None)["proposals"]
    assert (row["state"], row["yes"], row["missing"], row["more"]) == ("open", ["scc"], ["mia"], 1)
    words = ("council", "approve", proposed["id"][:10])
    assert "whose yes is not counted" in network.refused("--home", "scc", *words, "--key", "sss.key", secret=SECRET)[1]
    assert "has said yes" in network.refused("--home", "scc", *words, "--key", "scc.key", secret=SECRET)[1]
    late = network.write("umarov", "add", "case", "title=after", home="sss")
    network.pass_on("scc", "mia")
    assert "enough agree" in network.text("--home", "mia", *words, "--key", "mia.key", secret=SECRET)
    assert "it has passed" in network.refused("--home", "mia", *words, "--key", "mia.key", secret=SECRET)[1]
    network.pass_on("mia", "sss", "scc")
    assert network.run("--home", "sss", "show", kept, secret=None)["status"] == "ok"
    assert network.run("--home", "sss", "show", late, secret=None)["status"] == "void"
    table = network.run("--home", "sss", "authority", secret=None)
    assert [item["name"] for item in table["members"]] == ["mia", "scc"]
    ended = {row["name"]: row["ended"]["seq"] for row in table["keys"] if row["ended"] is not None}
    assert ended["Umarov"] == 0
    shown = network.run("--home", "scc", "council", "show", proposed["id"][:8], secret=None)
    assert (shown["state"], shown["yes"]) == ("passed", ["mia", "scc"])
    words = ("--home", "scc", "council", "propose", "threshold", 2, "--key", "sss.key")
    assert "was removed" in network.refused(*words, secret=SECRET)[1]


def test_council_gives_a_new_root_key_that_was_made_by_rekey(network: Network) -> None:
    told = network.run("--home", "sss", "rekey", "--key", "sss.key", "-o", "new.key", "--kdf", "interactive")
    assert told["commands"][0].startswith("hamkor council propose rekey sss new.card --last ")
    words = [*told["commands"][0].split()[1:-1], "mia.key"]
    network.pass_on("sss", "mia", "scc")
    proposed = network.run("--home", "mia", *words)
    network.pass_on("mia", "scc", "sss")
    network.run("--home", "scc", "council", "approve", proposed["id"], "--key", "scc.key")
    network.pass_on("scc", "sss")
    status, error = network.refused("--home", "sss", "unit", "imt-9", "--title", "x", "--key", "sss.key", secret=SECRET)
    assert status in (8, 12), error
    network.run("--home", "sss", "unit", "imt-9", "--title", "Team", "--key", "new.key")
    assert network.run("--home", "sss", "who", "sss-hq", secret=None)[0][0]["ended"] is None  # it stays certified


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("remove", "ncdc"), "no member"), (("threshold", "4"), "cannot agree"), (("threshold", "2"), "already"),
        (("admit", "mia.card"), "a member already"), (("rekey", "mia", "mia.card"), "root key"),
    ],
)  # fmt: skip
def test_change_that_cannot_be_made_is_not_proposed(network: Network, words: tuple[str, ...], why: str) -> None:
    status, error = network.refused("--home", "scc", "council", "propose", *words, "--key", "scc.key", secret=SECRET)
    assert (status, why in error) == (3, True), error


def test_threshold_and_admission_pass_and_acts_without_effect_are_listed(network: Network) -> None:
    network.run("agency", "new", "ncdc", "--title", "Center", "--key", "ncdc.key", "--kdf", "interactive")
    proposed = network.run("--home", "scc", "council", "propose", "admit", "ncdc.card", "--key", "scc.key")
    again = ("--home", "scc", "council", "propose", "admit", "ncdc.card", "--key", "mia.key")
    assert "proposed already" in network.refused(*again, secret=SECRET)[1]
    network.run("--home", "scc", "council", "approve", proposed["id"], "--key", "mia.key")
    network.run("--home", "scc", "council", "propose", "threshold", 3, "--key", "ncdc.key")
    listed = network.run("--home", "scc", "council", "list", secret=None)
    assert (listed["members"], listed["threshold"]) == (["mia", "ncdc", "scc", "sss"], 2)
    assert [row["state"] for row in listed["proposals"]] == ["passed", "open"]
    first = network.write("tosheva", "add", "case", "title=x")
    network.run("--home", "scc", "revoke", "chief", "--all", "--reason", "gone", "--key", "scc.key")
    (row,) = network.run("--home", "scc", "council", "list", secret=None)["without_effect"]
    assert row["what"].startswith("certifies officer Karimov")
    assert "where that ends" in row["why"]
    assert "acts without effect" in network.text("--home", "scc", "council", "list")
    assert first


# -- what a writer knew -------------------------------------------------------------------------------


def test_authority_at_an_entry_is_what_its_writer_could_know(network: Network) -> None:
    early = network.write("tosheva", "add", "case", "title=early")
    network.run("--home", "scc", "revoke", "karimov", "--all", "--reason", "left", "--key", "scc.key")
    later = network.write("tosheva", "add", "case", "title=later")
    network.run("--home", "scc", "revoke", "tosheva", "--last", early, "--reason", "stolen", "--key", "scc.key")
    before = network.run("--home", "scc", "authority", "--at", early, secret=None)
    after = network.run("--home", "scc", "authority", "--at", later, secret=None)
    ended = [{row["name"] for row in table["keys"] if row["ended"]} for table in (before, after)]
    assert ended == [set(), {"Karimov"}]
    assert "Karimov" in {row["name"] for row in before["keys"]}  # an officer below the admin's certificate was known
    assert [act["note"].split(" key ")[0] for act in after["missed"]] == ["revokes"]
    assert (before["acts_not_known"], after["acts_not_known"]) == (2, 1)
    text = network.text("--home", "scc", "authority", "--at", later[:10])
    assert "did not know" in text
    status, out, _ = network.shell.here("--home", "scc", "authority", "--at", "00", "--json")
    assert (status, out) == (1, "")


def test_step_does_not_wait_for_an_act_that_it_names_and_that_never_comes(network: Network) -> None:
    record = network.write("tosheva", "add", "case", "title=one")
    network.pass_on("scc", "mia")
    network.run("--home", "scc", "certify", "karimov.card", "--unit", "imt-5", "--key", "chief.key")
    step = network.write("tosheva", "amend", record, "title=two")
    named = network.run("--home", "scc", "show", step, secret=None)["refs"]
    acts = [item["id"] for item in network.run("--home", "scc", "log", "--key", "chief", secret=None)["entries"]]
    assert acts[1] in named
    network.run("--home", "scc", "revoke", "chief", "--last", acts[0], "--reason", "x", "--key", "scc.key")
    network.pass_on("scc", "mia")
    status, _, _ = network.shell.here("--home", "mia", "show", acts[1])
    assert status == 1  # void before it was passed on: mia never gets it
    shown = network.run("--home", "mia", "show", record, secret=None)
    assert shown["fields"]["title"] == "two"
    [_, amended] = network.run("--home", "mia", "history", record, secret=None)["history"]
    assert "not_here" not in amended  # an act is no part of what the record says


# -- restored, copied, emptied ------------------------------------------------------------------------


def running(network: Network, home: str) -> "subprocess.Popen[bytes]":
    """The node of a home, started; returns when it serves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "node.cli", "--home", home, "run"], cwd=network.folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert process.stdout is not None
    assert b"ready" in process.stdout.readline()
    return process


def until(true: Any, wait_s: float = 60) -> None:
    """Ask again until it is so."""
    end = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


def size_of(network: Network, home: str, name: str) -> int:
    """How many entries of a key's log count in a home."""
    ((chain, *_),) = (network.run("--home", home, "who", name, secret=None),)
    return int(chain[0]["counts"])


def attest_nothing(network: Network) -> None:
    """Let the nodes write no checkpoints: these tests count what is in a node's log."""
    for home in ("scc", "mia"):
        settings = network.folder / home / "hamkor.toml"
        settings.write_text(settings.read_text().replace("checkpoint_s = 300", "checkpoint_s = 0"))


def stop(*processes: "subprocess.Popen[bytes]") -> None:
    """SIGTERM to all, and wait."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=20)


def test_copied_officer_key_signs_nothing_and_the_command_says_how_to_go_on(network: Network, tmp_path: Path) -> None:
    network.write("tosheva", "add", "case", "title=one")
    if birth_ns_of(network.folder / "tosheva.key.mark") == 0:
        pytest.skip("this file system does not tell when a file was made")
    copy = tmp_path / "second"
    copy.mkdir()
    time.sleep(0.02)  # file systems count in ticks of some milliseconds
    for name in ("tosheva.key", "tosheva.key.mark"):
        shutil.copy2(network.folder / name, copy / name)
    words = ("--home", "scc", "add", "case", "title=two", "--key")
    status, error = network.refused(*words, copy / "tosheva.key", secret=SECRET)
    assert (status, "hamkor rekey" in error) == (8, True)
    told = network.run("--home", "scc", "rekey", "--key", "tosheva.key", "-o", "tosheva2.key", "--kdf", "interactive")
    assert network.refused(*words, "tosheva.key", secret=SECRET)[0] == 8  # replaced
    for command in told["commands"]:
        network.run("--home", "scc", *command.split()[1:])
    network.write("tosheva2", "add", "case", "title=three")
    names = [chain[0]["ended"] is None for chain in network.run("--home", "scc", "who", "tosheva", secret=None)]
    assert sorted(names) == [False, True]


def test_key_without_its_mark_writes_only_where_all_of_its_log_is_known(network: Network) -> None:
    network.write("tosheva", "add", "case", "title=one")
    mark_path(network.folder / "tosheva.key").unlink()
    words = ("--home", "scc", "add", "case", "title=two", "--key", "tosheva.key")
    status, error = network.refused(*words, secret=SECRET)  # stopped: who knows what others hold
    assert (status, "from other nodes first" in error) == (8, True)
    nodes = [running(network, "scc"), running(network, "mia")]
    try:
        until(lambda: network.shell.here("--home", "scc", "peers")[0] == 0)
        until(lambda: network.shell.here(*words, secret=SECRET)[0] == 0)
    finally:
        stop(*nodes)
    assert size_of(network, "scc", "tosheva") == 2


def test_restored_home_of_a_node_is_barred_when_it_hears_what_it_has_signed(network: Network) -> None:
    """Store, mark and key are put back together, as a snapshot of a disk would: nothing here tells, peers do."""
    attest_nothing(network)
    nodes = [running(network, "scc"), running(network, "mia")]
    try:
        until(lambda: size_of(network, "mia", "scc-hq") == 1)  # its address
    finally:
        stop(*nodes)
    key = load_key_file(network.folder / "scc" / "node.key", b"")[0].public
    home = open_home(network.folder / "scc")
    shutil.rmtree(home.store_path)
    network.run("--home", "fresh", "init", "--charter", "charter", "--name", "x", "--agency", "scc", "--no-passphrase",
                secret=None)  # fmt: skip
    shutil.copytree(network.folder / "fresh" / "store", home.store_path)
    home.mark_path.unlink()
    Mark.create(home.mark_path, key)  # as old as the store
    network.run("--home", "scc", "join", "mia.invitation", secret=None)
    nodes = [running(network, "scc"), running(network, "mia")]
    try:
        until(lambda: b"this node signs nothing more" in home.log_path.read_bytes())
        assert size_of(network, "scc", "scc-hq") == 1
    finally:
        stop(*nodes)
    with pytest.raises(MarkError, match="second one"):
        Mark.open(home.mark_path, key).check(1, None)
    assert network.shell.here("--home", "mia", "forks")[0] == 1  # nothing forked


def test_node_that_lost_its_disk_gets_its_log_back_before_it_signs(network: Network) -> None:
    attest_nothing(network)
    nodes = [running(network, "scc"), running(network, "mia")]
    try:
        until(lambda: size_of(network, "mia", "scc-hq") == 1)
    finally:
        stop(*nodes)
    home = open_home(network.folder / "scc")
    shutil.rmtree(home.store_path)
    home.search_path.unlink()
    home.mark_path.unlink()
    network.run("--home", "fresh", "init", "--charter", "charter", "--name", "x", "--agency", "scc", "--no-passphrase",
                secret=None)  # fmt: skip
    shutil.copytree(network.folder / "fresh" / "store", home.store_path)
    settings = home.path / "hamkor.toml"
    settings.write_text(settings.read_text().replace("/tcp/", "/tcp/1", 1))  # another address: something to sign
    network.run("--home", "scc", "join", "mia.invitation", secret=None)
    port = free_port()
    lines = [f'listen = ["/ip4/127.0.0.1/tcp/{port}"]' if line.startswith("listen") else line
             for line in settings.read_text().splitlines()]  # fmt: skip
    settings.write_text("\n".join(lines) + "\n")
    nodes = [running(network, "scc"), running(network, "mia")]
    try:
        until(lambda: size_of(network, "mia", "scc-hq") == 2)
    finally:
        stop(*nodes)
    assert network.shell.here("--home", "mia", "forks")[0] == 1
    mark = Mark.open(home.mark_path, load_key_file(home.key_path, b"")[0].public)
    assert (mark.lost, mark.seq) == (False, 1)


def test_rekeyed_node_runs_on_with_its_store_under_a_new_key(network: Network) -> None:
    record = network.write("tosheva", "add", "case", "title=kept")
    told = network.run("--home", "scc", "rekey", secret=None)
    assert any(command.startswith("hamkor certify scc/node.card") for command in told["commands"])
    for command in told["commands"]:
        network.run("--home", "scc", *command.split()[1:])
    assert network.run("--home", "scc", "show", record, secret=None)["status"] == "ok"
    status = network.run("--home", "scc", "status", secret=None)
    assert (status["node"]["key"], status["certified"]) == (told["key"], True)
    kept = network.folder / "scc" / f"node.key.{told['old'][:12]}"
    with pytest.raises(MarkError, match="replaced"):
        Mark.open(mark_path(kept), load_key_file(kept, b"")[0].public).check(0, None)
