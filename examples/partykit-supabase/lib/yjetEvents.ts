import { createHmac, timingSafeEqual } from 'node:crypto'

// What yjet posts to the app: --webhook after a document was edited, --load-url before a document is opened
// that does not exist. Together they are y-partykit's `callback` and `load`.
export type Edited = {
  event: 'document.updated'
  document: string
  seq: number
  time: string
  users: string[] // who edited, as their tokens name them
  updates: number
  state?: string // base64 of the whole document as one Yjs update; absent above 4 MiB: fetch it then
}
export type Wanted = { event: 'document.load', document: string }

export type Database = {
  load: (document: string) => Promise<Uint8Array<ArrayBuffer> | null>
  save: (document: string, state: Uint8Array, edited: Edited) => Promise<void>
}

// answer checks that a request comes from the server that knows the secret, and does what it asks.
export async function answer (request: Request, secret: string, database: Database): Promise<Response> {
  const body = await request.text()
  if (!signed(request.headers.get('Yjet-Signature'), body, secret)) return new Response('not signed', { status: 401 })
  const message: Edited | Wanted = JSON.parse(body)
  if (message.event === 'document.load') {
    const state = await database.load(message.document)
    return state ? new Response(state, { headers: { 'Content-Type': 'application/octet-stream' } }) : new Response(null, { status: 404 })
  }
  if (message.event === 'document.updated' && message.state) {
    await database.save(message.document, Buffer.from(message.state, 'base64'), message)
  }
  return new Response(null, { status: 204 })
}

// The header is t=<Unix seconds>,v1=<hex of HMAC-SHA256 of "t.body">. An old one may have been overheard.
function signed (header: string | null, body: string, secret: string) {
  const [, time, sum] = header?.match(/^t=(\d+),v1=([0-9a-f]{64})$/) ?? []
  if (!sum || Math.abs(Date.now() / 1000 - Number(time)) > 300) return false
  const want = createHmac('sha256', secret).update(`${time}.${body}`).digest()
  return timingSafeEqual(want, Buffer.from(sum, 'hex'))
}
