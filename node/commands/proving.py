"""Proofs: a file about one record that stands without trusting any node, and the command that checks it."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from keys.errors import FormatError, HamkorError, LocalError, UsageError
from keys.files import create_file, replace_file
from ledger.handling import record_marks
from ledger.proof import build_proof
from ledger.proof_view import proof_view
from ledger.search import HISTORY_MAX
from ledger.store import Ledger
from ledger.verify import PROVEN, REFUSED, Verdict, verify_file, verify_proof
from node.commands.common import digits, home_of, read_file
from node.commands.exporting import open_reader
from node.commands.purpose import consult
from node.commands.tables import check_target_free
from node.direct import up_to_date
from node.proof_page import attested_by, chain_lines, render_proof, shortfall, step_text, who
from node.render import lines_of, note, print_json, red, say, when
from node.words import _, language, noted
from protocol.body import parse_step
from protocol.charter import Charter, decode_charter_file, verify_charter
from protocol.entry import EntryId
from protocol.limits import CHARTER_BYTES_MAX, PROOF_BYTES_MAX
from protocol.proof import write_proof

UNREADABLE: Final = 2
_WHY: Final = {  # why a proof is refused
    "form": noted("this is no proof, or it was damaged"),
    "page": noted("the page was changed after the proof was made; what it says may be false"),
    "network": noted("it is of another network than the charter"),
    "entry": noted("an entry in it is not in the form of one, or was changed"),
    "signature": noted("a signature in it does not hold"),
    "act": noted("an act in it has no effect where it stands"),
    "standing": noted("somebody in it lacks a certificate, or signed after the end of their log"),
    "record": noted("its entries are not one record and steps on it"),
    "checkpoint": noted("what should attest it is no checkpoint of that node"),
    "path": noted("an entry in it is not in what the checkpoint attests"),
}  # fmt: skip


def prove(args: argparse.Namespace) -> int:
    """`prove`: exit 1, with nothing written, when it would not be proven; see --partial."""
    home = home_of(args)
    if args.output.exists() and not args.force:
        raise LocalError(f"{args.output} exists already; nothing was changed")
    check_target_free(args.output)
    with open_reader(home) as ledger:
        record = _record(ledger, digits(args.id))
        search = up_to_date(home, ledger)
        proof = build_proof(ledger, record, search.steps_of(record, HISTORY_MAX))
        charter, mark = ledger.charter, record_marks(ledger, search, [record])[record]
    verdict = _sound(verify_proof(proof, charter))
    view: dict[str, Any] = proof_view(verdict, charter)
    proven = verdict.verdict == PROVEN
    if not proven and not args.partial:
        if args.json:
            print_json({"file": None, **verdict.to_json()})
        note(shortfall(view, _))
        note(_("nothing was written: wait until nodes of more agencies attest it, or write it so with --partial"))
        return 1
    if mark:
        consult(args, [record], mark)  # the file tells what it says to whoever has it
    raw = write_proof(render_proof(view, args.output.name, _, language()), proof)
    _sound(verify_file(raw, charter))
    _write(args.output, raw)
    if args.json:
        print_json({"file": str(args.output), "bytes": len(raw), **verdict.to_json()})
        return 0
    count = len(verdict.entries)
    say(_("{file}: {count} entries, {size} bytes").format(file=args.output, count=count, size=len(raw)))
    say(attested_by(view, _) if proven else shortfall(view, _))
    say(_("check it with: {command}").format(command=f"hamkor verify {args.output} --charter CHARTER"))
    return 0


def _record(ledger: Ledger, prefix: str) -> EntryId:
    """The record whose id, or that of a step on it, begins so."""
    found = ledger.ids_with(prefix)
    if not found:
        raise LocalError(_("no entry here has an id that begins with {prefix}").format(prefix=prefix))
    if len(found) > 1:
        listed = ", ".join(known.hex()[: len(prefix) + 6] for known in found)
        raise UsageError(f"{prefix} is the beginning of several ids: {listed}; give more digits")
    entry = ledger.entry(found[0])
    if entry is not None and entry.kind == "step" and entry.body is not None:
        try:
            return parse_step(entry.body).record
        except FormatError:
            return entry.id  # of which it is then said that it is no record
    return found[0]


def _sound(verdict: Verdict) -> Verdict:
    """The verdict on what was just made. Raises LocalError when even we refuse it: the store is damaged."""
    if verdict.verdict == REFUSED:
        told = _("the proof does not hold ({detail}); run hamkor audit on this home")
        raise LocalError(told.format(detail=verdict.detail))
    return verdict


def _write(path: Path, raw: bytes) -> None:
    try:
        if path.exists():
            replace_file(path, raw)
        else:
            create_file(path, raw)
    except OSError as error:
        raise LocalError(_("{file} cannot be written: {why}").format(file=path, why=error.strerror)) from None


# -- checking -------------------------------------------------------------------------------------


def verify(args: argparse.Namespace) -> int:
    """`verify`: exit 0 proven, 1 unproven or refused, 2 no proof, or no good charter."""
    try:
        with args.file.open("rb") as file:
            raw = file.read(PROOF_BYTES_MAX + 1)  # a larger one is refused by its size, like any that is no proof
    except OSError as error:
        raise LocalError(f"{args.file} cannot be read: {error.strerror}") from None
    try:
        charter = verify_charter(decode_charter_file(read_file(args.charter, CHARTER_BYTES_MAX, "a charter")))
    except HamkorError as error:
        if args.json:
            print_json({"verdict": REFUSED, "reason": "charter"})
        note(f"hamkor: {args.charter}: {error}")
        return UNREADABLE
    verdict = verify_file(raw, charter)
    if args.json:
        print_json(verdict.to_json())
    else:
        _tell(args.file, verdict, charter)
    if verdict.reason == "form":
        return UNREADABLE
    return 0 if verdict.verdict == PROVEN else 1


def _tell(path: Path, verdict: Verdict, charter: Charter) -> None:
    if verdict.verdict == REFUSED:
        say(f"{path}: " + red(_("REFUSED")))
        why = _WHY.get(str(verdict.reason), "")
        say(_(why))
        say(f"({verdict.reason}: {verdict.detail})")
        return
    view: dict[str, Any] = proof_view(verdict, charter)
    proven = verdict.verdict == PROVEN
    say(f"{path}: " + (_("PROVEN") if proven else red(_("UNPROVEN"))))
    say(attested_by(view, _) if proven else shortfall(view, _))
    say(_("network {name}, {id}").format(name=view["network"], id=view["network_id"]))
    say()
    _tell_record(view)
    say()
    for person in view["people"]:
        say(f"{who(person, _)}  {person['key'][:16]}")
        for line in chain_lines(person, _)[1:]:
            say("    " + _("under {who}").format(who=line))
        if person["ended"] is not None and person["ended"]["seq"] is not None:
            say("    " + _("its log counts up to entry {seq}").format(seq=person["ended"]["seq"]))
    if view["attested"]:
        say()
    for item in view["attested"]:
        told = _("attested by {who}, by its clock on {time}: {covers} of {total} entries, checkpoint {id}")
        say(told.format(
            who=who(item, _), time=when(item["time_ms"]), covers=item["covers"], total=item["of"], id=item["id"][:12],
        ))  # fmt: skip
    say()
    say(_("It cannot show that there is nothing else: a revocation or a step that is left out. An audit shows that."))


def _tell_record(view: Mapping[str, Any]) -> None:
    created = view["created"]
    written = _("written by {who} on {time}, in the network {network}")
    say(f"{view['type']} {view['record']}")
    say("  " + written.format(who=who(created, _), time=when(created["time_ms"]), network=view["network"]))
    if view["retracted"] is not None:
        say("  " + red(_("The record was retracted: {reason}").format(reason=view["retracted"])))
    for item in view["fields"]:
        for said in item["values"]:
            by = f"  ({who(said, _)}, {when(said['time_ms'])})" if said["entry"] != view["record"] else ""
            for name, text in lines_of(said["value"], item["field"]):
                say(f"  {name}: {text}{by}")
    for step in view["steps"]:
        state = f" [{_(step['state'])}]" if step["state"] else ""
        say(f"  {when(step['time_ms'])}  {who(step, _)}  {step.get('step', '')}{state}")
        for line in step_text(step, _).split("\n"):
            say(f"      {line}" if line else "")
