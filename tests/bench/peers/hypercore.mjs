// Hypercore: a core for each author in one corestore; whoever fetches checks a signed Merkle root and a path to it for each block.

import net from 'node:net'
import Corestore from 'corestore'
import { records, serve, timed } from './common.mjs'

let store, server, socket
const cores = []

await serve({
  async open ({ folder }) {
    store = new Corestore(folder)
    await store.ready()
  },

  async append ({ records: path, first, count, authors, batch }) {
    for (let number = cores.length; number < authors; number++) {
      cores.push(store.get({ name: `author-${number}` }))
      await cores[number].ready()
    }
    const shares = cores.map(() => [])
    records(path, first, first + count).forEach((body, at) => shares[(first + at) % authors].push(body))
    return timed(async () => {
      for (let author = 0; author < authors; author++) {
        for (let at = 0; at < shares[author].length; at += batch) {
          await cores[author].append(batch === 1 ? shares[author][at] : shares[author].slice(at, at + batch))
        }
      }
    })
  },

  logs () {
    return Object.fromEntries(cores.map(core => [core.key.toString('hex'), core.length]))
  },

  async listen () {
    server = net.createServer(stream => {
      stream.setNoDelay(true)
      stream.on('error', () => {})
      stream.pipe(store.replicate(false)).on('error', () => {}).pipe(stream)
    })
    await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
    return { port: server.address().port }
  },

  // Seconds from dialling until every log has its length, all blocks held.
  fetch ({ port, logs }) {
    return timed(async () => {
      const mine = await Promise.all(Object.keys(logs).map(async key => {
        const core = store.get({ key: Buffer.from(key, 'hex') })
        await core.ready()
        core.download({ start: 0, end: -1 })
        return core
      }))
      socket = net.connect(port, '127.0.0.1')
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.pipe(store.replicate(true)).on('error', () => {}).pipe(socket)
      await Promise.all(mine.map(core => new Promise(resolve => {
        const look = () => {
          if (core.contiguousLength < logs[core.key.toString('hex')]) return
          core.off('download', look)
          core.off('append', look)
          resolve()
        }
        core.on('download', look)
        core.on('append', look)
        look()
      })))
    })
  },

  async leave () {
    const gone = new Promise(resolve => socket.on('close', resolve))
    socket.destroy()
    await gone
  },

  async close () {
    if (server) server.close()
    await store.close()
  }
})
