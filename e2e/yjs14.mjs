// yjs14.mjs ws://host/ room: two clients of Yjs 14 write every native type into a document; prints, as one JSON line, what a third reads
// before and after an edit, and what Yjs 13 reads in the same bytes.
import WebSocket from 'ws'
import * as Y from '@y/y'
import * as Y13 from 'yjs'
import { WebsocketProvider } from '@y/websocket'

const [url, room] = process.argv.slice(2)
const until = async (what, ok) => {
  for (const end = Date.now() + 30000; !ok(); await new Promise(resolve => setTimeout(resolve, 5))) if (Date.now() > end) throw new Error(what)
}
const open = async () => {
  const doc = new Y.Doc()
  const provider = new WebsocketProvider(url, room, doc, { WebSocketPolyfill: WebSocket, disableBc: true })
  await until('sync', () => provider.synced)
  return { doc, provider }
}
// stored waits until another client has all that this one has: nothing is seen before it is stored.
const seen = (from, by) => until('the other client', () => JSON.stringify(read(from.doc)) === JSON.stringify(read(by.doc)))
const names = ['text', 'map', 'array', 'xml']
const read = doc => Object.fromEntries(names.map(name => [name, doc.get(name).toJSON()]))

const a = await open(); const b = await open()
a.doc.transact(() => {
  const text = a.doc.get('text')
  text.insert(0, 'abc')
  text.setAttr('lang', 'en')
  text.format(0, 2, { bold: true })
  const map = a.doc.get('map')
  map.setAttr('title', 'x')
  map.setAttr('n', [1, { a: 2 }])
  const nested = new Y.Type()
  map.setAttr('nested', nested)
  nested.setAttr('colour', 'red')
  nested.setAttr('deep', new Y.Type('b'))
  nested.insert(0, 'in nested')
  a.doc.get('array').insert(0, [1, 'two', { three: 3 }, new Uint8Array([4])])
  const p = new Y.Type('p')
  const plain = new Y.Type()
  a.doc.get('xml').insert(0, [p, plain])
  p.insert(0, 'hello')
  p.setAttr('align', 'left')
  plain.insert(0, ['item', 'value'])
})
await seen(a, b)
const first = read(b.doc)
b.doc.transact(() => {
  b.doc.get('map').getAttr('nested').setAttr('colour', 'blue')
  b.doc.get('xml').get(0).insert(5, ' world')
  b.doc.get('xml').get(1).delete(0, 1)
  b.doc.get('array').delete(0, 1)
})
await seen(b, a)
const c = await open()
const old = new Y13.Doc()
Y13.applyUpdate(old, Y.encodeStateAsUpdate(c.doc))
console.log(JSON.stringify({
  first,
  last: read(c.doc),
  yjs13: { text: old.getText('text').toString(), map: old.getMap('map').get('title'), array: old.getArray('array').length, xml: old.getXmlFragment('xml').toString() }
}))
process.exit(0)
