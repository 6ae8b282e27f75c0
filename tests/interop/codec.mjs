// Canonical msgpack (SPEC.md 2). Bytes are walked first, and refused unless they are canonical; then read.

import { isUtf8 } from "node:buffer";
import { Decoder, encode } from "@msgpack/msgpack";

export { encode }; // shortest forms; given no floats and no map, what it writes is canonical

export class Refused extends Error {} // not in the form that SPEC.md asks for

export function check(holds, message) {
  if (!holds) throw new Refused(message);
}

/** What `read` gives; where it refuses, what `otherwise` makes of that. */
export function attempt(read, otherwise) {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return otherwise(error.message);
  }
}

const ITEMS_MAX = 4096;
const DEPTH_MAX = 16;
const REST = { 0xc4: ["bin", 1], 0xc5: ["bin", 2], 0xc6: ["bin", 4], 0xcc: ["uint", 1], 0xcd: ["uint", 2],
  0xce: ["uint", 4], 0xcf: ["uint", 8], 0xd0: ["int", 1], 0xd1: ["int", 2], 0xd2: ["int", 4], 0xd3: ["int", 8],
  0xd9: ["str", 1], 0xda: ["str", 2], 0xdb: ["str", 4], 0xdc: ["array", 2], 0xde: ["map", 2] };
const SHORTER = { bin: [0, 0, 256, 0, 65536], str: [0, 32, 256, 0, 65536], array: [0, 0, 16], map: [0, 0, 16],
  uint: [0, 128, 256, 0, 65536, 0, 0, 0, 2 ** 32], int: [0, 32, 128, 0, 32768, 0, 0, 0, 2 ** 31] };

/** What starts at `at`: its type, its number (a length, a count, a value) and where what follows begins. */
function head(bytes, at) {
  check(at < bytes.length, "no value: bytes are missing");
  const first = bytes[at];
  if (first < 0x80 || first >= 0xe0 || first === 0xc0 || first === 0xc2 || first === 0xc3) return ["plain", 0, at + 1];
  if (first < 0x90) return ["map", first & 15, at + 1];
  if (first < 0xa0) return ["array", first & 15, at + 1];
  if (first < 0xc0) return ["str", first & 31, at + 1];
  check(first in REST, "floats, extensions and arrays or maps of more than 65,535 items are not allowed");
  const [type, width] = REST[first];
  check(at + 1 + width <= bytes.length, "a length or a number is cut short");
  let number;
  if (type === "int") {
    number = width === 8 ? Number(bytes.readBigInt64BE(at + 1)) : bytes.readIntBE(at + 1, width);
    check(number < -SHORTER.int[width], "a negative integer in a longer form, or a positive one in a signed form");
    return ["plain", 0, at + 1 + width];
  }
  number = width === 8 ? Number(bytes.readBigUInt64BE(at + 1)) : bytes.readUIntBE(at + 1, width);
  check(number >= SHORTER[type][width], "a number or a length in a longer form than it needs");
  return [type === "uint" ? "plain" : type, number, at + 1 + width];
}

/** Walk the value at `at`; where it ends. Allocates nothing for what the bytes promise. */
function walk(bytes, at, depth) {
  const [type, number, start] = head(bytes, at);
  if (type === "plain") return start;
  if (type === "bin" || type === "str") {
    const end = start + number;
    check(end <= bytes.length, "fewer bytes than promised");
    check(type === "bin" || isUtf8(bytes.subarray(start, end)), "text is not UTF-8");
    return end;
  }
  check(depth < DEPTH_MAX && number <= ITEMS_MAX, "more than 16 deep, or more than 4,096 items");
  let end = start;
  let before = null;
  for (let i = 0; i < number; i++) {
    if (type === "map") {
      const [kind, size, from] = head(bytes, end);
      check(kind === "str", "a key is not text");
      end = walk(bytes, end, depth + 1);
      const key = bytes.subarray(from, from + size);
      check(before === null || Buffer.compare(before, key) < 0, "keys do not ascend");
      before = key;
    }
    end = walk(bytes, end, depth + 1);
  }
  return end;
}

// A key named __proto__ may stand in a record's fields; no rule is about it, so another name does for it here.
const keyDecoder = {
  canBeCached: () => true,
  decode: (bytes, from, size) => {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset + from, size).toString();
    return text === "__proto__" ? "__proto__\u0000" : text;
  },
};
const reader = new Decoder({ keyDecoder }); // integers beyond 2^53 lose digits, and are out of range everywhere
const exactReader = new Decoder({ keyDecoder, useBigInt64: true });

/** The value of canonical `bytes`; maps are objects, byte strings are Buffers. exact: 8-byte integers are BigInts. */
export function decode(bytes, { max = 1 << 20, exact = false } = {}) {
  check(bytes.length <= max, `longer than ${max} bytes`);
  check(walk(bytes, 0, 0) === bytes.length, "bytes after the value");
  return (exact ? exactReader : reader).decode(bytes);
}

// -- forms that values have ---------------------------------------------------------------------------

export const isInt = (value, least = 0, most = Number.MAX_SAFE_INTEGER) =>
  Number.isSafeInteger(value) && value >= least && value <= most;
export const isBytes = (value, size) => value instanceof Uint8Array && (size === undefined || value.length === size);
export const isText = (value) => typeof value === "string";
export const isMap = (value) =>
  value !== null && typeof value === "object" && !Array.isArray(value) && !isBytes(value);
export const isCode = (value) => isText(value) && /^[a-z0-9-]{1,24}$/.test(value);
export const isWord = (value) => isText(value) && /^[a-z][a-z0-9_]{0,23}$/.test(value);

/** Whether `value` is a map with exactly these names. */
export function hasFields(value, ...names) {
  return isMap(value) && Object.keys(value).length === names.length && names.every((name) => Object.hasOwn(value, name));
}

// SPEC.md 4.6: what could move a cursor or turn text round.
const MOVING = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;

export function isPlainText(value, least = 1, most = 200) {
  if (!isText(value) || MOVING.test(value)) return false;
  const size = Buffer.byteLength(value);
  return size >= least && size <= most;
}

export const compare = (a, b) => Buffer.compare(a, b);
export const same = (a, b) => a !== null && b !== null && Buffer.compare(a, b) === 0;
export const hex = (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");

/** Whether `list` strictly ascends, by `order`. */
export function ascends(list, order = compare) {
  return list.every((item, i) => i === 0 || order(list[i - 1], item) < 0);
}
