"""The council: what agencies put to one another, who said yes, and what it would change, before anybody signs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from keys.errors import LocalError, UsageError
from keys.keyfile import read_owner
from keys.signing import PublicKey
from ledger.authority import Authority
from ledger.council import Proposal
from ledger.effect import Moved, moved, voters, why_not_change, why_not_speak, without_effect, would_pass
from ledger.store import Ledger
from ledger.view import act_sentence, author_view, change_sentence, short_id
from node.client import open_node, write
from node.commands.common import home_of, misuse, read_card, unlock
from node.commands.exporting import open_reader
from node.desk import one_standing
from node.render import note, print_json, red, say, table, when
from node.words import _, told_error
from protocol.acts import Admit, Approve, Change, Cutoff, Propose, Rekey, Remove, Threshold, encode_act
from protocol.charter import Agency
from protocol.codec import Value
from protocol.entry import Entry, EntryId

_YES: Final = ("y", "yes", "h", "ha", "д", "да")
_ROWS_SHOWN: Final = 20


class NoEffectError(LocalError):
    """What is asked for would change nothing."""


# -- asking -------------------------------------------------------------------------------------------


def list_(args: argparse.Namespace) -> int:
    """`council list`: proposals, and the acts that do nothing. Exit 1 when nothing was ever proposed."""
    with open_reader(home_of(args)) as ledger:
        council = ledger.authority.council
        rows = [_proposal_view(ledger, proposal) for proposal in council.proposals]
        nothing = [_nothing_view(ledger, *found) for found in without_effect(ledger)]
    if args.ids:
        still_open = [str(row["id"]) for row in rows if row["state"] == "open"]
        for known in still_open:
            say(known)
        return 0 if still_open else 1
    if args.json:
        print_json({"members": sorted(council.members), "threshold": council.threshold, "proposals": rows,
                    "without_effect": nothing})  # fmt: skip
        return 0 if rows else 1
    say(_("{threshold} of {count} agencies decide: {names}").format(
        threshold=council.threshold, count=len(council.members), names=", ".join(sorted(council.members))))  # fmt: skip
    if rows:
        table((_("proposal"), _("state"), _("by"), _("what"), _("yes"), _("missing")), [
            (row["short"], _(str(row["state"])), row["agency"], row["what"], ", ".join(row["yes"]), _missing(row))
            for row in rows
        ])  # fmt: skip
    if nothing:
        say()
        say(_("acts without effect:"))
        for row in nothing:
            say(f"  {row['short']}  {row['author']['name'] or row['author']['key'][:12]}: {row['what']}")
            say(f"      {told_error(str(row['why']))}")
    if not rows:
        note(_("nothing was proposed to the council, as far as is known here"))
    return 0 if rows else 1


def _missing(row: dict[str, Any]) -> str:
    if row["state"] == "passed":
        return ""
    if row["impossible"]:
        return _("cannot pass")
    return _("{count} more of {names}").format(count=row["more"], names=", ".join(row["missing"]) or "-")


def show(args: argparse.Namespace) -> int:
    """`council show`: exit 1 when there is no such proposal."""
    with open_reader(home_of(args)) as ledger:
        proposal = _proposal(ledger, args.id)
        if proposal is None:
            note(_("there is no such proposal here; see: hamkor council list"))
            return 1
        view = _proposal_view(ledger, proposal)
        after = None
        if proposal.passed is None and not view["impossible"]:
            speaker = ledger.authority.council.members[(view["missing"] or [proposal.agency])[0]].key
            after = would_pass(ledger, speaker, Approve(proposal.id), proposal.change, proposal.yes)
        losses = [moved_view(ledger, row) for row in moved(ledger, after)] if after is not None else []
    if args.json:
        print_json({**view, "would_change": losses})
        return 0
    say(f"{view['short']}  {view['what']}")
    say("  " + _("proposed by {agency}, {time}; {state}").format(
        agency=view["agency"], time=when(view["time_ms"]), state=_(str(view["state"]))))  # fmt: skip
    say("  " + _("yes: {names}").format(names=", ".join(view["yes"])))
    if view["state"] == "passed":
        say("  " + _("passed by entry {id}").format(id=view["passed"][:12]))
    elif view["impossible"]:
        say("  " + red(_("it cannot pass: {why}").format(why=told_error(str(view["impossible"])))))
    else:
        say("  " + _("missing: {what}").format(what=_missing(view)))
        say_moved(losses)
    return 0


def _proposal(ledger: Ledger, prefix: str) -> Proposal | None:
    found = [item for item in ledger.authority.council.proposals if item.id.hex().startswith(prefix.lower())]
    if len(found) > 1:
        raise UsageError(_("{digits} is the beginning of several proposals; give more digits").format(digits=prefix))
    return found[0] if found else None


def _proposal_view(ledger: Ledger, proposal: Proposal) -> dict[str, Any]:
    authority = ledger.authority
    able = voters(authority, proposal.change)
    yes = [name for name in proposal.yes if name in able]
    impossible = why_not_change(authority, proposal.change) if proposal.passed is None else None
    entry = ledger.entry(proposal.id)
    return {
        "id": proposal.id.hex(), "short": short_id(ledger, proposal.id), "agency": proposal.agency,
        "what": change_sentence(proposal.change), "state": proposal.state, "yes": list(proposal.yes),
        "missing": [name for name in able if name not in yes] if proposal.passed is None else [],
        "more": max(0, authority.council.threshold - len(yes)) if proposal.passed is None else 0,
        "passed": proposal.passed.hex() if proposal.passed is not None else None, "impossible": impossible,
        "time_ms": entry.time_ms if entry is not None else None,
    }  # fmt: skip


def _nothing_view(ledger: Ledger, entry: Any, act: Any, why: str) -> dict[str, Any]:
    return {
        "id": entry.id.hex(), "short": short_id(ledger, entry.id), "author": author_view(ledger.authority, entry.key),
        "what": "" if act is None else act_sentence(entry.body), "why": why,
    }  # fmt: skip


# -- what would change --------------------------------------------------------------------------------


def moved_view(ledger: Ledger, row: Moved) -> dict[str, Any]:
    """A log of which another part would count."""
    return {
        **author_view(ledger.authority, row.standing.key), "counts": row.now, "stays": row.then, "void": row.void,
        "ended": row.cutoff is not None, "certified": row.certified,
    }  # fmt: skip


def say_moved(losses: Sequence[dict[str, Any]]) -> None:
    """Say what becomes of each log."""
    if not losses:
        say("  " + _("no log is ended by it"))
        return
    table((_("key"), _("rank"), _("who"), _("stays"), _("becomes void"), _("certificate")), [
        (row["key"][:12], row["rank"], row["name"], row["stays"], row["void"],
         _("stays") if row["certified"] else _("falls"))
        for row in losses[:_ROWS_SHOWN]
    ])  # fmt: skip
    if len(losses) > _ROWS_SHOWN:
        say(_("and {count} more").format(count=len(losses) - _ROWS_SHOWN))


def confirmed(args: argparse.Namespace) -> bool:
    """Whether the person agrees; where there is no terminal to ask on, they said so by running the command."""
    if args.yes or not sys.stdin.isatty():
        return True
    sys.stderr.write(_("Sign this? [y/N] "))
    sys.stderr.flush()
    return sys.stdin.readline().strip().casefold() in _YES


# -- writing ------------------------------------------------------------------------------------------


def propose(args: argparse.Namespace) -> int:
    """`council propose`: refuses what cannot pass; exit 1 when the person does not agree."""
    with open_reader(home_of(args)) as ledger:
        with misuse():
            change = _change(args, ledger)
            act = Propose(change)
            body = encode_act(act)
        owner = _speaker(args, ledger.authority)
        why = why_not_change(ledger.authority, change) or _proposed_already(ledger, change)
        if why is not None:
            raise NoEffectError(why)
        after = would_pass(ledger, owner, act, change, ())
        losses = [moved_view(ledger, row) for row in moved(ledger, after)]
        able = voters(ledger.authority, change)
        name = ledger.authority.council.roots[owner].name
        more = ledger.authority.council.threshold - (name in able)
    if not args.json:
        say(_("{agency} proposes: {what}").format(agency=name, what=change_sentence(change)))
        _say_cutoffs(change)
        say_moved(losses)
    answer = {"what": change_sentence(change), "would_change": losses, "more": more}
    return _sign(args, body, (), answer, _("others agree with: hamkor council approve {id} --key ROOT.key"))


def _speaker(args: argparse.Namespace, authority: Authority) -> PublicKey:
    public = read_owner(args.key).public
    why = why_not_speak(authority, public)
    if why is not None:
        raise NoEffectError(why)
    return public


def _proposed_already(ledger: Ledger, change: Change) -> str | None:
    for item in ledger.authority.council.proposals:
        if item.passed is None and item.change == change:
            return _("that is proposed already: hamkor council approve {id}").format(id=short_id(ledger, item.id))
    return None


def _change(args: argparse.Namespace, ledger: Ledger) -> Change:
    if args.what == "threshold":
        return Threshold(args.number)
    if args.what == "remove":
        return Remove(args.agency, _cutoffs(args, ledger))
    card = read_card(args.card)
    if card.rank != "agency":
        raise UsageError(_("{file} is the card of {rank} {name}, not of an agency").format(
            file=args.card, rank=card.rank, name=card.name))  # fmt: skip
    if args.what == "admit":
        return Admit(Agency(card.agency, card.name, card.key))
    if card.agency != args.agency:
        raise UsageError(_("the card is of {other}, not of {agency}").format(other=card.agency, agency=args.agency))
    member = ledger.authority.council.members.get(args.agency)
    old = member.key if member is not None else card.key
    seq, last = _last_of(ledger, old, args.last)
    return Rekey(args.agency, card.key, seq, last)


def _cutoffs(args: argparse.Namespace, ledger: Ledger) -> tuple[Cutoff, ...]:
    """For every key of the agency the end of its log as it is held here, or what --cutoff says."""
    said: dict[PublicKey, str] = {}
    for given in args.cutoff:
        name, _equals, entry = given.partition("=")
        said[one_standing(ledger.authority, name).key] = entry
    keys = sorted(key for key, item in ledger.authority.standings.items() if item.agency == args.agency)
    for key in said:
        if key not in keys:
            raise UsageError(_("key {key} is not of {agency}").format(key=key.hex()[:12], agency=args.agency))
    return tuple(Cutoff(key, *_last_of(ledger, key, said.get(key))) for key in keys)


def _last_of(ledger: Ledger, key: PublicKey, given: str | None) -> tuple[int, EntryId | None]:
    """(seq, id) of the last entry of a log that is to count: the one that is given, or the last held that counts."""
    if given == "none":
        return 0, None
    if given is not None:
        entry = entry_of(ledger, key, given)
        return entry.seq, entry.id
    log = ledger.log(key)
    return (log.size - 1, log.id) if log is not None and log.size else (0, None)


def entry_of(ledger: Ledger, key: PublicKey, prefix: str) -> Entry:
    """The entry of that log whose id begins so. Raises UsageError."""
    with misuse():
        found = [entry for known in ledger.ids_with(prefix) if (entry := ledger.entry(known)) and entry.key == key]
    if len(found) != 1:
        raise UsageError(_("{digits} is no entry of log {key} that is held here (hamkor log --key)").format(
            digits=prefix, key=key.hex()[:12]))  # fmt: skip
    return found[0]


def _say_cutoffs(change: Change) -> None:
    cutoffs = change.cutoffs if isinstance(change, Remove) else ()
    for cutoff in cutoffs:
        last = _("nothing counts") if cutoff.id is None else _("counts up to entry {seq}").format(seq=cutoff.seq)
        say(f"  {cutoff.key.hex()[:12]}: {last}" + (f"  {cutoff.id.hex()[:12]}" if cutoff.id is not None else ""))


def approve(args: argparse.Namespace) -> int:
    """`council approve`: refuses a yes that would not count."""
    with open_reader(home_of(args)) as ledger:
        proposal = _proposal(ledger, args.id)
        if proposal is None:
            raise UsageError(_("there is no such proposal here; see: hamkor council list"))
        owner = _speaker(args, ledger.authority)
        name = ledger.authority.council.roots[owner].name
        able = voters(ledger.authority, proposal.change)
        if proposal.passed is not None:
            raise NoEffectError(_("it has passed already"))
        if name in proposal.yes:
            raise NoEffectError(_("{agency} has said yes to it already").format(agency=name))
        if name not in able:
            raise NoEffectError(_("it is about {agency} itself, whose yes is not counted").format(agency=name))
        why = why_not_change(ledger.authority, proposal.change)
        if why is not None:
            raise NoEffectError(why)
        after = would_pass(ledger, owner, Approve(proposal.id), proposal.change, proposal.yes)
        losses = [moved_view(ledger, row) for row in moved(ledger, after)]
        yes = sum(said in able for said in proposal.yes) + 1
        more = max(0, ledger.authority.council.threshold - yes)
        what = change_sentence(proposal.change)
    if not args.json:
        say(_("{agency} says yes to: {what}").format(agency=name, what=what))
        _say_cutoffs(proposal.change)
        say_moved(losses)
    body = encode_act(Approve(proposal.id))
    answer = {"proposal": proposal.id, "what": what, "would_change": losses, "more": more}
    return _sign(args, body, (proposal.id,), answer, _("it has passed, once others hold this") if not more else "")


def _sign(
    args: argparse.Namespace, body: bytes, refs: Sequence[EntryId], answer: dict[str, Any], told: str
) -> int:  # fmt: skip
    if not confirmed(args):
        note(_("nothing was signed"))
        return 1
    signer, _owner = unlock(args, args.key, "agency")
    with open_node(home_of(args)) as node:
        known = write(node, signer, cast("Path", args.key), "act", [("act", body, tuple(refs))])[0]
    if args.json:
        print_json({**cast("dict[str, Value]", answer), "id": known})
        return 0
    more = answer["more"]
    say(f"{known.hex()[:12]}  " + (_("{count} more must agree").format(count=more) if more else _("enough agree")))
    if told:
        say(told.format(id=known.hex()[:12]))
    return 0
