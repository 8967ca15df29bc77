// Rebuilds one document from what lies in JetStream, with yjs and the NATS client for Node, and prints it as
// JSON. It shares no code with the server: it is the proof that another program can read the log.
//
//   node rebuild.mjs NATS_URL DOCUMENT
//
// The document is the snapshot head (if one was written) and every record on its subject, in order. Each
// record's checksum is checked, and its writer's counter must not skip.
import { connect } from '@nats-io/transport-node'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import * as Y from 'yjs'
import { fingerprint } from './fingerprint.mjs'

const [url, name] = process.argv.slice(2)

// pathOf is the contract's tail of a subject: one token a segment, in which A-Z a-z 0-9 - _ stay and every other byte becomes =XX. (Names
// whose path is hashed are not needed here.)
const pathOf = name => name.split('/').map(tokenOf).join('.')
const tokenOf = name => [...Buffer.from(name, 'utf8')].map(b => /[A-Za-z0-9_-]/.test(String.fromCharCode(b)) ? String.fromCharCode(b) : '=' + b.toString(16).toUpperCase().padStart(2, '0')).join('')

const castagnoli = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0x82f63b78 ^ (n >>> 1) : n >>> 1
  return n >>> 0
})
const crc32c = bytes => {
  let c = 0xffffffff
  for (const b of bytes) c = castagnoli[(c ^ b) & 255] ^ (c >>> 8)
  return ((c ^ 0xffffffff) >>> 0).toString(16).padStart(8, '0')
}

const nc = await connect({ servers: url, timeout: 5000 })
const js = jetstream(nc)
const jsm = await jetstreamManager(nc)
const path = pathOf(name)
const problems = []
const doc = new Y.Doc()
const out = { records: 0, outside: 0, seqs: [], users: [], snapshot: null, streams: [], problems }

const streams = []
for await (const s of jsm.streams.list()) streams.push(s.config.name)
out.streams = streams.sort()

// The head first: what it covers may be gone from the log, what it does not cover is there.
for (const s of streams.filter(s => /^YSNAP_\d+$/.test(s))) {
  const head = await last(s, `ysnap.${s.slice(6)}.head.${path}`)
  if (!head) continue
  const parts = Number(head.header.get('Yjet-Parts') || 0)
  out.snapshot = { upto: Number(head.header.get('Yjet-Upto')), epoch: head.header.get('Yjet-Epoch'), parts }
  if (head.header.get('Yjet-Sum') !== crc32c(head.data)) problems.push(`snapshot head: checksum ${head.header.get('Yjet-Sum')}, bytes give ${crc32c(head.data)}`)
  let update = head.data
  if (parts > 0) {
    const info = JSON.parse(Buffer.from(head.data).toString('utf8'))
    if (info.v !== 1) throw new Error(`snapshot format ${info.v} is not known here`)
    const bytes = []
    for (const c of info.parts) {
      const m = await last(s, c.subject)
      if (!m || crc32c(m.data) !== c.sum) problems.push(`chunk ${c.subject} is ${m ? 'damaged' : 'missing'}`)
      else bytes.push(Buffer.from(m.data))
    }
    if (bytes.length !== parts) problems.push(`snapshot of ${bytes.length} chunks, promised ${parts}`)
    update = Buffer.concat(bytes)
    if (crc32c(update) !== info.sum) problems.push('snapshot: the chunks together do not have the promised checksum')
  }
  if (update.length > 0) Y.applyUpdate(doc, update)
}

async function last (stream, subject) {
  try { return await jsm.streams.getMessage(stream, { last_by_subj: subject }) } catch (e) {
    if (/no message|not found/i.test(String(e?.message))) return null
    throw e
  }
}

const writers = new Map()
for (const s of streams.filter(s => /^YDOC_\d+$/.test(s))) {
  const subject = `ydoc.${s.slice(5)}.${path}`
  const info = await jsm.streams.info(s, { subjects_filter: subject })
  let left = info.state.subjects?.[subject] ?? 0
  if (left === 0) continue
  const consumer = await js.consumers.get(s, { filter_subjects: subject })
  while (left > 0) {
    const batch = await consumer.fetch({ max_messages: Math.min(left, 1000), expires: 10000 })
    let got = 0
    for await (const m of batch) {
      got++
      take(m)
    }
    if (got === 0) {
      problems.push(`${s}: ${left} records of ${subject} were promised and not delivered`)
      break
    }
    left -= got
  }
}

function take (m) {
  out.records++
  out.seqs.push(m.seq)
  const user = m.headers?.get('Yjet-User')
  if (user && !out.users.includes(user)) out.users.push(user)
  const sum = m.headers?.get('Yjet-Sum')
  if (!sum) {
    out.outside++
  } else {
    const [crc, writer, n] = sum.split('-')
    if (crc !== crc32c(m.data)) problems.push(`record ${m.seq}: checksum ${crc}, bytes give ${crc32c(m.data)}`)
    const before = writers.get(writer)
    if (before !== undefined && Number(n) > before + 1) problems.push(`record ${m.seq}: writer ${writer} goes from ${before} to ${n}`)
    writers.set(writer, Math.max(before ?? 0, Number(n)))
  }
  try { Y.applyUpdate(doc, m.data) } catch (e) { problems.push(`record ${m.seq}: ${e.message}`) }
}

if (out.seqs.some((s, i) => i > 0 && s <= out.seqs[i - 1])) problems.push('records are not in order')
out.first = out.seqs[0] ?? 0
out.last = out.seqs.at(-1) ?? 0
delete out.seqs
await nc.close()
process.stdout.write(JSON.stringify({ ...out, fingerprint: fingerprint(doc), plain: doc.getText('t').toString() }) + '\n', () => process.exit(0))
