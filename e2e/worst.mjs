// worst.mjs build FILE clients roots ranges bytes: a document of an honest day's worst shape, made by Yjs itself.
// worst.mjs edit ws://host/ room FILE: a stock client that has FILE joins a document, adds a word, and a second one that has nothing joins;
// prints what both hold.
import * as fs from 'node:fs'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'

const [what, ...args] = process.argv.slice(2)
const until = async (what, ok) => {
  for (const end = Date.now() + 240000; !ok(); await new Promise(resolve => setTimeout(resolve, 10))) if (Date.now() > end) throw new Error(what)
}

if (what === 'build') {
  const [file, clients, roots, ranges, bytes] = [args[0], ...args.slice(1).map(Number)]
  const doc = new Y.Doc()
  const each = Math.round(ranges / clients)
  const rest = 'x'.repeat(Math.max(0, Math.floor(bytes / clients) - 4 * each - 60))
  doc.transact(() => { // at the end of each transaction Yjs goes over all clients
    for (let c = 0; c < clients; c++) {
      doc.clientID = clients * 3 - c // a client each, as if every visit were by another
      const text = doc.getText('root' + c % roots)
      text.insert(0, 'ab'.repeat(each) + rest)
      for (let i = 0; i < each; i++) text.delete(i + 1, 1) // every second letter: a range each
    }
  })
  const update = Y.encodeStateAsUpdate(doc)
  fs.writeFileSync(file, update)
  const set = Y.createDeleteSetFromStructStore(doc.store)
  console.log(JSON.stringify({ bytes: update.length, clients: doc.store.clients.size, roots: doc.share.size, ranges: [...set.clients.values()].reduce((n, l) => n + l.length, 0) }))
} else {
  const [url, room, file] = args
  const open = async doc => {
    const provider = new WebsocketProvider(url, room, doc, { WebSocketPolyfill: WebSocket, disableBc: true })
    await until('sync', () => provider.synced)
    return provider
  }
  const mine = new Y.Doc()
  if (file) Y.applyUpdate(mine, fs.readFileSync(file)) // what an offline client brings
  await open(mine)
  const other = new Y.Doc()
  await open(other)
  await until('what the first brings', () => other.store.clients.size >= mine.store.clients.size)
  const word = 'edited ' + Date.now() + ' '
  mine.getText('root0').insert(0, word)
  await until('the edit', () => other.getText('root0').toString().startsWith(word))
  console.log(JSON.stringify({ clients: other.store.clients.size, roots: [...other.share.keys()].length, same: [...other.share.keys()].every(name => mine.getText(name).toString() === other.getText(name).toString()) }))
}
process.exit(0)
