// An app's end of --webhook and --load-url: the example's own handler over a database that is a Map.
//   node events.mjs BUNDLE SECRET   prints the port; POST / is yjet's, PUT and GET /{document} are the test's.
import { createServer } from 'node:http'
import { pathToFileURL } from 'node:url'
import * as Y from 'yjs'

const [bundle, secret] = process.argv.slice(2)
const { answer } = await import(pathToFileURL(bundle))
const rows = new Map()
const database = {
  load: async document => rows.get(document)?.state ?? null,
  save: async (document, state, edited) => { rows.set(document, { state, edited }) }
}
const http = createServer(async (req, res) => {
  const chunks = []
  for await (const c of req) chunks.push(c)
  const body = Buffer.concat(chunks)
  const name = decodeURIComponent(req.url.slice(1))
  if (req.method === 'POST') {
    const reply = await answer(new Request('http://app/', { method: 'POST', headers: req.headers, body }), secret, database)
    res.writeHead(reply.status, Object.fromEntries(reply.headers))
    return res.end(Buffer.from(await reply.arrayBuffer()))
  }
  const doc = new Y.Doc()
  if (req.method === 'PUT') {
    doc.getText('t').insert(0, String(body))
    rows.set(name, { state: Y.encodeStateAsUpdate(doc) })
    return res.end()
  }
  const row = rows.get(name)
  if (row) Y.applyUpdate(doc, row.state)
  res.end(JSON.stringify({ text: doc.getText('t').toString(), users: row?.edited?.users ?? [] }))
})
http.listen(0, '127.0.0.1', () => console.log(http.address().port))
process.stdin.resume().on('end', () => process.exit(0))
