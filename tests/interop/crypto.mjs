// SHA-256, strict Ed25519 (SPEC.md 3.2), and RFC 9162 trees (SPEC.md 7).

import { createHash, createPublicKey, verify as opensslVerify } from "node:crypto";

export function sha256(...parts) {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

const ORDER = (1n << 252n) + 27742317777372353535851937790883648493n;
const FIELD = (1n << 255n) - 19n;

/** The y of the eight points of small order, without the sign bit, and their non-canonical forms. */
const SMALL = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

const little = (bytes) => BigInt("0x" + Buffer.from(bytes).reverse().toString("hex"));

function withoutSign(point) {
  const y = Buffer.from(point);
  y[31] &= 0x7f;
  return y;
}

const DER = Buffer.from("302a300506032b6570032100", "hex"); // SubjectPublicKeyInfo of an Ed25519 key
const keys = new Map(); // hexadecimal key -> KeyObject, or null where rule 2 refuses it

function publicKey(key) {
  const name = Buffer.from(key).toString("hex");
  if (!keys.has(name)) {
    const y = withoutSign(key);
    const allowed = !SMALL.has(y.toString("hex")) && little(y) < FIELD;
    if (keys.size > 100_000) keys.clear();
    keys.set(name, allowed ? createPublicKey({ key: Buffer.concat([DER, key]), format: "der", type: "spki" }) : null);
  }
  return keys.get(name);
}

/** Whether the signature holds, as SPEC.md 3.2 says. OpenSSL decides rule 4: it too compares R's encoding. */
export function verify(key, message, signature) {
  const loaded = publicKey(key);
  if (loaded === null) return false;
  if (little(signature.subarray(32)) >= ORDER) return false;
  if (SMALL.has(withoutSign(signature.subarray(0, 32)).toString("hex"))) return false;
  return opensslVerify(null, message, loaded, signature);
}

const ONE = Buffer.from([1]);
export const node = (left, right) => sha256(ONE, left, right);

/** A tree that grows: its compact range. */
export class Tree {
  size = 0;
  peaks = []; // [height, hash], largest first

  add(leaf) {
    let height = 0;
    let hash = leaf;
    for (; this.peaks.length && this.peaks.at(-1)[0] === height; height++) hash = node(this.peaks.pop()[1], hash);
    this.peaks.push([height, hash]);
    this.size++;
  }

  root() {
    if (this.size === 0) return sha256();
    return this.peaks.map(([, hash]) => hash).reduceRight((right, left) => node(left, right));
  }
}

export function treeRoot(leaves) {
  const tree = new Tree();
  for (const leaf of leaves) tree.add(leaf);
  return tree.root();
}

/** The root that an inclusion path leads to (RFC 9162, 2.1.3.2), or null where the path does not fit the sizes. */
export function rootFromPath(leaf, index, size, path) {
  if (index >= size) return null;
  let fn = BigInt(index);
  let sn = BigInt(size) - 1n;
  let hash = leaf;
  for (const step of path) {
    if (sn === 0n) return null;
    if (fn & 1n || fn === sn) {
      hash = node(step, hash);
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      hash = node(hash, step);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n ? hash : null;
}

/** Whether a tree of `size` with `root` begins with one of `first` leaves and `firstRoot` (RFC 9162, 2.1.4.2). */
export function isConsistent(first, size, firstRoot, root, proof) {
  if (first === 0 || first > size) return false;
  if (first === size) return proof.length === 0 && firstRoot.equals(root);
  if (proof.length === 0) return false;
  let fn = BigInt(first) - 1n;
  let sn = BigInt(size) - 1n;
  const steps = (fn & (fn + 1n)) === 0n ? [firstRoot, ...proof] : proof;
  while (fn & 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
  let fr = steps[0];
  let sr = steps[0];
  for (const step of steps.slice(1)) {
    if (sn === 0n) return false;
    if (fn & 1n || fn === sn) {
      [fr, sr] = [node(step, fr), node(step, sr)];
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      sr = node(sr, step);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n && fr.equals(firstRoot) && sr.equals(root);
}

const ZERO = Buffer.from([0]);

/** The leaf of the ledger root's tree for a log. */
export function logLeaf(key, size, root) {
  const count = Buffer.alloc(8);
  count.writeBigUInt64BE(BigInt(size));
  return sha256(ZERO, key, count, root);
}
