// The vectors of SPEC.md: what is valid is read and says what it should, what is not is refused.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import zlib from "node:zlib";
import { isNote, readAct, readBody, readCharter, renderNote } from "./bodies.mjs";
import { readChain } from "./checkpoints.mjs";
import { attempt, check, decode, hasFields, hex, isMap, same } from "./codec.mjs";
import { isConsistent, logLeaf, node, rootFromPath, sha256, Tree, treeRoot } from "./crypto.mjs";
import { isSigned, readFrame, readRow } from "./entries.mjs";
import { auditBundle, readMessage, readMessages, unpack } from "./ledger.mjs";
import { checkProof } from "./proof.mjs";

const unhex = (digits) => (digits === null ? null : Buffer.from(digits, "hex"));
const isZstd = ({ hex: digits }) => digits.startsWith("01");

/** The plain form of a value read with BigInts, and of one in a vector's JSON: both as text, to be compared. */
function written(value) {
  if (typeof value === "bigint" || typeof value === "number") return `i${value}`;
  if (value instanceof Uint8Array) return `b${hex(value)}`;
  if (Array.isArray(value)) return `[${value.map(written)}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (hasFields(value, "bytes") && typeof value.bytes === "string") return `b${value.bytes}`;
  if (hasFields(value, "integer") && typeof value.integer === "string") return `i${BigInt(value.integer)}`;
  return `{${Object.keys(value).sort().map((key) => JSON.stringify(key) + written(value[key]))}}`;
}

const says = (raw, { value }) => check(written(decode(raw, { exact: true })) === written(value), "another value");

function readEntry(raw, { key, seq, prev, network_id: network, id, header }) {
  const entry = readRow(raw, unhex(key), seq, unhex(prev));
  check(isSigned(entry, unhex(network)), "its signature does not hold");
  if (id) check(hex(entry.id) === id && hex(entry.header) === header, "another id or header");
}

function readChainCase({ key, seq, prev, rows, ids, network_id: network }) {
  let before = unhex(prev);
  let time = 0;
  const entries = rows.map((row, i) => {
    const entry = readRow(unhex(row), unhex(key), seq + i, before);
    check(entry.time >= time, "dates go back");
    [before, time] = [entry.id, entry.time];
    return entry;
  });
  check(isSigned(entries.at(-1), unhex(network)), "the last signature does not hold");
  check(entries.every((entry, i) => hex(entry.id) === ids[i]), "other ids");
}

function readMerkle({ leaves, logs, peaks, root, path, leaf, index, size, proof, first, first_root: firstRoot }) {
  if (path) {
    const found = rootFromPath(unhex(leaf), index, size, path.map(unhex));
    return check(found !== null && hex(found) === root, "it is not included");
  }
  if (proof) return check(isConsistent(first, size, unhex(firstRoot), unhex(root), proof.map(unhex)), "not consistent");
  const named = (count) => Array.from({ length: count }, (_, i) => sha256(`leaf ${i}`));
  if (logs) {
    const found = logs.map(([key, size]) => logLeaf(unhex(key), size, treeRoot(named(size))));
    return check(hex(treeRoot(found)) === root, "another root");
  }
  const tree = new Tree();
  for (const leaf of named(leaves)) tree.add(leaf);
  check(hex(tree.root()) === root && tree.peaks.map(([, peak]) => hex(peak)).join() === peaks.join(), "another root");
  return check(hex(byDefinition(named(leaves))) === root, "another root by the definition");
}

/** RFC 9162, 2.1.1, word for word. */
function byDefinition(leaves) {
  if (leaves.length < 2) return leaves[0] ?? sha256();
  const split = 2 ** Math.ceil(Math.log2(leaves.length) - 1);
  return node(byDefinition(leaves.slice(0, split)), byDefinition(leaves.slice(split)));
}

function readBundle(raw, { network, messages }) {
  const line = Buffer.from("hamkor bundle 1\n");
  check(same(raw.subarray(0, line.length), line), "no bundle");
  check(same(raw.subarray(line.length, line.length + 32), network), "of another network");
  const found = [...readMessages(raw)];
  if (messages) check(found.map(written).join() === messages.map((one) => written(decode(unhex(one)))).join(), "others");
}

/** A ledger and what counts in it: root, sizes, ranks. */
function readLedger(raw, { root, logs, standing, charter }) {
  const found = auditBundle(raw, charter, true);
  check(found.report.root === root, `another root: ${found.report.root}`);
  for (const [key, counts, held] of logs) {
    check(found.counting.get(key)?.length === counts, `${key} counts otherwise`);
    check(found.held.get(key).end === held, `${key} is held otherwise`);
  }
  const founders = new Set(charter.agencies.map((agency) => hex(agency.key)));
  const ranks = [...found.standing].filter(([key]) => !founders.has(key)).map(([key, { rank }]) => key + rank);
  check(ranks.sort().join() === Object.entries(standing).map(([key, rank]) => key + rank).sort().join(), "other ranks");
}

function readProof({ file, hex: digits, result, reason }, charterFile) {
  const found = checkProof(file === undefined ? unhex(digits) : Buffer.from(file), charterFile);
  if (result) check(same(Buffer.from(sorted(found)), Buffer.from(sorted(result))), `another result: ${sorted(found)}`);
  if (reason && found.reason !== reason) throw new Error(`refused because of ${found.reason}, not ${reason}`);
  check(found.verdict !== "refused", found.reason);
}

/** JSON with the names of every object in order. */
const sorted = (value) => JSON.stringify(value, (_, item) =>
  isMap(item) ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1))) : item);

/** A node's checkpoint entries, or a note: the state after the last one, its note and the note's key. */
function readCheckpoints({ bodies, seqs, state, note, vkey, key, network_id: id, ...last }, network) {
  if (!bodies) return check(isNote(unhex(note).toString(), network, unhex(key)), "no note by that key");
  const entries = bodies.map((body, i) => ({ kind: "checkpoint", seq: seqs[i], body: unhex(body) }));
  const found = [...readChain(entries, () => {})].at(-1);
  check(found?.entry.seq === seqs.at(-1), "the last one is no checkpoint");
  if (state === undefined) return undefined;
  const heads = [...found.state].map(([log, [size, end]]) => [log, size, hex(end)]).sort();
  check(sorted(heads) === sorted([...state].sort()), "another state");
  check(hex(found.body.root) === last.root && found.body.logs === last.logs, "another root");
  const rendered = renderNote(unhex(id), unhex(key), found.body);
  check(rendered.vkey === vkey && rendered.file === unhex(note).toString(), "another note");
  return check(isNote(rendered.file, unhex(id), unhex(key)), "its note does not hold");
}

/** How each family's case is read: raises Refused. null: the case is of a kind that this program does not read. */
function readers(charterFile) {
  const charter = readCharter(charterFile);
  return {
    act: (raw, one) => (readAct(raw), one.value && says(raw, one)),
    body: (raw, one) => readBody(one.kind, raw),
    bundle: (raw, one) => (one.kind === "invitation" ? null : readBundle(raw, { ...one, network: charter.network })),
    chain: (_, one) => readChainCase(one),
    charter: (raw, one) => {
      const found = readCharter(raw);
      if (one.network_id) check(hex(found.network) === one.network_id, "another network");
    },
    codec: (raw, one) => ("value" in one ? says(raw, one) : decode(raw)),
    entry: readEntry,
    frame: (raw, one) => {
      if (isZstd(one) && !zlib.zstdDecompressSync) return null;
      const runs = readFrame(raw, unpack);
      return "value" in one ? check(written(runs) === written(one.value), "other runs") : undefined;
    },
    ledger: (raw, one) => readLedger(raw, { ...one, charter }),
    document: (raw) => check(auditBundle(raw, charter).verdict === "sound", "a sound ledger"),
    merkle: (_, one) => readMerkle(one),
    message: (raw, one) => (one.name.includes("fork") && !one.name.includes("forked") ? readMessage(raw) : null),
    checkpoint: (_, one) => readCheckpoints(one, charter.network),
    proof: (_, one) => readProof(one, charterFile),
  };
}

/** Run all vectors of the folder that are in a family that is read here; 0 when all passed. */
export function runVectors(folder) {
  const load = (family) => JSON.parse(readFileSync(join(folder, `${family}.json`), "utf8"));
  const read = readers(unhex(load("charter").valid[0].hex));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const family of Object.keys(read)) {
    if (!existsSync(join(folder, `${family}.json`))) continue;
    const vectors = load(family);
    for (const title of ["valid", "refused"]) {
      for (const one of vectors[title] ?? []) {
        let outcome = attempt(() => (read[family](one.hex && unhex(one.hex), one) === null ? "skipped" : "valid"),
          (reason) => `refused: ${reason}`);
        if (outcome === "skipped") {
          counts.skipped++;
        } else if (outcome.startsWith(title)) {
          counts.passed++;
        } else {
          counts.failed++;
          process.stderr.write(`${family}: ${one.name}: should be ${title}; ${outcome}\n`);
        }
      }
    }
  }
  process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
  return counts.failed ? 1 : 0;
}
