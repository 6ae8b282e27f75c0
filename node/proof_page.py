"""The page of a proof: what it says, for a person who looks at it or prints it (SPEC.md 8.6).

Everything on it comes from the proof itself, as it was checked when the page was made. Nobody signs the page, and it
says so: what counts is what the checking program says. The payload goes where BEGIN and END stand, at the end.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from node.page import escaped, section, table, when_of, whole_page, zone_of
from node.render import lines_of
from node.words import noted
from protocol.proof import BEGIN, END

Translate = Callable[[str], str]
_SHORT: Final = 12  # digits of an id where it is not the point
_UNPROVEN: Final = (
    noted("That nothing else exists: a revocation, a later step, or another version of a log that is left out here."
          " An audit of a whole ledger shows that (hamkor audit)."),
    noted("When things happened: every time here is what the writer's own clock said. What is sure is the order within"
          " one log, and that what a checkpoint attests was written before the checkpoint."),
    noted("That what was written is true: a proof shows who said it, not that it is so."),
    noted("This page: nobody signed it. It is changed as easily as any file; the checking program tells when it was."),
)  # fmt: skip
_RANKS: Final = {
    "agency": noted("root key of {agency}"), "admin": noted("admin {name} of {agency}"),
    "node": noted("node {name} of {agency}"), "officer": noted("officer {name} of {agency}"),
}  # fmt: skip


def render_proof(view: Mapping[str, Any], file: str, translate: Translate, lang: str) -> str:
    """The page. view: of `proof_view`; file: the name under which the proof will be checked. O(entries)."""
    _ = translate
    title = _("Proof of the {type} {id}").format(type=view["type"], id=view["record"][:_SHORT])
    parts = [
        _head(view, title, _),
        section(_("How to check this"), _how(file, _)),
        section(_("What the record says"), _says(view, _)),
        section(_("What happened to it"), _steps(view, _)),
        section(_("Who signed, and under what authority"), _people(view, _)),
        section(_("Who attests it"), _attested(view, _)),
        section(_("What remains unproven"), _unproven(view, _)),
        section(_("What was signed"), _ids(view, _)),
        (BEGIN + END).decode(),
    ]
    return whole_page(title, lang, parts)


def _head(view: Mapping[str, Any], title: str, _: Translate) -> str:
    created = view["created"]
    made = _("written by {who} on {time}, in the network {network}").format(
        who=who(created, _), time=when_of(created["time_ms"]), network=view["network"]
    )
    lines = [f"<h1>{escaped(title)}</h1>", f'<p class="made">{escaped(made)}</p>']
    if view["summary"]:
        lines.append(f"<p><bdi>{escaped(view['summary'])}</bdi></p>")
    if view["retracted"] is not None:
        lines.append(_warning(_("The record was retracted: {reason}").format(reason=view["retracted"])))
    if view["verdict"] != "proven":
        lines.append(_warning(shortfall(view, _)))
    return "\n".join(lines)


def _warning(text: str) -> str:
    return f'<div class="warning" role="note"><strong>{escaped(text)}</strong></div>'


def shortfall(view: Mapping[str, Any], _: Translate) -> str:
    """What is missing for the record to be proven, in a sentence."""
    agencies = view["created"]["agencies"]
    told = _("Not proven: its creation is attested by nodes of {count} agencies ({names}); {threshold} are needed.")
    return told.format(count=len(agencies), names=", ".join(agencies) or "–", threshold=view["threshold"])


def attested_by(view: Mapping[str, Any], _: Translate) -> str:
    """Who attests a record that is proven, in a sentence."""
    told = _("Its creation is attested by nodes of {count} agencies ({names}); {threshold} are needed.")
    agencies = view["created"]["agencies"]
    return told.format(count=len(agencies), names=", ".join(agencies), threshold=view["threshold"])


def who(item: Mapping[str, Any], _: Translate) -> str:
    """An author: name and agency, or the root key."""
    name = item["name"] or _("root key {key}").format(key=item["key"][:_SHORT])
    return f"{name} ({item['agency']})"


def _how(file: str, _: Translate) -> str:
    given = _("You need the charter of the network from a source that you trust; compare its network id. Then, with"
              " hamkor or with the single file verify_proof.py (Python and PyNaCl), without a network:")  # fmt: skip
    quoted = _quoted(file)
    typed = (f"hamkor verify {quoted} --charter CHARTER", f"python verify_proof.py {quoted} CHARTER")
    commands = "".join(f"<li><code>{escaped(command)}</code></li>" for command in typed)
    told = _("Either prints proven, or why not. What this page says counts only when the program has said so.")
    return f"<p>{escaped(given)}</p><ul>{commands}</ul><p>{escaped(told)}</p>"


def _quoted(file: str) -> str:
    return file if file.replace("-", "").replace("_", "").replace(".", "").isalnum() else f"'{file}'"


def _says(view: Mapping[str, Any], _: Translate) -> str:
    rows = []
    for item in view["fields"]:
        for said in item["values"]:
            value = _("removed") if said["value"] is None else _lines(said["value"])
            rows.append((escaped(item["field"]), escaped(value), escaped(who(said, _)), when_of(said["time_ms"])))
    notes = [_("The field {field} is in conflict: several values stand.").format(field=item["field"])
             for item in view["fields"] if len(item["values"]) > 1]  # fmt: skip
    if view["proposals"]:
        told = _("changes that another agency proposed and nobody answered: {count}")
        notes.append(told.format(count=view["proposals"]))
    if view["tags"]:
        notes.append(_("tags: {tags}").format(tags=", ".join(view["tags"])))
    notes += [_("file: {name} ({size} B), SHA-256 {hash}").format(
        name=item.get("name"), size=item.get("size"), hash=item.get("sha256")) for item in view["files"]]  # fmt: skip
    notes += [f"→ {link}" for link in view["links"]]
    more = "".join(f'<p class="note">{escaped(text)}</p>' for text in notes)
    return table((_("field"), _("value"), _("who"), _("when")), rows, ("", "w", "", "s")) + more


def _lines(value: object) -> str:
    """A value; of a nested one a line for each part."""
    if isinstance(value, Mapping | list):
        return "\n".join(f"{name}: {text}" for name, text in lines_of(value, ""))  # type: ignore[arg-type]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _steps(view: Mapping[str, Any], _: Translate) -> str:
    created = view["created"]
    rows = [(when_of(created["time_ms"]), escaped(who(created, _)), escaped(_("created")), "", _names(created))]
    for step in view["steps"]:
        what = step.get("step", "") + (f" [{_(step['state'])}]" if step["state"] else "")
        rows.append((
            when_of(step["time_ms"]), escaped(who(step, _)), escaped(what), escaped(step_text(step, _)), _names(step),
        ))  # fmt: skip
    head = (_("when"), _("who"), _("step"), _("what"), _("attested by"))
    return table(head, rows, ("s", "", "", "w", ""))


def step_text(step: Mapping[str, Any], _: Translate) -> str:
    """What a step says, a line for each field."""
    if step["state"] == "withheld":
        return _("its content is withheld; that it was signed is proved all the same")
    lines = [
        f"{item['field']}: {_('removed') if item.get('removed') else _lines(item['value'])}" for item in step["changes"]
    ]
    return "\n".join([*lines, *(f"{name}: {_lines(value)}" for name, value in step["fields"].items())])


def _names(item: Mapping[str, Any]) -> str:
    return escaped(", ".join(item["agencies"]) or "–")


def _people(view: Mapping[str, Any], _: Translate) -> str:
    rows = []
    for person in view["people"]:
        lines = chain_lines(person, _)
        ended = person["ended"]
        if ended is not None:
            last = _("none of its entries counts") if ended["seq"] is None else _(
                "its log counts up to entry {seq}").format(seq=ended["seq"])  # fmt: skip
            lines.append(" – ".join(text for text in (last, ended["reason"]) if text))
        rows.append((escaped(who(person, _)), f"<code>{person['key']}</code>", escaped("\n".join(lines))))
    decided = _("The council decided: {change} ({names})")
    told = "".join(
        f'<p class="note">{escaped(decided.format(change=item["change"], names=", ".join(item["agencies"])))}</p>'
        for item in view["council"]
    )
    return table((_("who"), _("key"), _("authority, up to the charter")), rows, ("", "", "w")) + told


def chain_lines(person: Mapping[str, Any], _: Translate) -> list[str]:
    """The certificates from a key up to its agency's root key, a line for each."""
    lines = []
    for step in person["chain"]:
        line = _(_RANKS[step["rank"]]).format(name=step["name"], agency=step["agency"])
        if step["rank"] == "agency":
            told = _("named in the charter") if step["founding"] else _("named by the council")
            lines.append(f"{line}, {step['name']}: {told}")
        else:
            lines.append(_("{who}: certified on {date}").format(who=line, date=when_of(step["time_ms"])[:10]))
    return lines


def _attested(view: Mapping[str, Any], _: Translate) -> str:
    rows = [
        (
            escaped(who(item, _)), when_of(item["time_ms"]), f"{item['covers']} / {item['of']}",
            f"<code>{item['id'][:_SHORT]}</code>", f"<code>{item['root'][:_SHORT]}</code>", escaped(item["entries"]),
        )
        for item in view["attested"]
    ]  # fmt: skip
    verdict = shortfall(view, _) if view["verdict"] != "proven" else attested_by(view, _)
    zone = _("Times are of the zone {zone}.").format(zone=zone_of(view["created"]["time_ms"]))
    clocks = _("Each time is what that node's clock said.")
    head = (_("node"), _("when"), _("covers"), _("checkpoint"), _("ledger root"), _("entries"))
    kinds: Sequence[str] = ("", "s", "s", "", "", "n")
    drawn = table(head, rows, kinds) if rows else ""
    return f'<p>{escaped(verdict)}</p>{drawn}<p class="note">{escaped(clocks)} {escaped(zone)}</p>'


def _unproven(view: Mapping[str, Any], _: Translate) -> str:
    lines = [_(text) for text in _UNPROVEN]
    withheld = sum(step["state"] == "withheld" for step in view["steps"])
    if withheld:
        lines.insert(0, _("What {count} steps say: their content is withheld.").format(count=withheld))
    late = [step for step in (view["created"], *view["steps"]) if len(step["agencies"]) < view["threshold"]]
    if late:
        told = _("That others had them: {count} of {total} entries are attested by fewer than {threshold} agencies.")
        lines.insert(0, told.format(count=len(late), total=1 + len(view["steps"]), threshold=view["threshold"]))
    if view["files"]:
        lines.append(_("The content of attached files: compare their SHA-256 with what you were given."))
    return "<ul>" + "".join(f"<li>{escaped(line)}</li>" for line in lines) + "</ul>"


def _ids(view: Mapping[str, Any], _: Translate) -> str:
    rows = [(escaped(_("network id")), f"<code>{view['network_id']}</code>")]
    rows.append((escaped(_("record")), f"<code>{view['record']}</code>"))
    rows += [(escaped(step.get("step") or _("withheld")), f"<code>{step['id']}</code>") for step in view["steps"]]
    told = _("Each id is the SHA-256 of an entry with its signature; the network id that of the charter.")
    return table((_("what"), "id"), rows, ("", "w")) + f'<p class="note">{escaped(told)}</p>'
