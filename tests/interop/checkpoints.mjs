// What nodes attest, against what the bundle holds (SPEC.md 7.1, 7.2).

import { noteHolds, readBody, readHeads } from "./bodies.mjs";
import { attempt, hex, same } from "./codec.mjs";
import { logLeaf, Tree, treeRoot } from "./crypto.mjs";

/** The checkpoints in the counting entries of one node: {entry, body, state}; malformed ones are told. */
export function* readChain(entries, malformed) {
  let state = null; // Map key -> [size, id], of the checkpoint before
  let parts = [];
  for (const entry of entries) {
    if (entry.kind !== "checkpoint") {
      if (parts.length) malformed(parts.at(-1), "its later parts are missing");
      parts = [];
      continue;
    }
    const body = entry.body === null ? null : attempt(() => {
      const read = readBody("checkpoint", entry.body);
      return { ...read, heads: readHeads(read.heads) };
    }, () => null);
    const before = parts.at(-1);
    if (before && (body === null || entry.seq !== before.entry.seq + 1 || !follows(before.body, body))) {
      malformed(parts.at(-1), "its later parts are missing");
      parts = [];
    }
    if (body === null) {
      malformed({ entry }, "no body of a checkpoint");
      continue;
    }
    parts.push({ entry, body });
    if (body.rest > 0) continue;
    const next = apply(state, parts.map((part) => part.body));
    if (next === null) malformed(parts.at(-1), "it has no state before it, or does not add up");
    else yield { entry, body, state: (state = next) };
    parts = [];
  }
  if (parts.length) malformed(parts.at(-1), "its later parts are missing");
}

/** Whether a part follows another: one less to come, heads go on, all else the same. */
function follows(a, b) {
  return b.rest === a.rest - 1 && b.full === a.full && b.logs === a.logs && b.entries === a.entries &&
    same(a.root, b.root) && same(a.note, b.note) && a.heads.length > 0 && b.heads.length > 0 &&
    Buffer.compare(a.heads.at(-1)[0], b.heads[0][0]) < 0;
}

function apply(before, bodies) {
  const { full, logs, entries } = bodies[0];
  if (!full && before === null) return null;
  const state = new Map(full ? [] : before);
  for (const [key, size, id] of bodies.flatMap((body) => body.heads)) {
    if (size === 0) state.delete(hex(key));
    else state.set(hex(key), [size, id]);
  }
  const sum = [...state.values()].reduce((total, [size]) => total + size, 0);
  return state.size === logs && sum === entries ? state : null;
}

/** Report what checkpoints and alarms say that is not so. */
export function auditCheckpoints(audit, { judgement, endorsed }, counting) {
  const found = [];
  for (const [name, chain] of counting) {
    if (judgement.standing.get(name)?.rank !== "node") continue;
    const malformed = ({ entry }, reason) => audit.fault("checkpoint", entry.key, entry.seq, entry.id, reason);
    found.push(...readChain(chain, malformed));
  }
  const roots = logRoots(audit, found);
  const said = new Set(); // logs of which something was said
  const known = new Map(); // id -> root of its state here, where all of it is held
  for (const { entry, body, state } of found) {
    const say = (kind, detail) => audit.fault(kind, entry.key, entry.seq, entry.id, detail);
    if (!noteHolds(audit.charter.network, entry.key, body)) say("checkpoint-note", "its note does not hold");
    let whole = true;
    for (const [name, [size, id]] of state) {
      const chain = roots.get(`${name} ${size} ${hex(id)}`);
      if (chain) continue;
      whole = false;
      if (said.has(name) || !wouldCount(judgement, audit.logs.get(name), name, size)) continue;
      said.add(name);
      const log = audit.logs.get(name);
      const held = Math.max(log?.chained ?? 0, endorsed.get(name)?.length ?? 0);
      if (size > held) audit.fault("held-back", Buffer.from(name, "hex"), held, null, `up to ${size} are attested`);
      else if (log.forkedAt === Infinity) audit.fault("parts", log.key, size - 1, id, "another entry stands here");
    }
    if (!whole) continue;
    const leaves = [...state].sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, [size, id]]) => logLeaf(Buffer.from(name, "hex"), size, roots.get(`${name} ${size} ${hex(id)}`)));
    const root = treeRoot(leaves);
    known.set(hex(entry.id), { root, agrees: same(root, body.root) });
    if (!same(root, body.root)) say("differs", "its state has another root");
  }
  for (const [name, chain] of counting) {
    if (judgement.standing.get(name)?.rank === "node") auditAlarms(audit, chain, known);
  }
}

function auditAlarms(audit, chain, known) {
  for (const entry of chain) {
    if (entry.kind !== "alarm" || entry.body === null) continue;
    const body = attempt(() => readBody("alarm", entry.body), () => null);
    const checkpoint = body && known.get(hex(body.checkpoint)); // a malformed one says nothing
    if (checkpoint && (checkpoint.agrees || !same(checkpoint.root, body.root))) {
      audit.fault("alarm", entry.key, entry.seq, entry.id, "an alarm that says what is not so");
    }
  }
}

/** Whether entry size-1 of a log would count if it were held: it has standing, and no cutoff or fork lies below. */
function wouldCount({ standing, cutoffs }, log, name, size) {
  const cutoff = cutoffs.get(name);
  if (!standing.has(name) || (cutoff && (cutoff.id === null || cutoff.seq < size - 1))) return false;
  return log === undefined || size <= log.forkedAt || cutoff !== undefined;
}

/** "log size id" -> its root, for all that the states name and that is held in one chain. */
function logRoots(audit, found) {
  const wanted = new Map();
  for (const { state } of found) {
    for (const [name, [size, id]] of state) {
      if (!wanted.has(name)) wanted.set(name, new Map());
      wanted.get(name).set(`${size} ${hex(id)}`, [size, hex(id)]);
    }
  }
  const roots = new Map();
  for (const [name, ends] of wanted) {
    const log = audit.logs.get(name);
    if (!log) continue;
    const note = (chain, from) => {
      const tree = new Tree();
      chain.forEach((entry, seq) => {
        tree.add(entry.id);
        if (seq >= from && ends.has(`${seq + 1} ${hex(entry.id)}`)) roots.set(`${name} ${seq + 1} ${hex(entry.id)}`, tree.root());
      });
    };
    note(log.held.slice(0, log.chained), 0);
    for (const [size, id] of ends.values()) {
      const chain = log.aside.has(id) ? log.chainWith(size - 1, id) : null;
      if (chain) note(chain, size - 1);
    }
  }
  return roots;
}
