"""Who counts and why, what a key has done, and how a key is ended."""

import argparse
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from keys.errors import UsageError
from keys.keyfile import read_owner
from keys.signing import PublicKey
from ledger.authority import Authority, Standing
from ledger.effect import Moved, if_root_ended, moved, why_not_revoke, with_acts
from ledger.handling import record_marks
from ledger.knowledge import causal_past, known_authority, unknown_acts
from ledger.query import parse_query
from ledger.stolen import changed_records, entries_of
from ledger.store import Ledger
from ledger.view import entry_view, plain, short_id, standing_view
from node.client import open_node, write
from node.clock import wall_ms
from node.commands.common import home_of, misuse, unlock
from node.commands.council import NoEffectError, confirmed, entry_of, moved_view, say_moved
from node.commands.exporting import open_reader
from node.commands.purpose import consult, tell_masked
from node.desk import one_standing
from node.direct import up_to_date
from node.masking import hide, record_of
from node.render import entry_line, note, print_json, red, say, table, when, who_of
from node.words import _
from protocol.acts import Revoke, encode_act
from protocol.codec import Value
from protocol.entry import Entry, EntryId, entry_id

_NEWEST: Final = 20
_RECORDS_SHOWN: Final = 20


# -- who counts ---------------------------------------------------------------------------------------


def authority(args: argparse.Namespace) -> int:
    """`authority`: exit 1 when --at names no entry."""
    with open_reader(home_of(args)) as ledger:
        standing = ledger.authority
        answer: dict[str, Any] = {}
        if args.at:
            with misuse():
                found = ledger.ids_with(args.at, 2)
            entry = ledger.entry(found[0]) if len(found) == 1 else None
            if entry is None:
                note(_("there is no such entry here, or several begin so"))
                return 1
            past = causal_past(ledger, entry)
            standing = known_authority(ledger, past)
            missed = [_act_view(ledger, act.id) for act in unknown_acts(ledger, past, entry.key)]
            acts = sum(act.seq >= past.get(act.key, 0) for act in ledger.acts)
            answer = {"at": entry_view(ledger, entry), "knew": sum(past.values()), "logs": len(past), "missed": missed,
                      "acts_not_known": acts}  # fmt: skip
        answer |= _table_of(ledger, standing)
    if args.json:
        print_json(answer)
    else:
        _say_authority(answer)
    return 0


def _act_view(ledger: Ledger, known: EntryId) -> dict[str, Any]:
    entry = ledger.entry(known)
    return entry_view(ledger, entry) if entry is not None else {"id": known.hex()}


def _table_of(ledger: Ledger, standing: Authority) -> dict[str, Any]:
    members = sorted(standing.council.members.items())
    return {
        "threshold": standing.council.threshold,
        "members": [{"name": name, "title": item.title, "key": item.key} for name, item in members],
        "keys": [standing_view(ledger, item, standing) for item in _in_order(standing)],
        "units": [
            {"unit": name, "title": item.title, "regions": list(item.regions)}
            for name, item in sorted(standing.units.items())
        ],
    }  # fmt: skip


def _in_order(standing: Authority) -> list[Standing]:
    ranks = ("agency", "admin", "node", "officer")
    return sorted(standing.standings.values(), key=lambda item: (item.agency, ranks.index(item.rank), item.name))


def _say_authority(answer: dict[str, Any]) -> None:
    if "at" in answer:
        at = answer["at"]
        say(_("as {who} could know it when writing {id} at {time}:").format(
            who=who_of(at), id=at["short"], time=when(at["time_ms"])))  # fmt: skip
    names = ", ".join(item["name"] for item in answer["members"])
    say(_("{threshold} of {count} agencies decide: {names}").format(
        threshold=answer["threshold"], count=len(answer["members"]), names=names))  # fmt: skip
    table((_("agency"), _("rank"), _("who"), _("unit"), _("roles"), _("key"), _("ended")), [
        (row["agency"], row["rank"], row["name"], row["unit"], ", ".join(row["roles"]), row["key"][:12],
         ended_words(row["ended"]))
        for row in answer["keys"]
    ])  # fmt: skip
    for unit in answer["units"]:
        say(f"{unit['unit']}: {unit['title']}, {', '.join(unit['regions']) or '-'}")
    if "at" not in answer:
        return
    if answer["missed"]:
        say()
        say(red(_("what its writer did not know, and what is about them:")))
        for act in answer["missed"]:
            entry_line(act)
    say(_("{count} acts that are held here were not known to that writer").format(count=answer["acts_not_known"]))


def ended_words(ended: dict[str, Any] | None) -> str:
    """Where a log ends, and by whom."""
    if ended is None:
        return ""
    by = ended["by"]["name"] if ended["by"] is not None else _("the council")
    if ended["seq"] is None:
        return _("nothing counts (by {who}, {time})").format(who=by, time=when(ended["time_ms"]))
    return _("after entry {seq} (by {who}, {time})").format(seq=ended["seq"], who=by, time=when(ended["time_ms"]))


def who(args: argparse.Namespace) -> int:
    """`who`: the chain from a key up to the charter, and what became of it. Exit 1 when nobody fits."""
    with open_node(home_of(args)) as node:
        chains = node.ask("who", name=args.name)
    if args.json:
        print_json(chains)
        return 0 if chains else 1
    rows: list[tuple[object, ...]] = []
    told: list[str] = []
    for chain in chains if isinstance(chains, list) else []:
        for depth, item in enumerate(_maps(chain)):
            by = "" if depth == 0 else _("certified by ")
            rows.append((
                "  " * depth + by + item["name"], _(item["rank"]), item["agency"], item["unit"],
                ", ".join(item["roles"]), item["key"][:16], item["counts"],
            ))  # fmt: skip
            if depth == 0:
                told += _became(item)
    if not rows:
        note(_("nobody known here is so named"))
        return 1
    table((_("who"), _("rank"), _("agency"), _("unit"), _("roles"), _("key"), _("entries")), rows)
    for line in told:
        say(line)
    return 0


def _became(item: dict[str, Any]) -> list[str]:
    """What became of a key, a line each."""
    lines = []
    name = f"{item['name'] or '-'} ({item['key'][:12]})"
    if item["ended"] is not None:
        reason = f": {item['ended']['reason']}" if item["ended"]["reason"] else ""
        lines.append(red(_("{who}: ended, {how}").format(who=name, how=ended_words(item["ended"])) + reason))
    if item["rank"] == "uncertified":
        lines.append(red(_("{who}: no certificate of it counts any longer").format(who=name)))
    if item["forked_at"] is not None:
        lines.append(red(_("{who}: signed two entries at place {seq} (hamkor forks)").format(
            who=name, seq=item["forked_at"])))  # fmt: skip
    return lines + [
        red(_("{who}: {count} entries are {state}").format(who=name, count=item[word], state=_(word)))
        for word in ("void", "disputed", "uncertified") if item[word]
    ]  # fmt: skip


def _maps(value: Value) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


# -- revoking -----------------------------------------------------------------------------------------


def revoke(args: argparse.Namespace) -> int:
    """`revoke`: says what becomes void, asks, signs. Refuses what would change nothing."""
    actor_key = read_owner(args.key).public
    with open_reader(home_of(args)) as ledger:
        subject = _meant(ledger, args.name)
        seq, last = _cutoff(ledger, subject, args)
        with misuse():
            act = Revoke(subject.key, seq, last, args.reason)
            body = encode_act(act)
        why = why_not_revoke(ledger, ledger.authority.of(actor_key), act)
        if why is not None:
            raise NoEffectError(why)
        losses = [moved_view(ledger, row) for row in moved(ledger, with_acts(ledger, [(actor_key, act)]))]
        log = ledger.log(subject.key)
        endorses = log is not None and log.forked_at is not None and last is not None and seq >= log.forked_at
    if not args.json:
        where = _("nothing counts") if last is None else _("counts up to entry {seq}").format(seq=seq)
        say(_("{name} ({rank}, {agency}), key {key}: {where}").format(
            name=subject.name, rank=subject.rank, agency=subject.agency, key=subject.key.hex()[:12],
            where=where))  # fmt: skip
        if endorses:
            say(_("its log is forked: this endorses the branch of that entry, and the other becomes void"))
        say_moved(losses)
    if not confirmed(args):
        note(_("nothing was signed"))
        return 1
    signer, _owner = unlock(args, args.key, "agency", "admin")
    with open_node(home_of(args)) as node:
        known = write(node, signer, args.key, "act", [("act", body, ())])[0]
    if args.json:
        print_json({"id": known, "subject": subject.key, "seq": seq, "last": last, "endorses": endorses,
                    "changes": losses})  # fmt: skip
        return 0
    say(f"{known.hex()[:12]}  " + _("{name} writes no more with that key").format(name=subject.name))
    if subject.rank == "node":
        say(_("the node makes a new key (hamkor rekey); then: hamkor certify NEW.card --key {key}").format(
            key=args.key))  # fmt: skip
    else:
        say(_("a new key: hamkor rekey --key OLD.key -o NEW.key; then: hamkor certify NEW.card --key {key}").format(
            key=args.key))  # fmt: skip
    return 0


def _meant(ledger: Ledger, name: str) -> Standing:
    """The key that is meant; of several with one name, the one that still writes."""
    authority = ledger.authority
    writing = replace(authority, standings={
        key: item for key, item in authority.standings.items() if item.ended is None
    })  # fmt: skip
    try:
        return one_standing(writing, name)
    except UsageError:
        return one_standing(authority, name)


def _cutoff(ledger: Ledger, subject: Standing, args: argparse.Namespace) -> tuple[int, EntryId | None]:
    """(seq, id) of the last entry that is to count. Raises UsageError where a fork leaves that open."""
    if args.all:
        return 0, None
    log = ledger.log(subject.key)
    forked_at = log.forked_at if log is not None else None
    if args.last:
        if forked_at is not None and (proved := _proved(ledger, subject.key, args.last)) is not None:
            return forked_at, proved
        entry = entry_of(ledger, subject.key, args.last)
        return entry.seq, entry.id
    if forked_at is not None:
        below = ledger.ids_at(subject.key, [forked_at - 1])
        raise UsageError(_(
            "the log of {name} forks at entry {seq}: say with --last which entry is the last to count: {below} (below"
            " the fork), or one on the branch that is right, of {branches}"
        ).format(
            name=subject.name, seq=forked_at, below=below[0][1].hex()[:12] if below else "-",
            branches=", ".join(known.hex()[:12] for known in _branches(ledger, subject.key)),
        ))  # fmt: skip
    return (log.size - 1, log.id) if log is not None and log.size else (0, None)


def _branches(ledger: Ledger, key: PublicKey) -> list[EntryId]:
    """The two entries at the fork, and the last that is held on the branch that the log follows."""
    proof = ledger.fork(key)
    found = [entry_id(*side) for side in (proof.first, proof.second)] if proof is not None else []
    log = ledger.log(key)
    tip = ledger.ids_at(key, [log.held - 1]) if log is not None else []
    return list(dict.fromkeys([*found, *(known for _seq, known in tip)]))


def _proved(ledger: Ledger, key: PublicKey, prefix: str) -> EntryId | None:
    """An entry at the fork that only its proof names."""
    proof = ledger.fork(key)
    sides = [entry_id(*side) for side in (proof.first, proof.second)] if proof is not None else []
    return next((known for known in sides if known.hex().startswith(prefix.lower())), None)


# -- a stolen key -------------------------------------------------------------------------------------


def stolen(args: argparse.Namespace) -> int:
    """`stolen`: what a key could read, what it signed, and what a revocation would change. Signs nothing."""
    home = home_of(args)
    with open_reader(home) as ledger:
        search = up_to_date(home, ledger)
        subject = _meant(ledger, args.name)
        since_ms = _since_ms(args.since) if args.since else None
        seq, last = _proposed_end(ledger, subject, since_ms, args)
        answer = _signed(ledger, subject, since_ms if since_ms is not None else 0)
        answer |= {
            "key": standing_view(ledger, subject),
            "chain": [standing_view(ledger, step) for step in ledger.authority.chain(subject.key)],
            "could_read": {"records": sum(count for name, count in search.counts().items() if name),
                           "files": len(search.attached(ledger, -1))},
            "cutoff": {"seq": seq if last is not None else None, "id": last},
            "command": _command(subject, last),
        }  # fmt: skip
        ended = _would_end(ledger, subject, seq, last)
        answer["void"] = [moved_view(ledger, row) for row in ended]
        lost = [entry for row in ended for entry in entries_of(ledger, row)]
        changes, more = changed_records(ledger, search, lost)
        answer["records"] = [
            {"id": change.record.hex(), "short": short_id(ledger, change.record), "type": change.type,
             "gone": change.gone, "steps": change.steps,
             "fields": {name: {"now": plain(now), "then": plain(then)} for name, (now, then) in change.fields.items()}}
            for change in changes
        ]  # fmt: skip
        answer["more_records"] = more
        rows = [row for row in answer["newest"] if row["kind"] in ("record", "step")] + answer["records"]
        marks = record_marks(ledger, search, [bytes(record_of(row)) for row in rows])
        for row in rows:
            row["marked"] = marks[bytes(record_of(row))]
    marked = [row for row in rows if row["marked"]]
    if not consult(args, {record_of(row) for row in marked}):
        _hide(answer)
    if args.json:
        print_json(answer)
    else:
        _say_stolen(answer)
        tell_masked(marked)
    return 0


def _hide(answer: dict[str, Any]) -> None:
    """Take the content of marked records out of it: what changes is named, and not what it says."""
    for row in answer["newest"]:
        if row["marked"]:
            hide(row)
    for row in answer["records"]:
        if row["marked"]:
            row |= {"fields": {name: {"now": "", "then": ""} for name in row["fields"]}, "masked": True}


def _since_ms(text: str) -> int:
    found = parse_query(f"since:{text}", wall_ms()).since_ms
    return found if found is not None else 0


def _proposed_end(
    ledger: Ledger, subject: Standing, since_ms: int | None, args: argparse.Namespace
) -> tuple[int, EntryId | None]:
    """(seq, id) of the last entry that would count: as given, or the last before `since_ms`, or the last held."""
    if args.last:
        entry = entry_of(ledger, subject.key, args.last)
        return entry.seq, entry.id
    found: tuple[int, EntryId | None] = (0, None)
    for entry in _log_of(ledger, subject.key):
        if since_ms is not None and entry.time_ms >= since_ms:
            break
        found = entry.seq, entry.id
    return found


def _log_of(ledger: Ledger, key: PublicKey) -> Iterable[Entry]:
    """What counts of a log, in order."""
    size, seq = ledger.heads.get(key).size, 0
    while seq < size:
        page = ledger.log_entries(key, seq, min(1000, size - seq))
        yield from (item.entry for item in page)
        seq += len(page) or size


def _signed(ledger: Ledger, subject: Standing, since_ms: int) -> dict[str, Any]:
    """What was signed since then: by day and kind, and the newest entries."""
    days: Counter[tuple[str, str]] = Counter()
    newest: list[Entry] = []
    count = 0
    for entry in _log_of(ledger, subject.key):
        if entry.time_ms >= since_ms:
            days[(when(entry.time_ms)[:10], entry.kind)] += 1
            newest = [*newest[-_NEWEST + 1 :], entry]
            count += 1
    return {
        "signed": count, "since_ms": since_ms,
        "by_day": [{"day": day, "kind": kind, "count": count} for (day, kind), count in sorted(days.items())],
        "newest": [entry_view(ledger, entry) for entry in reversed(newest)],
    }  # fmt: skip


def _would_end(ledger: Ledger, subject: Standing, seq: int, last: EntryId | None) -> list[Moved]:
    """What becomes void by that cutoff: of the log itself, and of the logs that rest on certificates in it."""
    if subject.rank == "agency":
        return moved(ledger, if_root_ended(ledger, subject.key, seq, last))
    root = ledger.authority.chain(subject.key)[-1].key
    return moved(ledger, with_acts(ledger, [(root, Revoke(subject.key, seq, last, ""))]))


def _command(subject: Standing, last: EntryId | None) -> str:
    if subject.rank == "agency":
        end = f" --last {last.hex()}" if last is not None else " --last none"
        return f"hamkor council propose rekey {subject.agency} NEW.card{end} --key ROOT.key"
    end = f"--last {last.hex()}" if last is not None else "--all"
    return f"hamkor revoke {subject.key.hex()} {end} --reason {shlex.quote('stolen')} --key {subject.agency}.key"


def _say_stolen(answer: dict[str, Any]) -> None:
    key = answer["key"]
    say(_("{name}, {rank} of {agency}, key {key}").format(
        name=key["name"], rank=key["rank"], agency=key["agency"], key=key["key"]))  # fmt: skip
    for step in answer["chain"][1:]:
        say("  " + _("certified by ") + f"{step['name']} ({step['rank']}, {step['key'][:12]})")
    for line in _became(key):
        say("  " + line)
    say(_("It could read: nothing is encrypted to readers, so a node or an officer at one could read all that this"
          " network holds: {records} records, {files} attached files.").format(**answer["could_read"]))  # fmt: skip
    since = when(answer["since_ms"]) if answer["since_ms"] else _("the beginning")
    say(_("It signed {count} entries since {since}.").format(count=answer["signed"], since=since))
    if answer["by_day"]:
        rows = [(row["day"], row["kind"], row["count"]) for row in answer["by_day"]]
        table((_("day"), _("kind"), _("entries")), rows)
        for entry in answer["newest"]:
            entry_line(entry)
    cutoff = answer["cutoff"]
    end = _("nothing counts") if cutoff["seq"] is None else _("counts up to entry {seq}").format(seq=cutoff["seq"])
    say(_("If it is ended so that of its log {where}:").format(where=end))
    say_moved(answer["void"])
    _say_records(answer)
    say(_("Nothing was signed. To revoke it so:"))
    say("  " + answer["command"])


def _say_records(answer: dict[str, Any]) -> None:
    gone = [row for row in answer["records"] if row["gone"]]
    changed = [row for row in answer["records"] if row["fields"]]
    told = _("{gone} records would not count any longer, {changed} would say something else, {steps} steps would fall")
    say(told.format(
        gone=len(gone), changed=len(changed), steps=sum(row["steps"] for row in answer["records"])))  # fmt: skip
    for row in [*gone, *changed][:_RECORDS_SHOWN]:
        say(f"  {row['short']}  {row['type']}" + (f"  {_('void')}" if row["gone"] else ""))
        for name, values in row["fields"].items():
            say(f"      {name}: {values['now']} → {values['then']}")
    if answer["more_records"] or len(gone) + len(changed) > _RECORDS_SHOWN:
        say("  " + _("and more; --json lists them"))
