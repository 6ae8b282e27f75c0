// The audit of a bundle as a whole ledger (SPEC.md 3, 4.4.4, 6.5, 7, 8.2).

import zlib from "node:zlib";
import { councilKeys, judge } from "./authority.mjs";
import { readAct } from "./bodies.mjs";
import { auditCheckpoints } from "./checkpoints.mjs";
import { attempt, check, decode, hex, isBytes, isInt, Refused, same } from "./codec.mjs";
import { logLeaf, sha256, Tree, treeRoot } from "./crypto.mjs";
import { isForkMessage, isSigned, readFork, readFrame, readRow } from "./entries.mjs";

const FIRST_LINE = Buffer.from("hamkor bundle 1\n");
const MESSAGE_MAX = (1 << 20) + 4096;
const COUNCIL_ENTRIES_MAX = 65_536;
const NO_ZSTD = "a compressed frame, and this Node.js has no zstd: export the bundle again, plain";

export class Unreadable extends Error {} // nothing can be said of the bundle


export function unpack(payload) {
  check(zlib.zstdDecompressSync, NO_ZSTD);
  try {
    return zlib.zstdDecompressSync(payload, { maxOutputLength: 1 << 20 });
  } catch (error) {
    throw new Refused(`no zstd frame of at most 1 MiB: ${error.code}`);
  }
}

/** The messages of a bundle, in order. Raises Refused where it is damaged, after those before the damage. */
export function* readMessages(bytes) {
  let at = FIRST_LINE.length + 32;
  for (;;) {
    check(at + 4 <= bytes.length, "the bundle ends before its end mark");
    const size = bytes.readUInt32BE(at);
    at += 4;
    if (size === 0) break;
    check(size <= MESSAGE_MAX && at + size <= bytes.length, "a message is too long, or cut short");
    yield readMessage(bytes.subarray(at, at + size));
    at += size;
  }
  check(same(bytes.subarray(at), sha256(bytes.subarray(0, at))), "the checksum is not that of the bundle");
}

export function readMessage(bytes) {
  const message = decode(bytes, { max: MESSAGE_MAX });
  check(Array.isArray(message), "a message is an array");
  const frame = message[0] === "frame" && message.length === 3 && isInt(message[1]) && isBytes(message[2]) &&
    message[2].length >= 2 && message[2].length <= 1 << 20;
  check(frame || (message[0] === "fork" && isForkMessage(message)), "a bundle holds frames and forks");
  return message;
}

/** One log as the bundle has it. */
class Log {
  constructor(key) {
    this.key = key;
    this.held = []; // its entries by seq, as they came first; a gap leaves holes
    this.end = 0; // where the next run is expected
    this.whole = null; // how far it is one chain from seq 0, once that has ended
    this.segment = 0; // counts the breaks: an entry is proved by signatures of its own segment
    this.lost = false; // what comes next cannot be compared with anything
    this.time = 0;
    this.unproved = [];
    this.aside = new Map(); // entries on other branches, by id
    this.forks = new Set(); // proved at these seqs
  }

  /** The lowest fork; Infinity where there is none. */
  get forkedAt() {
    return Math.min(...this.forks);
  }

  get last() {
    return this.end > 0 ? this.held[this.end - 1]?.id ?? null : null;
  }

  get chained() {
    return this.whole ?? this.end;
  }

  /** Whether an entry aside follows one that is aside too; if not, a branch begins with it. */
  follows(entry) {
    return entry.prev !== null && this.aside.has(hex(entry.prev));
  }

  /** The entries of the chain that has this entry at this seq: the log itself, or the log and a branch. */
  chainWith(seq, id) {
    const held = this.held[seq];
    if (seq < this.chained && held !== undefined && hex(held.id) === id) return this.held.slice(0, seq + 1);
    const branch = [];
    for (let one = this.aside.get(id); one; one = one.prev && this.aside.get(hex(one.prev))) branch.push(one);
    if (branch[0]?.seq !== seq) return null;
    const first = branch.at(-1);
    if (first.seq > this.chained || (first.seq > 0 && !same(first.prev, this.held[first.seq - 1].id))) return null;
    return [...this.held.slice(0, first.seq), ...branch.reverse()];
  }
}

class Audit {
  constructor(charter) {
    this.charter = charter;
    this.logs = new Map();
    this.faults = [];
    this.entries = 0;
    this.signatures = 0;
  }

  fault(kind, key, seq, id, detail) {
    this.faults.push({ kind, key: key && hex(key), seq, id: id && hex(id), detail });
  }

  log(key) {
    const name = hex(key);
    if (!this.logs.has(name)) this.logs.set(name, new Log(key));
    return this.logs.get(name);
  }

  signed(entry) {
    this.signatures++;
    return isSigned(entry, this.charter.network);
  }

  fork(message) {
    const sides = attempt(() => readFork(message, this.charter.network), (reason) => {
      const [, key, seq] = attempt(() => decode(message[1][0]), () => []);
      const named = isBytes(key, 32) && isInt(seq);
      this.fault("fork", named ? key : null, named ? seq : null, null, `a message proves no fork: ${reason}`);
      return null;
    });
    if (sides === null) return;
    this.signatures += 2;
    const log = this.log(sides[0][0].key);
    log.forks.add(sides[0][0].seq);
  }

  // -- runs -------------------------------------------------------------------------------------------

  run([key, seq, prev, rows]) {
    const log = this.log(key);
    let branch = seq >= log.end && prev !== null && log.aside.has(hex(prev));
    if (!branch && !log.lost && seq > log.end) {
      this.fault("gap", key, log.end, null, `entries ${log.end} to ${seq - 1} are left out`);
    }
    if (!branch && seq === log.end && !log.lost && seq > 0 && !same(prev, log.last)) {
      this.fault("link", key, seq, null, "the run does not start from the entry before it");
      this.end(log);
    } else if (!branch && (seq > log.end || log.lost)) {
      this.end(log);
      log.end = Math.max(seq, log.end);
    }
    log.lost = false;
    let before = prev;
    for (let i = 0, at = seq; i < rows.length; i++, at++) {
      const entry = attempt(() => readRow(rows[i], key, at, before), (reason) => {
        this.fault("format", key, at, null, `a row that is no entry: ${reason}`);
        this.end(log);
        log.lost = true;
        return null;
      });
      if (entry === null) return;
      before = entry.id;
      if (!branch && at < log.end) {
        if (log.held[at] !== undefined && same(log.held[at].id, entry.id)) continue;
        branch = true;
      }
      if (branch && !log.aside.has(hex(entry.id))) {
        log.aside.set(hex(entry.id), Object.assign(entry, { signed: this.signed(entry) }));
        this.entries++;
      }
      if (!branch) {
        this.entries++;
        this.add(log, entry);
      }
    }
  }

  add(log, entry) {
    if (entry.time < log.time) this.fault("time", entry.key, entry.seq, entry.id, "it is dated before the one before it");
    log.time = entry.time;
    entry.segment = log.segment;
    entry.signed = this.signed(entry);
    log.held[entry.seq] = entry;
    log.end = entry.seq + 1;
    log.unproved.push(entry);
    if (!entry.signed) return;
    for (const one of log.unproved) {
      one.authentic = true;
      if (!one.signed) this.fault("signature", one.key, one.seq, one.id, "it fails; a later one of the chain holds");
    }
    log.unproved = [];
  }

  /** The chain of a log ends here: what waits for a signature is proved by nothing. */
  end(log) {
    const [first] = log.unproved;
    if (first) {
      this.fault("signature", first.key, first.seq, first.id, `${log.unproved.length} entries that nothing proves`);
    }
    log.unproved = [];
    log.segment++;
    log.whole ??= log.end;
  }

  /** Other versions of entries that the bundle held: forks where both are proved, and not entries where not. */
  judgeAside(log) {
    const all = [...log.aside.values()].sort((a, b) => a.seq - b.seq);
    const proved = new Set();
    for (const entry of all.toReversed()) {
      entry.authentic = entry.signed || proved.has(hex(entry.id));
      if (entry.authentic && entry.prev) proved.add(hex(entry.prev));
    }
    for (const entry of all) {
      if (entry.signed) continue;
      if (entry.authentic) this.fault("signature", entry.key, entry.seq, entry.id, "it fails; a later one of the branch holds");
      else if (!log.follows(entry) || log.aside.get(hex(entry.prev)).authentic) {
        this.fault("signature", entry.key, entry.seq, entry.id, "another version of an entry, which nothing proves");
      }
    }
    for (const entry of all) if (!entry.authentic) log.aside.delete(hex(entry.id));
    const hidden = all.find((one) => one.authentic && !log.follows(one) && log.held[one.seq]?.authentic);
    if (hidden && hidden.seq < log.forkedAt) log.forks.add(hidden.seq); // the bundle holds both, and no proof
  }

  // -- 4.4.4: authority, with what counts on branches ---------------------------------------------------

  acts(endorsed) {
    const found = [];
    for (const [name, log] of this.logs) {
      if (this.named && !this.named.has(name)) continue; // no node ever took them in
      const chain = endorsed.get(name) ?? log.held;
      const end = endorsed.has(name) ? chain.length : log.forkedAt;
      for (const entry of chain) {
        if (entry === undefined || entry.kind !== "act" || !entry.authentic || entry.seq >= end) continue;
        found.push(entry);
      }
    }
    return found.flatMap((entry) => {
      if (entry.body === null) return [];
      entry.act ??= attempt(() => readAct(entry.body), () => "none");
      const { seq, act } = entry;
      return act === "none" ? [] : [{ key: hex(entry.key), seq, id: hex(entry.id), refs: entry.refs.map(hex), act }];
    });
  }

  endorsed({ cutoffs }) {
    const found = new Map();
    for (const [name, log] of this.logs) {
      const cutoff = cutoffs.get(name);
      if (log.forkedAt === Infinity || !cutoff?.id || cutoff.seq < log.forkedAt) continue;
      const chain = log.chainWith(cutoff.seq, cutoff.id);
      if (chain !== null) found.set(name, chain);
    }
    return found;
  }

  judge() {
    const written = (endorsed) => [...endorsed].map(([name, chain]) => name + hex(chain.at(-1).id)).sort().join();
    const seen = [];
    for (let endorsed = new Map(); ; ) {
      const judgement = judge(this.charter, this.acts(endorsed));
      const next = this.endorsed(judgement);
      if (written(next) === written(endorsed)) return { judgement, endorsed };
      seen.push(endorsed);
      const again = seen.findIndex((one) => written(one) === written(next));
      if (again >= 0) {
        const all = everywhere(seen.slice(again));
        const last = judge(this.charter, this.acts(all));
        return { judgement: last, endorsed: new Map([...this.endorsed(last)].filter(([name]) => all.has(name))) };
      }
      endorsed = next;
    }
  }

  /** The entries of a log that count. */
  counting(name, log, { judgement, endorsed, council }) {
    if (!judgement.standing.has(name)) return [];
    const cutoff = judgement.cutoffs.get(name);
    let chain = log.held.slice(0, log.chained);
    if (cutoff) chain = cutoff.id === null ? [] : chain.slice(0, cutoff.seq + 1);
    if (log.forkedAt !== Infinity) chain = endorsed.get(name) ?? chain.slice(0, log.forkedAt);
    if (council.has(name)) chain = chain.slice(0, COUNCIL_ENTRIES_MAX);
    return chain.slice(0, chain.findLastIndex((entry) => entry.signed) + 1);
  }

  // -- the whole ----------------------------------------------------------------------------------------

  conclude() {
    for (const log of this.logs.values()) {
      const whole = log.whole;
      this.end(log);
      log.whole = whole;
      this.judgeAside(log);
    }
    const everything = this.acts(new Map([...this.logs].map(([name, log]) => [name, everyVersion(log)])));
    this.named = everNamed(this.charter, everything);
    const { named } = this;
    const found = this.judge();
    found.council = councilKeys(this.charter, this.acts(found.endorsed));
    const leaves = [];
    const counting = new Map();
    for (const [name, log] of [...this.logs].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const { standing, cutoffs } = found.judgement;
      if (log.end > 0 && !standing.has(name) && !named.has(name)) {
        const first = log.held.find((entry) => entry !== undefined);
        this.fault("uncertified", log.key, first.seq, first.id, "no chain of certificates leads to its author");
      }
      if (!cutoffs.has(name)) { // a cutoff says what counts of it: settled
        for (const seq of log.forks) this.fault("fork", log.key, seq, null, "its author signed two entries for one seq");
      }
      const chain = this.counting(name, log, found);
      counting.set(name, chain);
      if (chain.length === 0) continue;
      const tree = new Tree();
      for (const entry of chain) tree.add(entry.id);
      leaves.push(logLeaf(log.key, chain.length, tree.root()));
    }
    auditCheckpoints(this, found, counting);
    return { root: treeRoot(leaves), counting, standing: found.judgement.standing };
  }
}

/** All versions of all entries of a log. */
const everyVersion = (log) => [...log.held, ...log.aside.values()];

/** What of the branches is in all of these: name -> the entries that its chains begin with alike. */
function everywhere([first, ...others]) {
  const found = new Map();
  for (const [name, chain] of first) {
    if (!others.every((one) => one.has(name))) continue;
    const alike = (entry, seq) => others.every((one) => seq < one.get(name).length && same(one.get(name)[seq].id, entry.id));
    const end = chain.findIndex((entry, seq) => !alike(entry, seq));
    found.set(name, end < 0 ? chain : chain.slice(0, end));
  }
  return found;
}

/** The keys that acts ever named, whatever became of those: by chains of certificates from the charter's keys. */
function everNamed(charter, acts) {
  const agencies = new Map(charter.agencies.map(({ key, name }) => [hex(key), new Set([`agency ${name}`])]));
  const give = (key, rank) => {
    if (!agencies.has(key)) agencies.set(key, new Set());
    const before = agencies.get(key).size;
    return agencies.get(key).add(rank).size > before;
  };
  for (let grown = true; grown; ) {
    grown = false;
    for (const { key, act } of acts) {
      const ranks = agencies.get(key);
      if (ranks === undefined) continue;
      const change = act.act === "propose" ? act.change.admit ?? act.change.rekey : undefined;
      if (change && [...ranks].some((rank) => rank.startsWith("agency"))) {
        grown = give(hex(change.key), `agency ${change.name}`) || grown;
      }
      if (act.act !== "certify") continue;
      const may = ranks.has(`agency ${act.agency}`) || (act.rank !== "admin" && ranks.has(`admin ${act.agency}`));
      if (may) grown = give(hex(act.subject), `${act.rank} ${act.agency}`) || grown;
    }
  }
  return agencies;
}

/** Audit a bundle; counts, root and faults as JSON. `details`: what counts of each log, for the vectors. */
export function auditBundle(bytes, charter, details = false) {
  const audit = new Audit(charter);
  const network = bytes.subarray(FIRST_LINE.length, FIRST_LINE.length + 32);
  if (network.length < 32 || !same(bytes.subarray(0, FIRST_LINE.length), FIRST_LINE)) {
    audit.fault("container", null, null, null, "no bundle of version 1");
  } else if (!same(network, charter.network)) {
    audit.fault("network", null, null, null, `a bundle of network ${hex(network)}`);
  } else {
    attempt(() => {
      for (const message of readMessages(bytes)) {
        if (message[0] === "fork") audit.fork(message);
        else frame(audit, message[2]);
      }
    }, (reason) => audit.fault("container", null, null, null, reason));
  }
  const { root, counting, standing } = audit.conclude();
  const logs = [...audit.logs.values()].filter((log) => log.end > 0);
  const report = {
    verdict: audit.faults.length ? "faulty" : "sound", network: hex(charter.network), root: hex(root),
    logs: logs.length, entries: audit.entries, signatures: audit.signatures, faults: audit.faults,
  };
  return details ? { report, counting, standing, held: audit.logs } : report;
}

function frame(audit, bytes) {
  if (bytes[0] === 1 && !zlib.zstdDecompressSync) throw new Unreadable(NO_ZSTD);
  const runs = attempt(() => readFrame(bytes, unpack), (reason) => {
    audit.fault("format", null, null, null, `a frame that cannot be read: ${reason}`);
    return [];
  });
  for (const run of runs) audit.run(run);
}
