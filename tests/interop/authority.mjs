// Who may do what (SPEC.md 4.4): a pure function of the charter and a set of acts.
//
// An act here is {key, seq, id, refs, act}: key, id and refs in hexadecimal, `act` as readAct gives it. A cutoff is
// {seq, id}; id null: no entry counts.

import { hex } from "./codec.mjs";
import { consentHolds } from "./bodies.mjs";

const isAfter = (seq, cutoff) => cutoff !== undefined && (cutoff.id === null || seq > cutoff.seq);

/** Of two cutoffs, the lower: none before any, then the smaller seq, then the smaller id. */
function lower(a, b) {
  if (a === undefined || b === undefined) return a ?? b;
  if (a.id === null || b.id === null) return a.id === null ? a : b;
  if (a.seq !== b.seq) return a.seq < b.seq ? a : b;
  return a.id <= b.id ? a : b;
}

const cut = (cutoffs, key, cutoff) => cutoffs.set(key, lower(cutoffs.get(key), cutoff));
const cutoffOf = ({ seq, id }) => ({ seq, id: id === null ? null : hex(id) });

/** The cutoff that a removal gives a key: as it names it, or wholly. */
function removedAt(change, key) {
  const named = change.cutoffs.find(([other]) => hex(other) === key);
  return named ? cutoffOf({ seq: named[1], id: named[2] }) : { seq: 0, id: null };
}

// -- 4.4.1: the council -------------------------------------------------------------------------------

/** The keys whose acts are read for the council: the charter's, and those that such keys would make an agency's. */
export function councilKeys(charter, acts) {
  const keys = new Set(charter.agencies.map((agency) => hex(agency.key)));
  const proposals = acts.filter(({ act }) => act.act === "propose");
  for (let before = -1; before !== keys.size; ) {
    before = keys.size;
    for (const { key, act } of proposals) {
      const named = (act.change.admit ?? act.change.rekey)?.key;
      if (named && keys.has(key)) keys.add(hex(named));
    }
  }
  return keys;
}

/** The council's acts in the order in which they are read: by height, then by id. */
function inOrder(charter, acts) {
  const keys = councilKeys(charter, acts);
  const votes = acts.filter(({ key, act }) => keys.has(key) && (act.act === "propose" || act.act === "approve"));
  const byId = new Map(votes.map((vote) => [vote.id, vote]));
  const before = new Map();
  const logs = new Map();
  for (const vote of [...votes].sort((a, b) => a.seq - b.seq)) {
    before.set(vote.id, logs.get(vote.key));
    logs.set(vote.key, vote.id);
  }
  const heights = new Map();
  const under = (vote) => {
    const found = [before.get(vote.id), ...vote.refs];
    if (vote.act.act === "approve") found.push(hex(vote.act.proposal));
    return found.filter((id) => byId.has(id));
  };
  for (const start of votes) {
    const stack = [start]; // not recursion: a chain of acts may be as long as a log
    while (stack.length) {
      const vote = stack.at(-1);
      const missing = under(vote).filter((id) => !heights.has(id));
      if (missing.length && !heights.has(vote.id)) {
        stack.push(...missing.map((id) => byId.get(id)));
        continue;
      }
      heights.set(vote.id, 1 + Math.max(-1, ...under(vote).map((id) => heights.get(id))));
      stack.pop();
    }
  }
  return votes.sort((a, b) => heights.get(a.id) - heights.get(b.id) || (a.id < b.id ? -1 : 1));
}

/** One reading of the council's acts, with the cutoffs `inForce` from the beginning. */
class Reading {
  constructor(charter, votes, inForce) {
    this.threshold = charter.threshold;
    this.members = new Map(charter.agencies.map((agency) => [agency.name, hex(agency.key)]));
    this.roots = new Map(charter.agencies.map(({ key, name, title }) => [hex(key), { agency: name, title }]));
    this.inForce = inForce;
    this.cutoffs = new Map(); // by what has passed
    this.cutBy = new Map(); // proposal that passed -> the root key that it cut
    this.removals = []; // {name, change, roots: the agency's root keys until then}
    this.proposals = new Map(); // those that count: id -> {change, yes: Map agency -> key, passed}
    this.said = saidYes(votes, inForce);
    this.changes = new Map(votes.filter(({ act }) => act.act === "propose").map(({ id, act }) => [id, act.change]));
    for (const vote of votes) this.read(vote);
  }

  agencyOf(key) {
    const agency = this.roots.get(key)?.agency;
    return this.members.get(agency) === key ? agency : undefined;
  }

  read({ key, seq, id, act }) {
    const agency = this.agencyOf(key);
    if (agency === undefined || isAfter(seq, this.inForce.get(key)) || isAfter(seq, this.cutoffs.get(key))) return;
    if (act.act === "propose") this.proposals.set(id, { change: act.change, yes: new Map(), passed: false });
    const known = act.act === "propose" ? id : hex(act.proposal);
    const proposal = this.proposals.get(known);
    if (proposal === undefined || proposal.passed) return;
    if (!proposal.yes.has(agency)) proposal.yes.set(agency, key);
    this.decide(known, proposal);
  }

  decide(id, proposal) {
    const { change } = proposal;
    const concerned = concernedBy(change);
    const yes = [...proposal.yes].filter(
      ([agency, key]) => agency !== concerned && this.members.has(agency) && !this.isDisowned(key, id),
    );
    if (yes.length < this.threshold || !this.canBeDone(change)) return;
    proposal.passed = true;
    this.carryOut(change, id);
  }

  canBeDone({ admit, rekey, remove, threshold }) {
    if (admit) return !this.members.has(admit.name) && !this.roots.has(hex(admit.key)) && this.members.size < 64;
    if (rekey) return this.members.has(rekey.name) && !this.roots.has(hex(rekey.key));
    if (remove) return this.members.has(remove.name) && this.members.size > this.threshold;
    return threshold <= this.members.size;
  }

  carryOut({ admit, rekey, remove, threshold }, id) {
    if (admit) {
      this.members.set(admit.name, hex(admit.key));
      this.roots.set(hex(admit.key), { agency: admit.name, title: admit.title });
    } else if (rekey) {
      const old = this.members.get(rekey.name);
      cut(this.cutoffs, old, cutoffOf(rekey));
      this.cutBy.set(id, old);
      this.members.set(rekey.name, hex(rekey.key));
      this.roots.set(hex(rekey.key), { agency: rekey.name, title: this.roots.get(old).title });
    } else if (remove) {
      const key = this.members.get(remove.name);
      cut(this.cutoffs, key, removedAt(remove, key));
      this.cutBy.set(id, key);
      this.members.delete(remove.name);
      const roots = [...this.roots].filter(([, root]) => root.agency === remove.name).map(([root]) => root);
      this.removals.push({ change: remove, roots: new Set(roots) });
    } else {
      this.threshold = threshold;
    }
  }

  /** Whether the yes of key Y to proposal P is disowned by another who said yes to P, and later to Y's cutting. */
  isDisowned(y, p) {
    const said = this.said.get(p) ?? new Map();
    const first = said.get(y);
    for (const [x, seqOfP] of said) {
      if (x === y) continue;
      for (const [r, voters] of this.said) {
        const seqOfR = voters.get(x);
        if (seqOfR === undefined || seqOfR <= seqOfP) continue;
        if (this.cutsBefore(r, y, first) && this.isSupported(r)) return true;
      }
    }
    return false;
  }

  /** Whether change R cut the log of Y before that entry, or would if it passed now. */
  cutsBefore(r, y, seq) {
    const change = this.changes.get(r);
    const { rekey, remove } = change;
    if (!rekey && !remove) return false;
    const passed = this.proposals.get(r)?.passed;
    const name = (rekey ?? remove).name;
    const root = passed ? this.cutBy.get(r) : this.members.get(name);
    if (root !== y) return false;
    return isAfter(seq, rekey ? cutoffOf(rekey) : removedAt(remove, y));
  }

  /** Whether at least `threshold` agencies, the one concerned left out, said yes to R. */
  isSupported(r) {
    const concerned = concernedBy(this.changes.get(r));
    const agencies = new Set();
    for (const key of this.said.get(r).keys()) {
      const agency = this.roots.get(key)?.agency;
      if (agency !== undefined && agency !== concerned) agencies.add(agency);
    }
    return agencies.size >= this.threshold;
  }
}

const concernedBy = ({ rekey, remove }) => (rekey ?? remove)?.name;

/** Proposal -> key -> seq of its first yes, in acts that are not after a cutoff in force. */
function saidYes(votes, inForce) {
  const counting = votes.filter(({ key, seq }) => !isAfter(seq, inForce.get(key)));
  const said = new Map(counting.filter(({ act }) => act.act === "propose").map(({ id }) => [id, new Map()]));
  for (const { key, seq, id, act } of counting) {
    const voters = said.get(act.act === "propose" ? id : hex(act.proposal));
    if (voters) voters.set(key, Math.min(seq, voters.get(key) ?? Infinity));
  }
  return said;
}

const written = (cutoffs) => JSON.stringify([...cutoffs].sort(([a], [b]) => (a < b ? -1 : 1)));

/** Read until what passes is what was in force; a circle ends with the cutoffs of all its readings. */
function readCouncil(charter, acts) {
  const votes = inOrder(charter, acts);
  const seen = [];
  for (let inForce = new Map(); ; ) {
    const reading = new Reading(charter, votes, inForce);
    if (written(reading.cutoffs) === written(inForce)) return { reading, cutoffs: inForce };
    seen.push(inForce);
    const again = seen.findIndex((cutoffs) => written(cutoffs) === written(reading.cutoffs));
    if (again >= 0) {
      const all = new Map();
      for (const cutoffs of seen.slice(again)) for (const [key, cutoff] of cutoffs) cut(all, key, cutoff);
      const last = new Reading(charter, votes, all);
      const held = new Map(all);
      for (const [key, cutoff] of last.cutoffs) cut(held, key, cutoff);
      return { reading: last, cutoffs: held };
    }
    inForce = reading.cutoffs;
  }
}

// -- 4.4.2, 4.4.3: ranks and cutoffs ------------------------------------------------------------------

/** Of certificates for one key, the first: the smaller certifier, then the greater seq (one rank at a time). */
const first = (a, b) => (a === undefined || b.key < a.key || (b.key === a.key && b.seq > a.seq) ? b : a);

/** The agencies that a key consented to, where it is named for several and consents to one at least. */
function consents(acts) {
  const named = new Map();
  for (const { act } of acts) {
    if (act.act !== "certify") continue;
    const subject = hex(act.subject);
    if (!named.has(subject)) named.set(subject, []);
    named.get(subject).push(act);
  }
  const found = new Map();
  for (const [subject, certificates] of named) {
    if (new Set(certificates.map((act) => act.agency)).size < 2) continue;
    const own = certificates.filter((act) => consentHolds(act.subject, act.agency, act.consent));
    if (own.length) found.set(subject, new Set(own.map((act) => act.agency)));
  }
  return found;
}

/** What the acts say: standing, cutoffs, members, threshold, proposals that passed, those that are open. */
export function judge(charter, acts) {
  const { reading, cutoffs } = readCouncil(charter, acts);
  const consented = consents(acts);
  const standing = new Map();
  for (const [key, { agency, title }] of reading.roots) {
    standing.set(key, { rank: "agency", agency, name: title, unit: "", certifier: null, seq: null });
  }
  const chief = new Map([...standing.keys()].map((key) => [key, key])); // key -> the root key its chain leads to
  const revoked = new Map(); // key -> agency -> cutoff

  const readRank = (rank, gives) => {
    const chosen = new Map();
    for (const one of acts) {
      const signer = standing.get(one.key);
      if (signer?.rank !== rank || isAfter(one.seq, cutoffs.get(one.key))) continue;
      const { act } = one;
      if (act.act === "certify") {
        const subject = hex(act.subject);
        const refused = act.agency !== signer.agency || !gives.includes(act.rank) || standing.has(subject) ||
          (consented.has(subject) && !consented.get(subject).has(act.agency));
        if (!refused) chosen.set(subject, first(chosen.get(subject), one));
      } else if (act.act === "revoke") {
        const cutoff = { ...cutoffOf(act), agency: signer.agency, gives };
        const subject = hex(act.subject);
        if (!revoked.has(subject)) revoked.set(subject, []);
        revoked.get(subject).push(cutoff);
      }
    }
    for (const [subject, { key, seq, act }] of chosen) {
      const { rank: given, agency, name, unit } = act;
      standing.set(subject, { rank: given, agency, name, unit, certifier: key, seq });
      chief.set(subject, chief.get(key));
    }
    for (const [key, { rank: held, agency }] of standing) {
      if (held === "agency") continue;
      for (const cutoff of revoked.get(key) ?? []) {
        if (cutoff.agency === agency && cutoff.gives.includes(held)) cut(cutoffs, key, { seq: cutoff.seq, id: cutoff.id });
      }
      for (const { change, roots } of reading.removals) {
        if (roots.has(chief.get(key))) cut(cutoffs, key, removedAt(change, key));
      }
    }
  };
  readRank("agency", ["admin", "node", "officer"]);
  readRank("admin", ["node", "officer"]);

  const proposals = [...reading.proposals];
  return {
    standing, cutoffs, members: reading.members, threshold: reading.threshold,
    passed: proposals.filter(([, { passed }]) => passed).map(([id]) => id),
    open: proposals.filter(([, { passed }]) => !passed).map(([id, { yes }]) => [id, [...yes.keys()]]),
  };
}
