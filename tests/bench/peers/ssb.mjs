// ssb-db2: a classic feed for each author, replicated by EBT; whoever fetches verifies every signature.

import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { serve, timed, values } from './common.mjs'

const require = createRequire(import.meta.url)
const keysOf = require('ssb-keys')
let ssb, seen
const keys = []
const wait = ms => new Promise(resolve => setTimeout(resolve, ms))

await serve({
  async open ({ folder }) {
    ssb = require('secret-stack')({ caps: { shs: Buffer.alloc(32, 7).toString('base64') } })
      .use(require('ssb-db2')).use(require('ssb-db2/compat/ebt')).use(require('ssb-ebt'))
      .call(null, {
        path: folder, keys: keysOf.generate(), timeout: 1e9,
        connections: {
          incoming: { net: [{ scope: 'device', transform: 'shs', port: 0, host: '127.0.0.1' }] },
          outgoing: { net: [{ transform: 'shs' }] }
        }
      })
    seen = new Map()
    ssb.db.onMsgAdded(({ kvt }) => seen.set(kvt.value.author, Math.max(seen.get(kvt.value.author) ?? 0, kvt.value.sequence)))
    await wait(100)
  },

  async append ({ values: path, first, count, authors, batch }) {
    while (keys.length < authors) keys.push(keysOf.generate())
    const create = promisify(ssb.db.create)
    const mine = values(path, first, first + count)
    return timed(async () => {
      for (let at = 0; at < mine.length; at += batch) {
        await Promise.all(mine.slice(at, at + batch).map((fields, offset) => create({
          feedFormat: 'classic', keys: keys[(first + at + offset) % authors], content: { type: 'seizure', ...fields }
        })))
      }
      await promisify(ssb.db.onDrain)('base')
    })
  },

  logs () {
    return Object.fromEntries(keys.map(one => [one.id, seen.get(one.id)]))
  },

  async listen () {
    for (const one of keys) ssb.ebt.request(one.id, true)
    return { address: ssb.getAddress('device'), port: Number(/net:[^:]+:(\d+)/.exec(ssb.getAddress('device'))[1]) }
  },

  fetch ({ address, logs }) {
    return timed(async () => {
      for (const key of Object.keys(logs)) ssb.ebt.request(key, true)
      const peer = await promisify(ssb.connect)(address)
      ssb.leaveNow = () => promisify(peer.close)(true)
      while (Object.entries(logs).some(([key, size]) => (seen.get(key) ?? 0) < size)) await wait(2)
    })
  },

  async leave () {
    await ssb.leaveNow()
    await wait(300)
  },

  async close () {
    await promisify(ssb.close)(true)
  }
})
