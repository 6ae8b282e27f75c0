"""Acts by those who may not, and entries without standing, all correctly signed (SPEC.md 8.6, checks 6 and 7)."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from keys.signing import PublicKey
from protocol.acts import Act, Approve, Certify, Propose, Rekey, Remove, Revoke, Threshold, Unit
from protocol.entry import EntryId
from tests.proofs.damage import DAMAGES, damages, flip
from tests.proofs.world import Draft, Item, Person, Row, body_of, key_of

# -- 6 act -----------------------------------------------------------------------------------------------


def someone(draft: Draft, random: Random, *ranks: str, other: str | None = None) -> Person | None:
    """A person who may still write; not of agency `other`."""
    found = [one for one in draft.world.of(*ranks) if one.agency != other]
    return random.choice(found) if found else None


def stranger(random: Random) -> PublicKey:
    return key_of(f"stranger {random.getrandbits(6)}").public


def certificate(random: Random, agency: str) -> dict[str, Any]:
    return {
        "act": "certify", "agency": agency, "consent": None, "name": "A. Karimov", "rank": "officer", "roles": [],
        "subject": stranger(random), "unit": "",
    }  # fmt: skip


def _by(*ranks: str) -> Callable[[Callable[[Draft, Random, Person], Act | dict[str, Any] | None]], None]:
    """Register an act that somebody of these ranks writes, and that must be refused."""

    def add(made: Callable[[Draft, Random, Person], Act | dict[str, Any] | None]) -> None:
        def changed(draft: Draft, random: Random) -> bool | None:
            by = someone(draft, random, *ranks)
            act = made(draft, random, by) if by else None
            if by is None or act is None:
                return None
            draft.act(by, act)
            return True

        DAMAGES.append(("act", made.__name__, changed))

    return add


@_by("officer", "node")
def certified_by_an_officer(_: Draft, random: Random, by: Person) -> Act:
    return Certify(stranger(random), "officer", "A. Karimov", by.agency, "", ())


@_by("admin")
def admin_certified_by_an_admin(_: Draft, random: Random, by: Person) -> Act:
    return Certify(stranger(random), "admin", "A. Karimov", by.agency, "", ())


@_by("root", "admin")
def certified_for_another_agency(draft: Draft, random: Random, by: Person) -> Act | None:
    names = [name for name in (*draft.world.roots, "nobody") if name != by.agency]
    return Certify(stranger(random), "node", "A. Karimov", random.choice(names), "", ())


@_by("root")
def certified_twice(draft: Draft, random: Random, by: Person) -> Act | None:
    found = [one for one in draft.world.people if one.certificate]
    return Certify(random.choice(found).signer.public, "officer", "A. Karimov", by.agency, "", ())


@_by("root")
def root_key_certified(draft: Draft, random: Random, by: Person) -> Act:
    roots = [one for one in draft.world.people if one.rank == "root"]
    return Certify(random.choice(roots).signer.public, "officer", "A. Karimov", by.agency, "", ())


@_by("officer", "node")
def unit_by_an_officer(_: Draft, random: Random, __: Person) -> Act:
    return Unit("imt-4", "A team", ("UZ-SU",))


@_by("root", "admin")
def revoked_by_another_agency(draft: Draft, random: Random, by: Person) -> Act | None:
    found = [one for one in draft.world.people if one.certificate and one.agency != by.agency]
    return Revoke(random.choice(found).signer.public, 0, None, "") if found else None


@_by("admin")
def admin_revoked_by_an_admin(draft: Draft, random: Random, by: Person) -> Act:
    found = [one for one in draft.world.people if one.rank == "admin" and one.agency == by.agency]
    return Revoke(random.choice(found).signer.public, 1 << 40, EntryId(bytes(32)), "")


@_by("officer", "node")
def revoked_by_an_officer(draft: Draft, random: Random, by: Person) -> Act:
    return Revoke(by.signer.public, 1 << 40, EntryId(bytes(32)), "")


@_by("root")
def revoked_without_certificate(draft: Draft, random: Random, by: Person) -> Act:
    subject = random.choice((stranger(random), by.signer.public))
    return Revoke(subject, 1 << 40, EntryId(bytes(32)), "")


@_by("admin", "officer", "node")
def proposed_by_no_root(_: Draft, __: Random, ___: Person) -> Act:
    return Propose(Threshold(1))


@_by("root")
def approved_nothing(draft: Draft, random: Random, _: Person) -> Act:
    no_proposal = [item.row.id for item in draft.acts if body_of(item.row)["act"] != "propose"]
    return Approve(EntryId(random.choice([*no_proposal, random.randbytes(32)])))


@_by("admin", "officer", "node")
def approved_by_no_root(draft: Draft, random: Random, _: Person) -> Act | None:
    found = [item.row.id for item in draft.acts if body_of(item.row)["act"] == "propose"]
    return Approve(EntryId(random.choice(found))) if found else None


def _bodies() -> dict[str, Callable[[Random, str], dict[str, Any]]]:
    """Bodies that are no act of SPEC.md 4.3: from the agency of who signs."""
    cut = {"act": "revoke", "id": None, "reason": "", "seq": 0, "subject": bytes(32)}

    def proposal(change: Any) -> Callable[[Random, str], dict[str, Any]]:
        return lambda _, __: {"act": "propose", "change": change}

    def certify(**changes: Any) -> Callable[[Random, str], dict[str, Any]]:
        return lambda random, agency: {**certificate(random, agency), **changes}

    def unit(**changes: Any) -> Callable[[Random, str], dict[str, Any]]:
        return lambda _, __: {"act": "unit", "regions": ["UZ-SU"], "title": "A team", "unit": "imt-4", **changes}

    return {
        "no_act": lambda *_: {},
        "unknown_act": lambda *_: {"act": "crown"},
        "act_nil": lambda *_: {"act": None},
        "act_array": lambda *_: {"act": ["unit"]},
        "certify_field_more": certify(zone="UZ"),
        "certify_no_unit": lambda random, agency: {
            name: value for name, value in certificate(random, agency).items() if name != "unit"
        },
        "certify_rank_agency": certify(rank="agency"),
        "certify_subject_short": certify(subject=bytes(31)),
        "certify_consent_short": certify(consent=bytes(63)),
        "certify_name_empty": certify(name=""),
        "certify_name_of_201": certify(name="а" * 101),
        "certify_name_turned_round": certify(name="Karimov\u200f"),
        "certify_name_bytes": certify(name=b"Karimov"),
        "certify_unit_in_capitals": certify(unit="IMT"),
        "certify_roles_unsorted": certify(roles=["officer", "admin"]),
        "certify_roles_twice": certify(roles=["officer", "officer"]),
        "certify_role_unknown": certify(roles=["king"]),
        "certify_roles_text": certify(roles="admin"),
        "certify_agency_empty": certify(agency=""),
        "unit_region_lower": unit(regions=["uz-SU"]),
        "unit_region_long": unit(regions=["UZ-SURX"]),
        "unit_regions_twice": unit(regions=["UZ-SU", "UZ-SU"]),
        "unit_of_65_regions": unit(regions=[f"UZ-{at:03}" for at in range(65)]),
        "unit_without_code": unit(unit=""),
        "unit_title_with_tab": unit(title="A\tteam"),
        "revoke_reason_of_2001": lambda *_: {**cut, "reason": "a" * 2001},
        "revoke_reason_of_two_lines": lambda *_: {**cut, "reason": "a\nb"},
        "revoke_seq_without_id": lambda *_: {**cut, "seq": 1},
        "revoke_seq_negative": lambda *_: {**cut, "seq": -1, "id": bytes(32)},
        "revoke_seq_2_53": lambda *_: {**cut, "seq": 2**53, "id": bytes(32)},
        "revoke_id_short": lambda *_: {**cut, "id": bytes(31)},
        "revoke_seq_false": lambda *_: {**cut, "seq": False},
        "propose_two_changes": proposal({"admit": {}, "threshold": 1}),
        "propose_no_change": proposal({}),
        "propose_unknown_change": proposal({"crown": "mia"}),
        "propose_change_nil": proposal(None),
        "propose_threshold_0": proposal({"threshold": 0}),
        "propose_threshold_65": proposal({"threshold": 65}),
        "propose_threshold_text": proposal({"threshold": "1"}),
        "propose_admit_nil": proposal({"admit": None}),
        "propose_admit_untitled": proposal({"admit": {"key": bytes(32), "name": "new"}}),
        "propose_rekey_seq_without_id": proposal({"rekey": {"id": None, "key": bytes(32), "name": "mia", "seq": 1}}),
        "propose_rekey_short_key": proposal({"rekey": {"id": None, "key": bytes(30), "name": "mia", "seq": 0}}),
        "propose_remove_cutoffs_twice": proposal({"remove": {"cutoffs": [[bytes(32), 0, None]] * 2, "name": "mia"}}),
        "propose_remove_cutoff_of_two": proposal({"remove": {"cutoffs": [[bytes(32), 0]], "name": "mia"}}),
        "propose_remove_cutoff_no_id": proposal({"remove": {"cutoffs": [[bytes(32), 5, None]], "name": "mia"}}),
        "propose_remove_cutoffs_nil": proposal({"remove": {"cutoffs": None, "name": "mia"}}),
        "approve_short": lambda *_: {"act": "approve", "proposal": bytes(31)},
        "approve_field_more": lambda *_: {"act": "approve", "proposal": bytes(32), "reason": ""},
    }  # fmt: skip


def _register_bodies() -> None:
    for name, made in _bodies().items():

        def changed(draft: Draft, random: Random, made: Any = made) -> bool:
            by = random.choice(draft.world.of("root"))
            draft.act(by, made(random, by.agency))
            return True

        DAMAGES.append(("act", name, changed))


_register_bodies()


@damages("act")
def act_body_withheld(draft: Draft, random: Random) -> bool:
    random.choice(draft.acts).body = None
    return True


@damages("act")
def act_body_no_map(draft: Draft, random: Random) -> bool:
    item = random.choice(draft.acts)
    body = random.choice((b"", b"\xc0", b"\x80\xc0", b"\x90", item.row.body + b"\xc0", b"\xde\x00\x00", b"\xff"))
    item.become(item.row.again(body=body))
    return True


@damages("act")
def act_of_another_kind(draft: Draft, random: Random) -> bool:
    item = random.choice(draft.acts)
    item.become(item.row.again(kind=random.choice(("acts", "record", "step"))))
    return True


@damages("act")
def act_twice(draft: Draft, random: Random) -> bool:
    """Even one that may be made twice, by another entry."""
    units = [item for item in draft.acts if body_of(item.row)["act"] in ("unit", "revoke", "approve", "propose")]
    draft.acts.append(random.choice(units or draft.acts))
    return True


@damages("act")
def certificate_before_its_certifiers(draft: Draft, random: Random) -> bool | None:
    rows = {person.certificate.id: person for person in draft.world.people if person.certificate}
    by_admin = [at for at, item in enumerate(draft.acts)
                if item.row.id in rows and draft.world.person(item.row.key).rank == "admin"]  # fmt: skip
    if not by_admin:
        return None
    draft.acts.insert(0, draft.acts.pop(random.choice(by_admin)))
    return True


@damages("act")
def approval_before_its_proposal(draft: Draft, random: Random) -> bool | None:
    found = [at for at, item in enumerate(draft.acts) if body_of(item.row)["act"] == "approve"]
    if not found:
        return None
    draft.acts.insert(0, draft.acts.pop(random.choice(found)))
    return True


@damages("act")
def certificate_of_an_admin_left_out(draft: Draft, random: Random) -> bool | None:
    authors = {item.row.key for item in draft.acts}
    found = [one.certificate for one in draft.world.people if one.rank == "admin" and one.key in authors]
    if not found:
        return None
    row = random.choice(found)
    draft.acts = [item for item in draft.acts if item.row is not row]
    return True


@damages("act")
def act_of_a_removed_agency(draft: Draft, random: Random) -> bool | None:
    """A root key or an admin whose agency is no member acts as before."""
    names = draft.world.roots
    found = [one for one in draft.world.people if one.rank in ("admin", "root") and one.agency not in names]
    if not found:
        return None
    by = random.choice(found)
    draft.act(by, random.choice((
        certificate(random, by.agency), {"act": "unit", "regions": [], "title": "A team", "unit": "imt-9"},
    )))  # fmt: skip
    return True


@damages("act")
def act_of_a_former_root_key(draft: Draft, random: Random) -> bool | None:
    found = [one for one in draft.world.people if one.rank == "root" and draft.world.roots.get(one.agency) is not one]
    if not found:
        return None
    by = random.choice(found)
    draft.act(by, random.choice((
        certificate(random, by.agency), {"act": "unit", "regions": [], "title": "A team", "unit": "imt-9"},
        {"act": "propose", "change": {"threshold": 1}},
    )))  # fmt: skip
    return True


# -- 7 standing ------------------------------------------------------------------------------------------


def _roots(draft: Draft, random: Random, agency: str) -> Person | None:
    return draft.world.roots.get(agency)


@damages("standing")
def author_without_certificate(draft: Draft, random: Random) -> bool | None:
    """The certificate of an author or of an attesting node is left out, who certified and was revoked by nobody."""
    used = {item.row.key for item in [*draft.entries, *(one.item for one in draft.attestations)]}
    acting = {item.row.key for item in draft.acts}
    revoked = {body_of(item.row).get("subject") for item in draft.acts if body_of(item.row)["act"] == "revoke"}
    found = [one for one in draft.world.people
             if one.certificate and one.key in used and one.key not in acting and one.key not in revoked]  # fmt: skip
    if not found:
        return None
    row = random.choice(found).certificate
    draft.acts = [item for item in draft.acts if item.row is not row]
    return True


def _attested_by(draft: Draft, random: Random, person: Person) -> bool | None:
    """A checkpoint is signed by another person, note and all."""
    if not draft.attestations:
        return None
    attestation = random.choice(draft.attestations)
    checkpoint = replace(attestation.checkpoint, node=person)
    row = replace(attestation.item.row, signer=person.signer)
    attestation.item.row = row.again(key=person.key, seq=1 << 40, prev=bytes(32))
    attestation.checkpoint = checkpoint
    attestation.renote()
    return True


@damages("standing")
def attested_by_a_person(draft: Draft, random: Random) -> bool | None:
    person = someone(draft, random, "officer", "admin", "root")
    return _attested_by(draft, random, person) if person else None


@damages("standing")
def attested_by_a_stranger(draft: Draft, random: Random) -> bool | None:
    return _attested_by(draft, random, Person(key_of("stranger"), "mia", "node"))


@damages("standing")
def author_a_stranger(draft: Draft, random: Random) -> bool:
    signer = key_of("stranger")
    row = replace(draft.entries[0].row, signer=signer).again(key=signer.public)
    draft.entries[0].become(row)
    draft.record = row.id
    return True


def _cut(draft: Draft, random: Random, items: list[Item], cutoff: Callable[[Row], tuple[int, bytes | None]]) -> bool:
    """The agency revokes the key of one of the items, with a cutoff that depends on it; no lower one was set before."""
    random.shuffle(items)
    for item in items:
        person = draft.world.person(item.row.key)
        root = draft.world.roots.get(person.agency)
        if person.rank != "root" and root is not None and not person.ended:
            seq, last = cutoff(item.row)
            draft.act(root, Revoke(person.signer.public, seq, None if last is None else EntryId(last), "o‘g‘irlangan"))
            return True
    return False


def _all(draft: Draft) -> list[Item]:
    return [*draft.acts, *draft.entries, *(one.item for one in draft.attestations)]


@damages("standing")
def cut_wholly(draft: Draft, random: Random) -> bool:
    return _cut(draft, random, _all(draft), lambda _: (0, None))


@damages("standing")
def cut_one_below(draft: Draft, random: Random) -> bool:
    def below(row: Row) -> tuple[int, bytes | None]:
        return (row.seq - 1, row.made["prev"]) if row.seq else (0, None)

    return _cut(draft, random, _all(draft), below)


@damages("standing")
def cut_on_another_branch(draft: Draft, random: Random) -> bool:
    return _cut(draft, random, _all(draft), lambda row: (row.seq, flip(row.id, random)))


@damages("standing")
def cut_twice(draft: Draft, random: Random) -> bool:
    """The lower cutoff counts, whichever comes first."""
    items = _all(draft)
    seed = random.getrandbits(20)

    def high(row: Row) -> tuple[int, bytes | None]:
        return row.seq + 5, bytes(32)

    if not _cut(draft, Random(seed), [*items], high):
        return False
    _cut(draft, Random(seed), [*items], lambda _: (0, None))
    if random.random() < 0.5:
        draft.acts[-1], draft.acts[-2] = draft.acts[-2], draft.acts[-1]
    return True


def _council(draft: Draft, random: Random, what: Act, concerned: str) -> bool:
    """The council decides by the votes of all but the one concerned."""
    voices = [root for name, root in draft.world.roots.items() if name != concerned]
    if len(voices) < draft.world.threshold:
        return False
    first = draft.act(voices[0], what)
    for root in voices[1:]:
        draft.act(root, Approve(EntryId(first.id)))
    return True


@damages("standing")
def root_key_cut(draft: Draft, random: Random) -> bool | None:
    """The council replaces a root key, and cuts its log below what it did."""
    acting = {item.row.key for item in _all(draft)}
    found = [name for name, root in draft.world.roots.items() if root.key in acting]
    if not found:
        return None
    name = random.choice(found)
    return _council(draft, random, Propose(Rekey(name, key_of("new root").public, 0, None)), name)


@damages("standing")
def agency_removed_wholly(draft: Draft, random: Random) -> bool | None:
    acting = {draft.world.person(item.row.key).agency for item in _all(draft)}
    found = sorted(acting & draft.world.roots.keys())
    if not found or len(draft.world.roots) <= draft.world.threshold:
        return None
    name = random.choice(found)
    return _council(draft, random, Propose(Remove(name, ())), name)
