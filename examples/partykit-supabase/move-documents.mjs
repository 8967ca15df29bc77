// Carries documents from PartyKit to yjet. Ids come on stdin, one a line:
//
//   node move-documents.mjs --from my-app.me.partykit.dev --to https://collab.example.com < ids.txt
//
//   --party NAME        the party the documents are in (default main)
//   --from-token TOKEN  sent to PartyKit as ?token=
//   --to-token TOKEN    for yjet, best an administrator's (or TO_TOKEN in the environment): users may begin 20
//                       documents a minute, so theirs takes longer
//   --merge             also where the document exists here already: what was edited since goes in
//   --keep-deleted      carry deleted content too, for apps that keep Y.Snapshots
//
// Each document is opened like a browser does and what came is posted. Running it again is harmless: without
// --merge a document that is here already is left alone, with it what both sides hold is merged.
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import WebSocket from 'ws'
import YPartyKitProvider from 'y-partykit/provider'
import * as Y from 'yjs'

const { values: o } = parseArgs({
  options: {
    from: { type: 'string' },
    to: { type: 'string' },
    party: { type: 'string', default: 'main' },
    'from-token': { type: 'string', default: process.env.FROM_TOKEN },
    'to-token': { type: 'string', default: process.env.TO_TOKEN },
    merge: { type: 'boolean', default: false },
    'keep-deleted': { type: 'boolean', default: false }
  }
})
if (!o.from || !o.to) {
  console.error('usage: node move-documents.mjs --from HOST --to URL < ids.txt')
  process.exit(2)
}

let failed = 0
for await (const line of createInterface({ input: process.stdin })) {
  const id = line.trim()
  if (!id) continue
  try {
    console.log(`${id}: ${await move(id)}`)
  } catch (e) {
    failed++
    console.log(`${id}: FAILED: ${e.message}`)
  }
}
process.exit(failed ? 1 : 0)

async function move (id) {
  const update = await read(id)
  if (update.length <= 2) return 'empty, nothing to carry'
  const name = o.party === 'main' ? id : `${o.party}/${id}`
  const post = () => fetch(new URL(`/api/docs/${encodeURIComponent(name)}`, o.to), {
    method: 'POST',
    headers: {
      'Content-Type': 'application/octet-stream',
      ...(o['to-token'] && { Authorization: `Bearer ${o['to-token']}` }),
      ...(!o.merge && { 'If-None-Match': '*' })
    },
    body: update
  })
  let res = await post()
  for (let tries = 1; res.status === 503 && tries < 60; tries++) {
    await new Promise(resolve => setTimeout(resolve, 1000 * (Number(res.headers.get('Retry-After')) || 5)))
    res = await post()
  }
  if (res.status === 412) return 'is here already, left alone'
  if (!res.ok) throw new Error(`${res.status} ${await res.text()}`)
  return `${update.length} bytes carried`
}

// read opens a document and answers its state once PartyKit has sent it.
async function read (id) {
  const doc = new Y.Doc({ gc: !o['keep-deleted'] })
  const provider = new YPartyKitProvider(o.from.replace(/\/+$/, ''), id.split('/').map(encodeURIComponent).join('/'), doc, {
    connect: false,
    party: o.party,
    params: { token: o['from-token'] },
    WebSocketPolyfill: WebSocket
  })
  provider.awareness.setLocalState(null) // nobody is here
  try {
    await new Promise((resolve, reject) => {
      provider.once('sync', resolve)
      provider.on('connection-close', event => reject(new Error(`PartyKit closed: ${event.code} ${event.reason}`)))
      setTimeout(reject, 30_000, new Error('PartyKit did not send it within 30 s')).unref()
      provider.connect()
    })
    return Y.encodeStateAsUpdate(doc)
  } finally {
    provider.destroy()
    doc.destroy()
  }
}
