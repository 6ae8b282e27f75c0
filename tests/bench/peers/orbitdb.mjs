// OrbitDB: an events database, one writer (its own way of one log for several is far slower); every signature is verified.

import { createHelia } from 'helia'
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { gossipsub } from '@libp2p/gossipsub'
import { multiaddr } from '@multiformats/multiaddr'
import { LevelBlockstore } from 'blockstore-level'
import { LevelDatastore } from 'datastore-level'
import { bitswap } from '@helia/block-brokers'
import { createOrbitDB } from '@orbitdb/core'
import { serve, timed, values } from './common.mjs'

let helia, orbit, db
const wait = ms => new Promise(resolve => setTimeout(resolve, ms))

await serve({
  async open ({ folder }) {
    const datastore = new LevelDatastore(`${folder}/data`)
    const libp2p = await createLibp2p({
      addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
      transports: [tcp()], connectionEncrypters: [noise()], streamMuxers: [yamux()],
      services: { identify: identify(), pubsub: gossipsub({ allowPublishToZeroTopicPeers: true }) }
    })
    helia = await createHelia({ datastore, blockstore: new LevelBlockstore(`${folder}/blocks`), libp2p, blockBrokers: [bitswap()] })
    orbit = await createOrbitDB({ ipfs: helia, directory: `${folder}/orbit` })
  },

  async append ({ values: path, first, count }) {
    db ??= await orbit.open('bench', { type: 'events' })
    const mine = values(path, first, first + count)
    return timed(async () => { for (const fields of mine) await db.add(fields) })
  },

  async logs () {
    return { [db.address]: (await db.log.values()).length }
  },

  listen () {
    const address = helia.libp2p.getMultiaddrs()[0].toString()
    return { address, port: Number(/tcp\/(\d+)/.exec(address)[1]) }
  },

  fetch ({ address, logs }) {
    return timed(async () => {
      const [[name, size]] = Object.entries(logs)
      await helia.libp2p.dial(multiaddr(address))
      db ??= await orbit.open(name)
      while ((await db.log.values()).length < size) { // a head brings all that is below it, and is told once
        await Promise.race([new Promise(resolve => db.events.once('update', resolve)), wait(500)])
      }
    })
  },

  async leave () {
    await Promise.all(helia.libp2p.getConnections().map(connection => connection.close()))
    await wait(300)
  },

  async close () {
    await orbit.stop()
    await helia.stop()
  }
})
