import * as Y from 'yjs'
import { lastIndex } from './bisect.js'
import { readLog } from './past-log.js'

// Folds a whole log with Yjs, once, and answers of one text which record wrote each character and which deleted it. From that the page
// paints any moment without asking anybody. The worker has no network: the page hands it the bytes.

const never = 0xffffffff

onmessage = ({ data }) => {
  try {
    const { log, transfer } = fold(new Uint8Array(data.log), data.type)
    postMessage({ log }, transfer)
  } catch (e) {
    postMessage({ error: String(e?.message ?? e) })
  }
}

function fold (bytes, type) {
  const log = readLog(bytes)
  const doc = new Y.Doc({ gc: false })
  const text = doc.getText(type)
  const born = new Map() // client → { from, rec }: the record that brought the clocks from `from` on
  const died = new Map() // client → clock → the record that deleted it
  let rec = 0
  doc.on('afterTransaction', tr => {
    tr._needFormattingCleanup = false // what Yjs would tidy up here is in nobody's log
    for (const [client, clock] of tr.afterState) {
      const before = tr.beforeState.get(client) ?? 0
      if (clock === before) continue
      let b = born.get(client)
      if (!b) born.set(client, b = { from: [], rec: [] })
      b.from.push(before)
      b.rec.push(rec)
    }
    for (const [client, runs] of tr.deleteSet.clients) {
      for (const { clock, len } of runs) {
        let d = died.get(client) ?? new Uint32Array(0)
        if (clock + len > d.length) {
          const larger = new Uint32Array(Math.max(64, d.length * 2, clock + len)).fill(never)
          larger.set(d)
          died.set(client, d = larger)
        }
        d.fill(rec, clock, clock + len)
      }
    }
  })
  for (rec = 0; rec < log.seqs.length; rec++) Y.applyUpdate(doc, log.updates[rec])

  const items = []
  let length = 0
  for (let item = text._start; item !== null; item = item.right) {
    if (item.content instanceof Y.ContentString) {
      items.push(item)
      length += item.length
    }
  }
  const wrote = new Uint32Array(length)
  const deleted = new Uint32Array(length).fill(never)
  let at = 0
  for (const { id, length: n } of items) {
    const b = born.get(id.client)
    const d = died.get(id.client)
    let k = lastIndex(b.from.length, i => b.from[i] <= id.clock)
    for (let i = 0; i < n; i++) {
      while (k + 1 < b.from.length && b.from[k + 1] <= id.clock + i) k++
      wrote[at + i] = b.rec[k]
      if (d && id.clock + i < d.length) deleted[at + i] = d[id.clock + i]
    }
    at += n
  }
  const { seqs, times, users, conns, userNames, connNames } = log
  return {
    log: { seqs, times, users, conns, userNames, connNames, chars: items.map(i => i.content.str).join(''), wrote, deleted },
    transfer: [seqs.buffer, times.buffer, users.buffer, conns.buffer, wrote.buffer, deleted.buffer]
  }
}
