"""Writing: records, and what happens to them. Whatever is written is held to its type's schema before it is signed."""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from keys.errors import FormatError, LocalError, UsageError
from keys.keyfile import KeyOwner, read_owner
from ledger.document import FIELD, LINK, RETRACTED, TAG
from node.client import Node, open_node, write
from node.clock import wall_ms
from node.commands.common import digits, home_of, misuse, unlock
from node.commands.fields import amended_fields, edited_fields, given_fields
from node.commands.purpose import consult
from node.filling import derive, fill_record, fill_step, fit
from node.render import note, print_json, say
from node.words import _
from protocol.body import encode_record, encode_step
from protocol.codec import Value
from protocol.entry import EntryId
from protocol.frame import Draft
from protocol.limits import REFS_MAX
from protocol.schema import Problem, record_problems, resolve, step_problems, type_names, type_schema


@dataclass(frozen=True, slots=True)
class Target:
    """A record that something is written on, as the node told it (`Desk.record`)."""

    record: EntryId
    type: str
    agency: str
    marked: str  # what its handling names
    named: str  # the entry whose digits were given: the record, or a step on it
    live: Mapping[str, Sequence[str]]
    values: dict[str, Value]
    conflicting: Mapping[str, Sequence[Sequence[Value]]]
    proposals: Mapping[str, Mapping[str, Value]]

    def refs(self, slots: Sequence[str], *more: str) -> tuple[EntryId, ...]:
        """What an operation names: the record, and what stands in the slots that it changes."""
        ids = [bytes.fromhex(op) for slot in slots for op in self.live.get(slot, ())]
        ids = [*(bytes.fromhex(op) for op in more), *ids]
        return tuple(EntryId(ref) for ref in [self.record, *dict.fromkeys(ids)][:REFS_MAX])


# -- writing ------------------------------------------------------------------------------------------


def key_of(args: argparse.Namespace) -> tuple[Path, KeyOwner]:
    """The key file to sign with, and whose it is. Raises UsageError where none is given."""
    path = args.key or (Path(os.environ["HAMKOR_KEY"]) if os.environ.get("HAMKOR_KEY") else None)
    if path is None:
        raise UsageError(_("whose key? give your key file with --key, or in HAMKOR_KEY"))
    return path, read_owner(path)


def sign_and_write(args: argparse.Namespace, kind: str, drafts: list[Draft]) -> list[EntryId]:
    """Sign entries with the officer's key and hand them to the node; returns their ids once they are durable."""
    path, _owner = key_of(args)
    signer, _owner = unlock(args, path, "officer")

    def progress(done: int) -> None:
        if sys.stderr.isatty() and len(drafts) > 1:
            sys.stderr.write(f"\r{done} / {len(drafts)}" + ("\n" if done == len(drafts) else ""))

    with open_node(home_of(args)) as node:
        return write(node, signer, path, kind, drafts, progress)


def tell_ids(args: argparse.Namespace, ids: Sequence[EntryId]) -> int:
    """Print what was written."""
    if args.json:
        print_json({"ids": list(ids)})
    else:
        for known in ids[:20]:
            say(known.hex()[:10])
        if len(ids) > 20:
            say(_("and {count} more").format(count=len(ids) - 20))
    return 0


def check(problems: Sequence[Problem], what: str) -> None:
    """Tell every problem, then raise UsageError where there is any."""
    for problem in problems:
        note(_(problem.template).format(**problem.values))
    if problems:
        raise UsageError(
            _("nothing was written: {count} fields of {what} are not right; see: hamkor types {type}").format(
                count=len(problems), what=what, type=what.split(maxsplit=1)[0]
            )
        )


def write_record(args: argparse.Namespace, type_name: str, fields: Mapping[str, Value]) -> int:
    """Write one record of a type."""
    filled = fill_record(type_name, fields, key_of(args)[1], wall_ms())
    check(record_problems(type_name, filled), type_name)
    with misuse():
        body = encode_record(type_name, filled)
    return tell_ids(args, sign_and_write(args, "record", [("record", body, ())]))


def write_step(
    args: argparse.Namespace, target: Target, step: str, fields: Mapping[str, Value], refs: tuple[EntryId, ...] = ()
) -> int:
    """Write one step on a record."""
    filled = fill_step(target.type, step, fields, wall_ms())
    check(step_problems(target.type, step, filled), f"{target.type} {step}")
    with misuse():
        body = encode_step(target.record, step, filled)
    return tell_ids(args, sign_and_write(args, "step", [("step", body, refs or (target.record,))]))


def target_of(args: argparse.Namespace, prefix: str, *types: str) -> Target:
    """The record that is meant by the first digits of its id, or of a step's on it. types: of which it must be one."""
    with open_node(home_of(args)) as node:
        target = find_target(node, prefix)
    if types and target.type not in types:
        raise UsageError(
            _("{id} is of type {type}; this is for {types}").format(id=prefix, type=target.type, types=", ".join(types))
        )
    return target


def find_target(node: Node, prefix: str) -> Target:
    """Like `target_of`, with a node at hand."""
    found = node.ask("record", prefix=digits(prefix))
    if not isinstance(found, dict):
        raise LocalError(_("no entry here begins with {id}; look for it with: hamkor find WORDS").format(id=prefix))
    return Target(
        EntryId(cast("bytes", found["record"])), str(found["type"]), str(found["agency"]), str(found["marked"]),
        str(found["named"]),
        cast("dict[str, list[str]]", found["live"]), cast("dict[str, Value]", found["values"]),
        cast("dict[str, list[list[Value]]]", found["conflicting"]),
        cast("dict[str, dict[str, Value]]", found["proposals"]),
    )  # fmt: skip


# -- commands -----------------------------------------------------------------------------------------


def add(args: argparse.Namespace) -> int:
    """`add`: one record, or many from a file; nothing is written when any is wrong."""
    type_schema(args.type)
    owner = key_of(args)[1]
    if args.edit:
        return write_record(args, args.type, edited_fields(_template(args), _about(args.type)))
    now_ms = wall_ms()
    drafts: list[Draft] = []
    for where, fields in given_fields(args, empty=False):
        filled = fill_record(args.type, fields, owner, now_ms)
        problems = record_problems(args.type, filled)
        if problems and where:
            note(f"{where}:")
        check(problems, args.type)
        try:
            drafts.append(("record", encode_record(args.type, filled), ()))
        except FormatError as error:
            if not where:
                raise UsageError(str(error)) from None
            raise FormatError(_("{where}: {why}; nothing was written").format(where=where, why=error)) from None
    return tell_ids(args, sign_and_write(args, "record", drafts))


def _template(args: argparse.Namespace) -> dict[str, Value]:
    """What an editor starts from: the fields given, then the required ones, empty."""
    given = given_fields(args, empty=True)[0][1]
    required: list[str] = type_schema(args.type)["required"]
    return given | {name: "" for name in required if name not in given and name != "counting_agency"}


def _about(type_name: str) -> list[str]:
    schema = type_schema(type_name)
    lines = [_("Lines that begin with # are left out. Save and leave to write; leave unchanged to give up.")]
    for name, field in schema["properties"].items():
        mark = "*" if name in schema["required"] else " "
        lines.append(f"{mark} {name}: {resolve(field).get('description', '')}")
    return lines


def step(args: argparse.Namespace) -> int:
    """`step`: any step that the record's type has."""
    target = target_of(args, args.id)
    if args.step in ("amend", "accept", "tag", "link", "retract", "attach"):
        raise UsageError(_("for this there is a command of its own: hamkor {step} --help").format(step=args.step))
    given = given_fields(args, empty=True)
    if len(given) == 1:
        return write_step(args, target, args.step, given[0][1])
    drafts: list[Draft] = []
    for where, fields in given:
        filled = fill_step(target.type, args.step, fields, wall_ms())
        problems = step_problems(target.type, args.step, filled)
        if problems:
            note(f"{where}:")
        check(problems, f"{target.type} {args.step}")
        drafts.append(("step", encode_step(target.record, args.step, filled), (target.record,)))
    return tell_ids(args, sign_and_write(args, "step", drafts))


def amend(args: argparse.Namespace) -> int:
    """`amend`: set fields anew; by an officer of another agency it is a proposal."""
    target = target_of(args, args.id)
    if args.edit:
        if target.marked:
            consult(args, [target.record], target.marked)  # the editor shows what it says
        edited = edited_fields(target.values, _about(target.type) if target.type in type_names() else [])
        changed = {name: value for name, value in edited.items() if target.values.get(name) != value}
        changed |= dict.fromkeys(set(target.values) - set(edited))
        if not changed:
            raise UsageError(_("nothing was changed; nothing was written"))
    else:
        changed = amended_fields(args.fields, target.values)
        changed |= dict.fromkeys(args.unset or [])
    if not changed:
        raise UsageError(_("no fields; give FIELD=VALUE, --unset FIELD, or --edit"))
    return write_changes(args, target, "amend", changed)


def write_changes(
    args: argparse.Namespace, target: Target, step_name: str, changed: Mapping[str, Value], proposal: str = ""
) -> int:
    """Write an operation that sets these fields (None removes one) and names every value that stands there."""
    if target.type in type_names():
        set_fields: dict[str, Value] = {name: value for name, value in changed.items() if value is not None}
        set_fields = derive(target.type, fit(type_schema(target.type), set_fields, wall_ms()))
        changed = {**dict.fromkeys(name for name, value in changed.items() if value is None), **set_fields}
        whole = {name: value for name, value in {**target.values, **changed}.items() if value is not None}
        problems = record_problems(target.type, whole)
        check([one for one in problems if re.split(r"[.\[]", one.field)[0] in changed], target.type)
    fields: dict[str, Value] = {"set": dict(changed)} | ({"proposal": proposal} if proposal else {})
    refs = target.refs([FIELD + name for name in changed], *([proposal] if proposal else []))
    with misuse():
        body = encode_step(target.record, step_name, fields)
    status = tell_ids(args, sign_and_write(args, "step", [("step", body, refs)]))
    if step_name == "amend" and key_of(args)[1].agency != target.agency and not args.json:
        note(
            _("this is a proposal: the record is {agency}'s, whose officers accept it with: hamkor accept ID").format(
                agency=target.agency
            )
        )
    return status


def comment(args: argparse.Namespace) -> int:
    """`comment`."""
    target = target_of(args, args.id)
    if args.edit:
        text = edited_fields({"text": " ".join(args.text)}, [])["text"]
    else:
        text = " ".join(args.text)
    if not text:
        raise UsageError(_("a comment needs words, or --edit"))
    return write_step(args, target, "comment", {"text": text})


def tag(args: argparse.Namespace) -> int:
    """`tag`."""
    target = target_of(args, args.id)
    removed: list[str] = args.remove or []
    if not args.tags and not removed:
        raise UsageError(_("no tags; give words to add, or --remove WORD"))
    fields: dict[str, Value] = {}
    if args.tags:
        fields["add"] = list(args.tags)
    if removed:
        fields["remove"] = list(removed)
    return write_step(args, target, "tag", fields, target.refs([TAG + name for name in removed]))


def link(args: argparse.Namespace) -> int:
    """`link`."""
    return _link(args, args.id, args.to, args.relation, remove=args.remove)


def same(args: argparse.Namespace) -> int:
    """`same`: two seizures are one event; sure once officers of both records' agencies have said so."""
    return _link(args, args.id, args.other, "same_event", remove=args.remove)


def _link(args: argparse.Namespace, prefix: str, other: str, relation: str, *, remove: bool) -> int:
    with open_node(home_of(args)) as node:
        source, target = find_target(node, prefix), find_target(node, other)
    if source.record == target.record:
        raise UsageError(_("a record is not linked to itself"))
    if relation == "same_event" and {source.type, target.type} != {"seizure"}:
        raise UsageError(_("only seizures are counted, so only two seizures can be the same event"))
    fields: dict[str, Value] = {"to": target.record.hex(), "relation": relation}
    slot = f"{LINK}{relation}:{target.record.hex()}"
    if remove:
        fields["remove"] = True
    return write_step(args, source, "link", fields, source.refs([slot] if remove else []))


def retract(args: argparse.Namespace) -> int:
    """`retract`: the record stays and is shown as retracted."""
    target = target_of(args, args.id)
    reason = " ".join(args.reason)
    if not reason and not args.undo:
        raise UsageError(_("give the reason, or --undo"))
    fields: dict[str, Value] = {"undo": True} if args.undo else {"reason": reason}
    return write_step(args, target, "retract", fields, target.refs([RETRACTED]))


def accept(args: argparse.Namespace) -> int:
    """`accept`: make a proposal count, or decline it."""
    target = target_of(args, args.id)
    chosen = [op for op in target.proposals if op == target.named] or list(target.proposals)
    if not chosen:
        raise UsageError(_("{id} has no open proposals").format(id=args.id))
    if len(chosen) > 1:
        ids = ", ".join(op[:10] for op in chosen)
        raise UsageError(_("{id} has several proposals; name one of: {ids}").format(id=args.id, ids=ids))
    if key_of(args)[1].agency != target.agency:
        answer = _("only officers of {agency}, whose record it is, answer proposals")
        raise UsageError(answer.format(agency=target.agency))
    proposal = chosen[0]
    if args.decline is not None:
        fields: dict[str, Value] = {"proposal": proposal} | ({"reason": args.decline} if args.decline else {})
        return write_step(args, target, "decline", fields, target.refs([], proposal))
    changed = cast("dict[str, Value]", target.proposals[proposal]["set"])
    if not changed:  # to retract it
        raise UsageError(_("this proposes to take the record back: do so with hamkor retract, or use --decline"))
    return write_changes(args, target, "accept", changed, proposal)


def take(args: argparse.Namespace) -> int:
    """`conflicts ID --take FIELD=N`: settle a conflict by one of the values that stand there."""
    target = target_of(args, args.id)
    changed: dict[str, Value] = {}
    for choice in args.take:
        name, _equals, number = choice.partition("=")
        values = target.conflicting.get(name, ())
        if not number.isdigit() or not 1 <= int(number) <= len(values):
            known = ", ".join(f"{field}=1..{len(found)}" for field, found in target.conflicting.items())
            raise UsageError(
                _("{choice} names no value; the choices are: {known}").format(choice=choice, known=known or "-")
            )
        changed[name] = values[int(number) - 1][1]
    return write_changes(args, target, "amend", changed)
