// What charters, acts and other bodies say (SPEC.md 4.1, 4.3, 4.5, 7.1).

import { ascends, check, compare, decode, encode, hasFields, hex, isBytes, isCode, isInt, isMap, isPlainText, isText, isWord,
  same } from "./codec.mjs";
import { sha256, verify } from "./crypto.mjs";

const BODY_MAX = 262_144;

// -- the charter --------------------------------------------------------------------------------------

/** The complete charter in a charter file: {network, agencies: [{key, name, title}], threshold}. */
export function readCharter(file) {
  const line = Buffer.from("hamkor charter 1\n");
  check(file.length <= 65_536 && same(file.subarray(0, line.length), line), "no charter file of version 1");
  const content = decode(file.subarray(line.length), { max: 65_536 });
  check(hasFields(content, "charter", "signatures") && isMap(content.signatures), "a charter and its signatures");
  const { charter, signatures } = content;
  check(hasFields(charter, "agencies", "founded_ms", "network", "nonce", "threshold", "version"), "a charter's fields");
  const { agencies, threshold } = charter;
  check(charter.version === 1 && isInt(charter.founded_ms), "version 1, founded_ms");
  check(isPlainText(charter.network) && isBytes(charter.nonce, 16), "a name, and a nonce of 16 bytes");
  check(Array.isArray(agencies) && agencies.length >= 1 && agencies.length <= 64, "1 to 64 agencies");
  for (const agency of agencies) check(isAgency(agency), "an agency is a key, a name, a title");
  check(ascends(agencies, byName), "agencies ascend by name");
  check(new Set(agencies.map((agency) => hex(agency.key))).size === agencies.length, "each agency has its own key");
  check(isInt(threshold, 1, agencies.length), "a threshold of 1 to the number of agencies");
  const names = new Set(agencies.map((agency) => agency.name));
  check(Object.keys(signatures).every((name) => names.has(name)), "only agencies of the charter sign");
  const signed = charterBytes(file.subarray(line.length));
  for (const { key, name } of agencies) {
    check(isBytes(signatures[name], 64), `${name} has not signed`);
    const message = Buffer.concat([Buffer.from("hamkor/charter/1\0"), signed]);
    check(verify(key, message, signatures[name]), `the signature of ${name} does not hold`);
  }
  return { network: sha256(signed), agencies, threshold };
}

/** The charter as bytes: in the file it stands after the name of the first of two fields. */
function charterBytes(content) {
  const before = 1 + encode("charter").length;
  const after = encode("signatures");
  for (let at = content.length - 1; at > before; at--) {
    if (!same(content.subarray(at, at + after.length), Buffer.from(after))) continue;
    try {
      decode(content.subarray(before, at));
      return content.subarray(before, at);
    } catch {
      continue; // the same letters within a title
    }
  }
  throw new Error("unreachable: the content was read before");
}

const byName = (a, b) => compare(Buffer.from(a.name), Buffer.from(b.name));
const isAgency = (value) =>
  hasFields(value, "key", "name", "title") && isBytes(value.key, 32) && isCode(value.name) && isPlainText(value.title);

// -- acts ---------------------------------------------------------------------------------------------

const ROLES = ["admin", "auditor", "coordinator", "officer"];
const byText = (a, b) => compare(Buffer.from(a), Buffer.from(b));
const isUnit = (value) => value === "" || isCode(value);
const isCutoff = (seq, id) => isInt(seq) && (id === null ? seq === 0 : isBytes(id, 32));

const CHANGES = {
  admit: isAgency,
  rekey: (value) => hasFields(value, "id", "key", "name", "seq") && isBytes(value.key, 32) && isCode(value.name) &&
    isCutoff(value.seq, value.id),
  remove: (value) => hasFields(value, "cutoffs", "name") && isCode(value.name) && Array.isArray(value.cutoffs) &&
    value.cutoffs.every((cutoff) => Array.isArray(cutoff) && cutoff.length === 3 && isBytes(cutoff[0], 32) &&
      isCutoff(cutoff[1], cutoff[2])) && ascends(value.cutoffs, (a, b) => compare(a[0], b[0])),
  threshold: (value) => isInt(value, 1, 64),
};

function isChange(value) {
  if (!isMap(value)) return false;
  const names = Object.keys(value);
  return names.length === 1 && Object.hasOwn(CHANGES, names[0]) && CHANGES[names[0]](value[names[0]]);
}

const ACTS = {
  certify: (act) => hasFields(act, "act", "agency", "consent", "name", "rank", "roles", "subject", "unit") &&
    isCode(act.agency) && (act.consent === null || isBytes(act.consent, 64)) && isPlainText(act.name) &&
    ["admin", "node", "officer"].includes(act.rank) && Array.isArray(act.roles) && act.roles.length <= 8 &&
    act.roles.every((role) => ROLES.includes(role)) && ascends(act.roles, byText) && isBytes(act.subject, 32) &&
    isUnit(act.unit),
  unit: (act) => hasFields(act, "act", "regions", "title", "unit") && Array.isArray(act.regions) &&
    act.regions.length <= 64 && act.regions.every((region) => isText(region) && /^[A-Z]{2}-[A-Z0-9]{1,3}$/.test(region)) &&
    ascends(act.regions, byText) && isPlainText(act.title) && isCode(act.unit),
  revoke: (act) => hasFields(act, "act", "id", "reason", "seq", "subject") && isCutoff(act.seq, act.id) &&
    isPlainText(act.reason, 0, 2000) && isBytes(act.subject, 32),
  propose: (act) => hasFields(act, "act", "change") && isChange(act.change),
  approve: (act) => hasFields(act, "act", "proposal") && isBytes(act.proposal, 32),
};

/** The act that a body is. Raises Refused for any other body. */
export function readAct(body) {
  const act = decode(body, { max: BODY_MAX });
  check(isMap(act) && Object.hasOwn(ACTS, act.act) && ACTS[act.act](act), "a body that is no act");
  return act;
}

// -- other bodies -------------------------------------------------------------------------------------

const isAddress = (text) => isPlainText(text, 1, 256);
const HEAD = 72;

const BODIES = {
  record: (body) => isMap(body.fields) && isWord(body.type),
  step: (body) => isMap(body.fields) && isBytes(body.record, 32) && isWord(body.step),
  address: (body) => hasFields(body, "addresses") && Array.isArray(body.addresses) && body.addresses.length <= 16 &&
    body.addresses.every(isAddress),
  checkpoint: (body) => hasFields(body, "entries", "full", "heads", "logs", "note", "rest", "root") &&
    [body.entries, body.logs, body.rest].every((number) => isInt(number)) && typeof body.full === "boolean" &&
    isBytes(body.heads) && body.heads.length % HEAD === 0 && body.heads.length <= 3600 * HEAD &&
    areHeads(readHeads(body.heads)) && isBytes(body.note, 64) && isBytes(body.root, 32),
  alarm: (body) => hasFields(body, "checkpoint", "root") && isBytes(body.checkpoint, 32) && isBytes(body.root, 32),
  consultation: (body) => hasFields(body, "command", "officer", "records", "user", "why") &&
    isPlainText(body.command) && (body.officer === null || isBytes(body.officer, 32)) &&
    Array.isArray(body.records) && body.records.length >= 1 && body.records.length <= 500 &&
    body.records.every((record) => isBytes(record, 32)) && ascends(body.records) && isPlainText(body.user) &&
    isPlainText(body.why, 1, 2000),
};

/** The body of an entry of this kind, read. Raises Refused where it is none. */
export function readBody(kind, bytes) {
  const body = decode(bytes, { max: BODY_MAX });
  check(isMap(body) && BODIES[kind](body), `no body of a ${kind}`);
  return body;
}

/** The heads in a checkpoint's body: [key, size, id]. */
export function readHeads(bytes) {
  const heads = [];
  for (let at = 0; at < bytes.length; at += HEAD) {
    const size = Number(bytes.readBigUInt64BE(at + 32)); // beyond 2^53 it loses digits, and is refused
    heads.push([bytes.subarray(at, at + 32), size, bytes.subarray(at + 40, at + HEAD)]);
  }
  return heads;
}

/** Whether heads ascend strictly by key, with sizes in range: 0 exactly where the id is zeros. */
const areHeads = (heads) =>
  ascends(heads, (a, b) => compare(a[0], b[0])) &&
  heads.every(([, size, id]) => isInt(size) && (size === 0) === id.every((byte) => byte === 0));

const noteText = (network, { logs, entries, root }) =>
  `hamkor/${hex(network)}\n${logs}\n${root.toString("base64")}\nentries ${entries}\n`;

/** Whether the note of a checkpoint by `key` holds (7.1). */
export function noteHolds(network, key, body) {
  return verify(key, Buffer.from(noteText(network, body)), body.note);
}

const noteName = (key) => `hamkor-${hex(key).slice(0, 16)}`;
const noteHash = (key) => sha256(noteName(key), "\n\x01", key).subarray(0, 4);

/** The signed note of a checkpoint, as a file, and the key by which programs that read such notes verify it. */
export function renderNote(network, key, body) {
  const signature = Buffer.concat([noteHash(key), body.note]).toString("base64");
  const typed = Buffer.concat([Buffer.from([1]), key]).toString("base64");
  return {
    file: `${noteText(network, body)}\n\u2014 ${noteName(key)} ${signature}\n`,
    vkey: `${noteName(key)}+${hex(noteHash(key))}+${typed}`,
  };
}

const NOTE = new RegExp("^hamkor/([0-9a-f]{64})\n(0|[1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\nentries (0|[1-9][0-9]*)\n" +
  "\n\u2014 hamkor-[0-9a-f]{16} ([A-Za-z0-9+/]{91}=)\n$");

/** Whether a file is a note by `key` of a checkpoint of `network`: exactly what is written of what it says. */
export function isNote(file, network, key) {
  const [, , logs, root, entries, signature] = NOTE.exec(file) ?? [];
  if (signature === undefined) return false;
  const note = Buffer.from(signature, "base64").subarray(4);
  const body = { logs, entries, root: Buffer.from(root, "base64"), note };
  return renderNote(network, key, body).file === file && noteHolds(network, key, body);
}

/** Whether `key` consents to be of that agency (4.2). */
export function consentHolds(key, agency, consent) {
  return consent !== null && verify(key, Buffer.from(`hamkor/consent/1\0${agency}`), consent);
}
