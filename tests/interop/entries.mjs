// Entries: headers, rows, ids, runs, frames, fork proofs (SPEC.md 3, 5, 6.5).

import { ascends, check, compare, decode, encode, hex, isBytes, isInt, isText, same } from "./codec.mjs";
import { sha256, verify } from "./crypto.mjs";

export const HEADER_MAX = 2048;
const BODY_MAX = 262_144;
const ROW_MAX = 1 << 20;
const ZERO = Buffer.from([0]);

const signedPrefix = (network) => Buffer.concat([Buffer.from("hamkor/entry/1\0"), network]);

/** The header of these fields, checked by the rules of 3.1. */
function checkFields(key, seq, prev, refs, kind, space, bodySize, bodyHash, time) {
  check(isBytes(key, 32), "key is 32 bytes");
  check(isInt(seq), "seq is 0 to 2^53-1");
  check(seq === 0 ? prev === null : isBytes(prev, 32), "prev is nil exactly when seq is 0, else 32 bytes");
  check(Array.isArray(refs) && refs.length <= 32 && refs.every((ref) => isBytes(ref, 32)), "refs: at most 32 ids");
  check(ascends(refs), "refs strictly ascend");
  check(isText(kind) && /^[a-z0-9-]{1,24}$/.test(kind), "kind is 1 to 24 of a-z, 0-9, -");
  check(space === null || isBytes(space, 32), "space is nil or 32 bytes");
  check(isInt(bodySize, 0, BODY_MAX), "body_size is 0 to 262,144");
  check(isBytes(bodyHash, 32), "body_hash is 32 bytes");
  check(isInt(time), "time_ms is 0 to 2^53-1");
}

function entryOf(fields, header, signature, body) {
  const [, key, seq, prev, refs, kind, space, bodySize, bodyHash, time] = fields;
  const id = sha256(ZERO, header, signature);
  return { key, seq, prev, refs, kind, space, bodySize, bodyHash, time, header, signature, body, id };
}

/** The entry of a header and a signature that came as bytes; body: bytes, or null. */
export function readHeader(header, signature, body = null) {
  check(header.length <= HEADER_MAX, "a header is at most 2,048 bytes");
  const fields = decode(header, { max: HEADER_MAX });
  check(Array.isArray(fields) && fields.length === 10 && fields[0] === 1, "a header is an array of 10, version 1");
  checkFields(...fields.slice(1));
  check(isBytes(signature, 64), "a signature is 64 bytes");
  return entryOf(fields, header, signature, body);
}

/** The entry that a row is at its place: after `prev`, as entry `seq` of `key`. */
export function readRow(row, key, seq, prev) {
  const fields = decode(row, { max: ROW_MAX });
  check(Array.isArray(fields) && fields.length === 6, "a row has 6 fields");
  const [kind, time, refs, space, stated, signature] = fields;
  const held = isBytes(stated);
  check(held || (Array.isArray(stated) && stated.length === 2), "a body is bytes, or [size, hash]");
  const [size, hash] = held ? [stated.length, sha256(stated)] : stated;
  checkFields(key, seq, prev, refs, kind, space, size, hash, time);
  check(isBytes(signature, 64), "a signature is 64 bytes");
  const whole = [1, key, seq, prev, refs, kind, space, size, hash, time];
  const header = Buffer.from(encode(whole));
  check(header.length <= HEADER_MAX, "a header is at most 2,048 bytes");
  return entryOf(whole, header, signature, held ? Buffer.from(stated) : null);
}

/** Whether the author's own signature on the entry holds. */
export function isSigned(entry, network) {
  return verify(entry.key, Buffer.concat([signedPrefix(network), entry.header]), entry.signature);
}

/** The runs of a plain frame: [key, seq, prev, rows]. A compressed one needs zstd, which `unpack` brings or refuses. */
export function readFrame(frame, unpack) {
  check(frame.length >= 2 && frame.length <= 1 << 20, "a frame is 2 bytes to 1 MiB");
  check(frame[0] <= 1, "a frame is plain (0) or zstd (1)");
  const payload = frame[0] === 0 ? frame.subarray(1) : unpack(frame.subarray(1));
  const runs = decode(payload);
  check(Array.isArray(runs) && runs.length >= 1 && runs.length <= 1024, "a frame holds 1 to 1,024 runs");
  let rows = 0;
  for (const run of runs) {
    check(Array.isArray(run) && run.length === 4 && isBytes(run[0], 32) && isInt(run[1]), "a run: key, seq, prev, rows");
    check(run[1] === 0 ? run[2] === null : isBytes(run[2], 32), "prev is nil exactly when seq is 0, else an id");
    check(Array.isArray(run[3]) && run[3].length >= 1 && run[3].every((row) => isBytes(row)), "rows are byte strings");
    rows += run[3].length;
  }
  check(rows <= 4096, "a frame holds at most 4,096 rows");
  return runs;
}

// -- fork proofs --------------------------------------------------------------------------------------

const isPair = (pair) =>
  Array.isArray(pair) && pair.length === 2 && isBytes(pair[0]) && pair[0].length <= HEADER_MAX && isBytes(pair[1], 64);
const isRest = (rest) => Array.isArray(rest) && rest.length <= 127 && rest.every(isPair);

/** Whether a message has the shape of `fork`; what it proves `readFork` says. */
export function isForkMessage(message) {
  return message.length === 5 && isPair(message[1]) && isPair(message[2]) && isRest(message[3]) && isRest(message[4]);
}

/** A chain that begins with these pairs of header and signature: each follows the one before it. */
export function readChain(pairs) {
  const entries = pairs.map(([header, signature]) => readHeader(header, signature));
  entries.forEach((entry, i) => {
    if (i === 0) return;
    const before = entries[i - 1];
    check(same(entry.key, before.key) && entry.seq === before.seq + 1 && same(entry.prev, before.id), "a broken chain");
  });
  return entries;
}

/** The two chains of a fork message that proves a fork. Raises Refused where it proves none. */
export function readFork([, first, second, restOne, restTwo], network) {
  const sides = [readChain([first, ...restOne]), readChain([second, ...restTwo])];
  const [[one], [two]] = sides;
  check(same(one.key, two.key) && one.seq === two.seq, "the headers are of one key and one seq");
  check(compare(one.id, two.id) < 0, "the ids differ, and ascend");
  for (const side of sides) check(isSigned(side.at(-1), network), "the last header of each side is signed");
  return sides;
}

export const nameOf = (key) => hex(key);
