// The auditor's command line. Written from protocol/SPEC.md alone, in another language than hamkor.
//
//   node audit.mjs BUNDLE CHARTER            audit a bundle as a whole ledger: 0 sound, 1 faulty, 2 unreadable
//   node audit.mjs --proof PROOF CHARTER     check a proof: 0 proven, 1 unproven or refused, 2 no proof, no charter
//   node audit.mjs --batch [KIND]            a JSON case a line on stdin, a JSON result a line on stdout; KIND is
//                                            proof (the default), bundle, authority or signature
//   node audit.mjs --vectors DIR             the vectors of SPEC.md

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { judge } from "./authority.mjs";
import { readAct, readCharter } from "./bodies.mjs";
import { hex, Refused } from "./codec.mjs";
import { verify } from "./crypto.mjs";
import { auditBundle, Unreadable } from "./ledger.mjs";
import { checkProof } from "./proof.mjs";
import { runVectors } from "./vectors.mjs";

const unhex = (digits) => Buffer.from(digits, "hex");

/** A charter and acts as JSON, for tests of 4.4 alone: no signatures, no logs. */
function judgeJson({ agencies, threshold, acts }) {
  const charter = { agencies: agencies.map(({ key, ...rest }) => ({ key: unhex(key), ...rest })), threshold };
  const held = [];
  for (const { body, ...one } of acts) {
    try {
      held.push({ ...one, act: readAct(unhex(body)) });
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // a body that is no act has no effect
    }
  }
  const found = judge(charter, held);
  const standing = [...found.standing].map(([key, { rank, agency, name, unit, certifier, seq }]) =>
    [key, rank, agency, name, unit, certifier, seq]);
  return {
    standing: standing.sort(), threshold: found.threshold, passed: found.passed.sort(),
    cutoffs: [...found.cutoffs].filter(([key]) => found.standing.has(key)).map(([key, { seq, id }]) => [key, seq, id]).sort(),
    members: [...found.members].sort(), open: found.open.map(([id, yes]) => [id, yes.sort()]).sort(),
  };
}

const BATCHES = {
  authority: judgeJson,
  bundle: ({ bundle, charter }) => audited(Buffer.from(bundle, "base64"), Buffer.from(charter, "base64")),
  proof: ({ proof, charter }) => checkProof(Buffer.from(proof, "base64"), Buffer.from(charter, "base64")),
  signature: ({ key, message, signature }) => verify(unhex(key), unhex(message), unhex(signature)),
};

function audited(bundle, file) {
  try {
    return auditBundle(bundle, readCharter(file));
  } catch (error) {
    if (!(error instanceof Refused) && !(error instanceof Unreadable)) throw error;
    return { verdict: "unreadable", reason: error.message };
  }
}

const STATUS = { sound: 0, faulty: 1, unreadable: 2, proven: 0, unproven: 1, refused: 1 };
const UNREADABLE = ["form", "charter"];

async function main(words) {
  if (words[0] === "--vectors" && words.length === 2) return runVectors(words[1]);
  const [, kind = "proof"] = words;
  if (words[0] === "--batch" && words.length <= 2 && Object.hasOwn(BATCHES, kind)) {
    for await (const line of createInterface({ input: process.stdin })) {
      process.stdout.write(JSON.stringify(BATCHES[kind](JSON.parse(line))) + "\n");
    }
    return 0;
  }
  const proof = words[0] === "--proof";
  const files = proof ? words.slice(1) : words;
  if (files.length !== 2 || files[0].startsWith("--")) {
    process.stderr.write("usage: node audit.mjs BUNDLE CHARTER, --proof PROOF CHARTER, --batch [KIND], --vectors DIR\n");
    return 2;
  }
  const [first, charter] = files.map((path) => readFileSync(path));
  const result = proof ? checkProof(first, charter) : audited(first, charter);
  process.stdout.write(JSON.stringify(result, null, 1) + "\n");
  return proof && UNREADABLE.includes(result.reason) ? 2 : STATUS[result.verdict];
}

process.exitCode = await main(process.argv.slice(2)).catch((error) => {
  if (error.code !== "ENOENT" && error.code !== "EISDIR" && error.code !== "EACCES") throw error;
  process.stderr.write(`${error.message}\n`);
  return 2;
});
