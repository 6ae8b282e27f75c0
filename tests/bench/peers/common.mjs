// What the peers' programs share: one JSON request a line on standard input, one JSON answer a line on standard output.
// A request is {"op": name, ...}. Times are in seconds; record i belongs to author i modulo the number of authors.

import fs from 'node:fs'
import readline from 'node:readline'

// The bodies first to below stop of a file of u32 sizes and bodies.
export function records (path, first, stop) {
  const raw = fs.readFileSync(path)
  const found = []
  for (let at = 0, number = 0; number < stop; number++) {
    const size = raw.readUInt32BE(at)
    if (number >= first) found.push(raw.subarray(at + 4, at + 4 + size))
    at += 4 + size
  }
  return found
}

// The same as values, for those who take no bytes.
export function values (path, first, stop) {
  return fs.readFileSync(path, 'utf8').split('\n').slice(first, stop).map(line => JSON.parse(line))
}

// Seconds that the work takes.
export async function timed (work) {
  const start = process.hrtime.bigint()
  await work()
  return Number(process.hrtime.bigint() - start) / 1e9
}

export async function serve (ops) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line)
    try {
      process.stdout.write(JSON.stringify({ ok: (await ops[request.op](request)) ?? null }) + '\n')
    } catch (error) {
      process.stdout.write(JSON.stringify({ error: String(error && error.stack) }) + '\n')
    }
  }
  process.exit(0)
}
