// Proofs (SPEC.md 8.6).

import { isUtf8 } from "node:buffer";
import { noteHolds, readAct, readBody, readCharter } from "./bodies.mjs";
import { ascends, check, decode, hasFields, hex, isBytes, isInt, Refused, same } from "./codec.mjs";
import { logLeaf, rootFromPath, sha256 } from "./crypto.mjs";
import { isSigned, readChain, readHeader } from "./entries.mjs";

const FILE_MAX = 16 << 20;
const BEGIN = Buffer.from('<script type="application/x-hamkor-proof">\n');
const END = Buffer.from("</script>");
const ZERO = Buffer.from([0]);

/** The verdict on a proof file, as JSON. */
export function checkProof(file, charterFile) {
  let reason = "charter";
  const step = (name, work) => {
    reason = name;
    return work();
  };
  try {
    const charter = readCharter(charterFile);
    const { payload, page } = step("form", () => readForm(file));
    step("page", () => check(same(payload.page, sha256(page)), "the page is another one"));
    step("network", () => check(same(payload.network, charter.network), "another network"));
    const items = step("entry", () => readItems(payload));
    step("signature", () => {
      for (const item of items.all) check(isSigned(item.rest.at(-1) ?? item, charter.network), "a signature fails");
    });
    const authority = step("act", () => readActs(charter, items.acts));
    step("standing", () => checkStanding(authority, items));
    step("record", () => checkRecord(payload.record, items.entries));
    const checkpoints = step("checkpoint", () => items.attestations.map((item) => readCheckpoint(charter.network, item)));
    step("path", () => checkPaths(payload, items, checkpoints));
    return conclude(payload, items, authority);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { verdict: "refused", reason };
  }
}

// -- form ---------------------------------------------------------------------------------------------

const lines = (bytes) => bytes.toString("base64").replace(/.{1,76}/g, "$&\n");

function readForm(file) {
  check(file.length <= FILE_MAX && isUtf8(file), "UTF-8 of at most 16 MiB");
  const begin = file.indexOf(BEGIN);
  check(begin >= 0 && file.indexOf(BEGIN, begin + 1) < 0, "the beginning stands in it once");
  const start = begin + BEGIN.length;
  const end = file.indexOf(END, start);
  check(end >= 0, "the content ends");
  const content = file.subarray(start, end).toString("latin1");
  const raw = Buffer.from(content, "base64");
  check(raw.length > 0 && content === lines(raw), "base64 in lines of 76");
  const payload = decode(raw, { max: FILE_MAX });
  checkPayload(payload);
  return { payload, page: Buffer.concat([file.subarray(0, start), file.subarray(end)]) };
}

const isList = (value, least, most, holds) =>
  Array.isArray(value) && value.length >= least && value.length <= most && value.every(holds);
const isPair = (value) => isList(value, 2, 2, (part) => isBytes(part)) && isBytes(value[1], 64);
const isItem = (value) =>
  Array.isArray(value) && value.length === 4 && isBytes(value[0]) && isBytes(value[1], 64) &&
  (value[2] === null || isBytes(value[2])) && isList(value[3], 0, 127, isPair);
const isHashes = (value) => isList(value, 0, 64, (hash) => isBytes(hash, 32));
const isPath = (value) =>
  Array.isArray(value) && value.length === 5 && isInt(value[0]) && isInt(value[1]) && isHashes(value[2]) &&
  isInt(value[3]) && isHashes(value[4]);
const isAttestation = (value) =>
  Array.isArray(value) && value.length === 2 && isItem(value[0]) && isList(value[1], 1, 4096, isPath);

function checkPayload(payload) {
  check(hasFields(payload, "acts", "attestations", "entries", "network", "page", "record", "version"), "its fields");
  const { acts, attestations, entries } = payload;
  check(payload.version === 1, "version 1");
  check([payload.network, payload.page, payload.record].every((hash) => isBytes(hash, 32)), "hashes of 32 bytes");
  check(isList(acts, 0, 4096, isItem) && isList(entries, 1, 4096, isItem), "acts and entries are items");
  check(isList(attestations, 0, 256, isAttestation), "attestations");
  const ids = entries.slice(1).map(([header, signature]) => sha256(ZERO, header, signature));
  check(ascends(ids), "the steps ascend by id");
  for (const [, paths] of attestations) {
    check(paths.every(([entry]) => entry < entries.length), "a path is of an entry");
    check(ascends(paths, (a, b) => a[0] - b[0]), "paths ascend");
  }
}

// -- entries ------------------------------------------------------------------------------------------

function readItem([header, signature, body, rest]) {
  const entry = readHeader(header, signature, body);
  if (body !== null) check(body.length === entry.bodySize && same(sha256(body), entry.bodyHash), "another body");
  const [, ...after] = readChain([[header, signature], ...rest]);
  return { ...entry, rest: after };
}

function readItems({ acts, entries, attestations }) {
  const read = { acts: acts.map(readItem), entries: entries.map(readItem), attestations: [] };
  read.attestations = attestations.map(([item]) => readItem(item));
  return { ...read, all: [...read.acts, ...read.entries, ...read.attestations] };
}

// -- acts ---------------------------------------------------------------------------------------------

const concernedBy = ({ rekey, remove }) => (rekey ?? remove)?.name;

/** The acts of a proof, read in order: each must have an effect. */
class Authority {
  constructor({ agencies, threshold }) {
    this.threshold = threshold;
    this.members = new Map(agencies.map(({ name, key }) => [name, hex(key)]));
    this.roots = new Map(agencies.map(({ name, key }) => [hex(key), name])); // all that ever were
    this.certified = new Map(); // key -> {rank, agency}
    this.cutoffs = new Map(); // key -> {seq, id}
    this.proposals = new Map();
    this.ids = new Set();
  }

  /** The agency whose root key this is now. */
  rootOf(key) {
    const agency = this.roots.get(key);
    return this.members.get(agency) === key ? agency : undefined;
  }

  adminOf(key) {
    const one = this.certified.get(key);
    return one?.rank === "admin" && this.members.has(one.agency) ? one.agency : undefined;
  }

  cut(key, seq, id) {
    const old = this.cutoffs.get(key);
    const lower = old === undefined || (old.id !== null && (id === null || seq < old.seq ||
      (seq === old.seq && Buffer.compare(id, old.id) < 0)));
    if (lower) this.cutoffs.set(key, { seq, id });
  }

  read(entry) {
    check(entry.kind === "act" && entry.body !== null, "an act with its body");
    const id = hex(entry.id);
    check(!this.ids.has(id), "an act that came before");
    this.ids.add(id);
    const act = readAct(entry.body);
    this[act.act](act, hex(entry.key), id);
  }

  certify({ agency, rank, subject }, by) {
    const key = hex(subject);
    check(this.rootOf(by) === agency || (rank !== "admin" && this.adminOf(by) === agency), "who may certify");
    check(!this.certified.has(key) && !this.roots.has(key), "a key that has no rank");
    this.certified.set(key, { rank, agency });
  }

  unit(_, by) {
    check(this.rootOf(by) !== undefined || this.adminOf(by) !== undefined, "who may name a unit");
  }

  revoke({ subject, seq, id }, by) {
    const one = this.certified.get(hex(subject));
    check(one !== undefined, "a certified key");
    check(this.rootOf(by) === one.agency || (one.rank !== "admin" && this.adminOf(by) === one.agency), "who may revoke");
    this.cut(hex(subject), seq, id);
  }

  propose({ change }, by, id) {
    check(this.rootOf(by) !== undefined, "who may propose");
    this.proposals.set(id, { change, yes: new Set(), passed: false });
    this.say(id, by);
  }

  approve({ proposal }, by) {
    check(this.rootOf(by) !== undefined && this.proposals.has(hex(proposal)), "who may approve what");
    this.say(hex(proposal), by);
  }

  say(id, by) {
    const proposal = this.proposals.get(id);
    proposal.yes.add(this.rootOf(by));
    const concerned = concernedBy(proposal.change);
    const yes = [...proposal.yes].filter((agency) => agency !== concerned && this.members.has(agency));
    if (proposal.passed || yes.length < this.threshold || !this.canBeDone(proposal.change)) return;
    proposal.passed = true;
    this.carryOut(proposal.change);
  }

  canBeDone({ admit, rekey, remove, threshold }) {
    if (admit) return !this.members.has(admit.name) && !this.roots.has(hex(admit.key)) && this.members.size < 64;
    if (rekey) return this.members.has(rekey.name) && !this.roots.has(hex(rekey.key));
    if (remove) return this.members.has(remove.name) && this.members.size > this.threshold;
    return threshold <= this.members.size;
  }

  carryOut({ admit, rekey, remove, threshold }) {
    if (rekey) this.cut(this.members.get(rekey.name), rekey.seq, rekey.id);
    if (admit ?? rekey) {
      const { name, key } = admit ?? rekey;
      this.members.set(name, hex(key));
      this.roots.set(hex(key), name);
    }
    if (threshold) this.threshold = threshold;
    if (!remove) return;
    const keys = [...this.certified].filter(([, one]) => one.agency === remove.name).map(([key]) => key);
    for (const key of [this.members.get(remove.name), ...keys]) {
      const [, seq, id] = remove.cutoffs.find(([named]) => hex(named) === key) ?? [null, 0, null];
      this.cut(key, seq, id);
    }
    this.members.delete(remove.name);
  }
}

function readActs(charter, acts) {
  const authority = new Authority(charter);
  for (const entry of acts) authority.read(entry);
  return authority;
}

// -- standing, record, checkpoints, paths -------------------------------------------------------------

function checkStanding({ cutoffs, certified, roots }, items) {
  for (const { key, seq, id } of items.all) {
    const cutoff = cutoffs.get(hex(key));
    if (cutoff === undefined) continue;
    check(cutoff.id !== null && (seq < cutoff.seq || (seq === cutoff.seq && same(id, cutoff.id))), "after a cutoff");
  }
  for (const { key } of items.entries) check(roots.has(hex(key)) || certified.has(hex(key)), "an author without standing");
  for (const { key } of items.attestations) check(certified.get(hex(key))?.rank === "node", "attested by no node");
}

function checkRecord(record, [creation, ...steps]) {
  check(same(creation.id, record) && creation.kind === "record" && creation.body !== null, "the record's creation");
  readBody("record", creation.body);
  for (const step of steps) {
    check(step.kind === "step" && step.refs.some((ref) => same(ref, record)), "a step on the record");
    if (step.body !== null) check(same(readBody("step", step.body).record, record), "a step on another record");
  }
}

function readCheckpoint(network, { kind, key, body }) {
  check(kind === "checkpoint" && body !== null, "a checkpoint with its body");
  const read = readBody("checkpoint", body);
  check(read.rest === 0, "the last entry of a checkpoint");
  check(noteHolds(network, key, read), "a note that holds");
  return read;
}

function checkPaths({ attestations }, { entries }, checkpoints) {
  attestations.forEach(([, paths], i) => {
    for (const [index, size, path, leaf, above] of paths) {
      const { id, key, seq } = entries[index];
      const logRoot = rootFromPath(id, seq, size, path);
      check(logRoot !== null, "a path in the log");
      const root = rootFromPath(logLeaf(key, size, logRoot), leaf, checkpoints[i].logs, above);
      check(root !== null && same(root, checkpoints[i].root), "a path to the root");
    }
  });
}

function conclude({ network, record, attestations }, items, authority) {
  const attesting = items.entries.map(() => new Set());
  attestations.forEach(([, paths], i) => {
    const { agency } = authority.certified.get(hex(items.attestations[i].key));
    if (authority.members.has(agency)) for (const [index] of paths) attesting[index].add(agency);
  });
  const proven = attesting[0].size >= authority.threshold;
  return {
    verdict: proven ? "proven" : "unproven", reason: proven ? null : "threshold", network: hex(network),
    record: hex(record), threshold: authority.threshold,
    entries: items.entries.map(({ id, key }, i) => ({
      id: hex(id), author: hex(key),
      agency: authority.roots.get(hex(key)) ?? authority.certified.get(hex(key)).agency,
      agencies: [...attesting[i]].sort(),
    })),
  };
}
