// The driver holds real Yjs clients of every kind and does what it is told: one JSON object a line on stdin,
// one answer a line on stdout, matched by `id`. Who does what, when, and with which random numbers is decided
// by the Go test; nothing here is random but what the packages do by themselves.
//
//   { id, op, client, … }  →  { id, result } or { id, error }
//
// Every client talks through a tap: a WebSocket of `ws` that counts connects, notes what arrives, and can be
// taken off the network and put back, in the same way for each provider.
import * as readline from 'node:readline'
import WebSocket from 'ws'
import * as Y from 'yjs'
import * as encoding from 'lib0/encoding'
import * as decoding from 'lib0/decoding'
import { Awareness, removeAwarenessStates } from 'y-protocols/awareness'
import { fingerprint } from './fingerprint.mjs'

const quiet = process.env.DRIVER_LOG !== '1'
for (const f of ['log', 'warn', 'error', 'debug', 'info']) {
  console[f] = quiet ? () => {} : (...a) => process.stderr.write(a.map(String).join(' ') + '\n')
}

const crashes = [] // uncaught exceptions: a server that makes a provider throw has failed
process.on('uncaughtException', e => crashes.push(String(e?.stack ?? e)))
process.on('unhandledRejection', e => crashes.push('unhandled: ' + String(e?.stack ?? e)))

const clients = new Map()
const sockets = new Map() // shared Hocuspocus sockets by name

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const b64 = u => Buffer.from(u).toString('base64')

// tapFor makes the WebSocket class of one client.
function tapFor (c) {
  return class Tap extends WebSocket {
    constructor (url, protocols) {
      // Off the network: a port where nobody listens, so the provider's own retry runs as it would.
      super(c.offline ? 'ws://127.0.0.1:9/' : url, protocols ?? [], { ...c.headers && { headers: c.headers }, perMessageDeflate: c.deflate ?? false })
      if (!c.offline) c.connects.push(Date.now())
      c.live.add(this)
      this.on('open', () => {
        c.opens.push(Date.now())
        c.url = url
        // Before the provider's own listener: what an application may send from its first moment on.
        for (const body of c.first) super.send(addressed(c, Buffer.from(body, 'base64')))
      })
      this.on('message', (data, isBinary) => {
        c.lastMessage = Date.now()
        if (!isBinary) {
          c.textFrames.push(String(data instanceof ArrayBuffer ? Buffer.from(data) : data))
          return
        }
        c.binaryFrames++
        this.release()
        if (c.family === 'json') return
        const u = new Uint8Array(data instanceof ArrayBuffer ? data : Buffer.from(data))
        if (c.keepFrames) c.frames.push(b64(u))
        try { noteFrame(c, u) } catch (e) { c.strange.push(`${b64(u.slice(0, 64))}: ${e.message}`) }
      })
      this.on('error', e => c.errors.push(String(e.message ?? e)))
      this.on('close', (code, reason) => {
        c.live.delete(this)
        c.closes.push({ code, reason: String(reason), at: Date.now() })
      })
    }

    send (data, ...rest) {
      c.sent++
      if (c.mute) return // a network that swallows
      if (c.listens && !this.spokenTo) return void (this.waiting ??= []).push(data)
      if (c.lateStep1 && isStep1(c, data)) return void setTimeout(() => this.readyState === WebSocket.OPEN && super.send(data), c.lateStep1)
      if (!c.glue) return super.send(data, ...rest)
      // As the Rust clients do: what is written in one turn goes out in one frame.
      if (!this.waiting) {
        this.waiting = []
        setImmediate(() => {
          const frame = Buffer.concat(this.waiting.map(b => Buffer.from(b)))
          this.waiting = undefined
          if (this.readyState === WebSocket.OPEN) super.send(frame)
        })
      }
      this.waiting.push(data)
    }

    // release lets a client that waits for the server's first message speak.
    release () {
      if (!c.listens || this.spokenTo) return
      this.spokenTo = Date.now()
      c.spokenTo.push(this.spokenTo)
      for (const data of this.waiting ?? []) super.send(data)
      this.waiting = undefined
    }
  }
}

// addressed puts in front of a message what a client's family puts there.
function addressed (c, body) {
  if (c.family !== 'hp') return body
  const e = encoding.createEncoder()
  encoding.writeVarString(e, c.room)
  encoding.writeUint8Array(e, body)
  return encoding.toUint8Array(e)
}

function isStep1 (c, data) {
  const d = decoding.createDecoder(new Uint8Array(data))
  if (c.family === 'hp') decoding.readVarString(d)
  return decoding.readVarUint(d) === 0 && decoding.readVarUint(d) === 0
}

// noteFrame looks at what the server sent: which of our own clocks came back (the echo, our receipt).
function noteFrame (c, u) {
  const d = decoding.createDecoder(u)
  if (c.family === 'hp') {
    if (u.length === 1) return
    decoding.readVarString(d)
  }
  const type = decoding.readVarUint(d)
  if (type === 1) {
    decoding.readVarUint8Array(d)
  } else if (type === 0) {
    const step = decoding.readVarUint(d)
    c.steps.push(step)
    if (step === 0) {
      c.steps1++
      return
    }
    const update = decoding.readVarUint8Array(d)
    for (const s of Y.decodeUpdate(update).structs) {
      if (s.id.client === c.clientID && s.constructor !== Y.Skip) c.echoed = Math.max(c.echoed, s.id.clock + s.length)
    }
  } else if (type === 102) {
    const body = decoding.createDecoder(decoding.readVarUint8Array(d))
    c.ackedVersion = Math.max(c.ackedVersion, decoding.readVarUint(body))
  } else if (type === 2 && c.family !== 'hp') {
    decoding.readVarUint(d)
    c.denied.push(decoding.readVarString(d))
  } else if (type === 8 && c.family === 'hp') {
    c.syncStatus.push(decoding.readVarUint(d))
  }
  if ((type < 2 || type === 102) && decoding.hasContent(d)) c.strange.push(`${b64(u.slice(0, 64))}: bytes left over`)
}

const kinds = {
  yws40: async (c, o) => {
    // Yjs 14 holds the document; a Yjs 13 one follows it, for everything here that reads.
    const Y14 = await import('@y/y')
    const { Awareness: Awareness14 } = await import('@y/protocols/awareness')
    c.doc14 = new Y14.Doc()
    c.doc14.clientID = c.clientID
    Y14.applyUpdate(c.doc14, Y.encodeStateAsUpdate(c.doc))
    c.doc14.on('update', u => Y.applyUpdate(c.doc, u))
    c.awareness = mirrored(c, new Awareness14(c.doc14))
    yws(c, o, (await import('@y/websocket')).WebsocketProvider, c.doc14)
  },
  yws30: async (c, o) => yws(c, o, (await import('y-websocket-30')).WebsocketProvider),
  yws31: async (c, o) => yws(c, o, (await import('y-websocket')).WebsocketProvider),
  yws21: async (c, o) => yws(c, o, (await import('y-websocket-2')).WebsocketProvider),
  yws15: async (c, o) => yws(c, o, (await import('y-websocket-1')).WebsocketProvider),
  ypk: async (c, o) => {
    const { default: P } = await import('y-partykit/provider')
    c.provider = new P(o.host, o.room, c.doc, { disableBc: true, WebSocketPolyfill: c.Tap, awareness: c.awareness, params: async () => ({ ...o.params, ...c.token !== null && { token: c.token } }), connect: o.connect, ...o.options })
    ask102(c)
  },
  yps: async (c, o) => partyserver(c, o, await import('y-partyserver/provider')),
  yps1: async (c, o) => partyserver(c, o, await import('y-partyserver-1/provider')),
  hp4: async (c, o) => hocuspocus(c, o, await import('@hocuspocus/provider')),
  hp4s: async (c, o) => hocuspocus(c, { ...o, options: { sessionAwareness: true, ...o.options } }, await import('@hocuspocus/provider')),
  hp3: async (c, o) => hocuspocus(c, o, await import('hocuspocus-provider-3')),
  hp2: async (c, o) => hocuspocus(c, o, await import('hocuspocus-provider-2')),
  // ps is a raw partysocket: no Yjs provider, only the JSON frames of the README's CollaborationMessage.
  ps: async (c, o) => {
    const { PartySocket } = await import('partysocket')
    const ws = new PartySocket({ host: o.host, room: o.room, party: o.party ?? 'main', WebSocket: c.Tap, query: async () => ({ ...c.token !== null && { token: c.token } }), startClosed: o.connect === false })
    ws.binaryType = 'arraybuffer'
    c.provider = { disconnect: () => ws.close(), connect: () => ws.reconnect(), destroy: () => ws.close(), ws }
    c.family = 'json'
    ws.addEventListener('message', e => {
      if (typeof e.data !== 'string') return
      const m = JSON.parse(e.data)
      if (m.type === 'sync' && m.payload.update) Y.applyUpdate(c.doc, Buffer.from(m.payload.update, 'base64'), ws)
      if (m.type === 'awareness') c.custom.push(JSON.stringify(m.payload))
    })
    c.isSynced = () => c.live.size > 0 && c.opens.length > 0
    c.isSaved = () => c.isSynced()
  },
  ysw: async (c, o) => ysweet(c, o, await import('@y-sweet/client')),
  ysw08: async (c, o) => ysweet(c, o, await import('y-sweet-client-08'))
}

function ysweet (c, o, { createYjsProvider }) {
  c.family = 'ysw'
  const auth = o.auth === 'server'
    ? async () => {
      const res = await fetch(`http://${o.host}/doc/${encodeURIComponent(o.room)}/auth`, { method: 'POST', headers: { 'Content-Type': 'application/json', ...c.token !== null && { Authorization: `Bearer ${c.token}` } }, body: JSON.stringify(o.authBody ?? {}) })
      if (!res.ok) throw new Error(`auth endpoint: ${res.status} ${await res.text()}`)
      const token = await res.json()
      c.clientTokens.push(token)
      return token
    }
    : async () => ({ url: `ws://${o.host}/d/${encodeURIComponent(o.room)}/ws`, baseUrl: `http://${o.host}/d/${encodeURIComponent(o.room)}`, docId: o.room, token: c.token ?? undefined, authorization: 'full' })
  c.provider = createYjsProvider(c.doc, o.room, auth, { connect: o.connect, awareness: c.awareness, WebSocketPolyfill: c.Tap, showDebuggerLink: false })
  c.provider.on('connection-close', () => {})
  c.isSynced = () => c.provider.synced
  c.isSaved = () => c.provider.synced && !c.provider.hasLocalChanges
}

function partyserver (c, o, { default: P }) {
  c.provider = new P(o.host, o.room, c.doc, { disableBc: true, WebSocketPolyfill: c.Tap, awareness: c.awareness, params: async () => ({ ...o.params, ...c.token !== null && { token: c.token } }), connect: o.connect, ...o.options })
  c.provider.on('custom-message', m => c.custom.push(String(m)))
  ask102(c)
}

// mirrored has the awareness of Yjs 14 take over what was set before it was there.
function mirrored (c, awareness) {
  awareness.setLocalState(c.awareness.getLocalState())
  c.awareness.destroy()
  awareness.on('change', ({ added, updated, removed }) => c.awarenessLog.push({ at: Date.now(), added, updated, removed, names: names(c) }))
  return awareness
}

function yws (c, o, WebsocketProvider, doc = c.doc) {
  c.provider = new WebsocketProvider(`ws://${o.host}${o.base ?? ''}`, o.room, doc, {
    disableBc: true, WebSocketPolyfill: c.Tap, awareness: c.awareness, connect: o.connect,
    params: { ...o.params, ...c.token !== null && { token: c.token } }, ...o.protocols && { protocols: o.protocols }, ...o.options
  })
  c.provider.on('closed', e => c.terminal.push(e)) // y-websocket 3.1: it will not come back by itself
  ask102(c)
}

// ask102 gives a y-websocket-like provider the question "is it on disk?", as any application may.
function ask102 (c) {
  let version = 0
  let answered = false
  const p = c.provider
  const ask = () => {
    if (!p.wsconnected || p.ws?.readyState !== 1 || c.no102) return
    const body = encoding.createEncoder()
    encoding.writeVarUint(body, version)
    const frame = encoding.createEncoder()
    encoding.writeVarUint(frame, 102)
    encoding.writeVarUint8Array(frame, encoding.toUint8Array(body))
    p.ws.send(encoding.toUint8Array(frame))
  }
  let queued = false
  const soon = () => {
    if (queued) return
    queued = true
    setTimeout(() => { queued = false; ask() }, 0)
  }
  p.messageHandlers[102] = (_e, d) => {
    decoding.readVarUint8Array(d)
    answered = true
  }
  const sync = p.messageHandlers[0]
  p.messageHandlers[0] = (e, d, prov, emit, type) => {
    sync(e, d, prov, emit, type)
    if (encoding.length(e) > 1) soon()
  }
  ;(c.doc14 ?? c.doc).on('update', (_u, origin) => {
    if (origin === p) return
    version++
    soon()
  })
  p.on('status', e => { if (e.status !== 'connected') answered = false })
  p.on('sync', () => { if (p.synced) soon() })
  c.isSynced = () => p.synced
  c.isSaved = () => p.synced && answered && c.ackedVersion >= version
}

function hocuspocus (c, o, { HocuspocusProvider, HocuspocusProviderWebsocket }) {
  c.family = 'hp'
  let socket = o.socket ? sockets.get(o.socket) : undefined
  if (!socket) {
    socket = new HocuspocusProviderWebsocket({ url: `ws://${o.host}${o.base ?? ''}`, WebSocketPolyfill: c.Tap, connect: false, autoConnect: false, ...o.socketOptions })
    if (o.socket) sockets.set(o.socket, socket)
  } else {
    c.sharesSocket = true
  }
  c.socket = socket
  c.provider = new HocuspocusProvider({
    websocketProvider: socket, name: o.room, document: c.doc, awareness: c.awareness, connect: false,
    token: o.staticToken ? c.token : async () => { c.tokenAsked++; return c.token ?? '' },
    ...o.noToken && { token: null },
    onAuthenticationFailed: e => c.denied.push(e.reason),
    onAuthenticated: () => { c.authenticated++ },
    onStateless: e => c.custom.push(e.payload),
    onClose: e => c.hpCloses.push({ code: e.event?.code, reason: e.event?.reason }),
    ...o.options
  })
  c.provider.attach?.()
  if (o.connect !== false && !c.sharesSocket) socket.connect()
  c.isSynced = () => c.provider.isSynced
  // What version 2 queued while it was offline it sends without having counted it: its count goes below zero.
  c.isSaved = () => c.provider.isSynced && c.provider.unsyncedChanges <= 0
}

const get = name => {
  const c = clients.get(name)
  if (!c) throw new Error(`no client ${name}`)
  return c
}

// at turns a fraction of a length into an index: the test says where, whatever the length is by now.
const at = (f, n) => Math.min(n, Math.floor(f * (n + 1)))

// whole moves an index off the middle of a surrogate pair: Yjs itself does not converge where one is cut in half.
const whole = (t, i) => {
  const s = t.toString()
  return i > 0 && i < s.length && /[\uDC00-\uDFFF]/.test(s[i]) && /[\uD800-\uDBFF]/.test(s[i - 1]) ? i - 1 : i
}

// edit14 makes an edit with Yjs 14, where every type is one.
function edit14 (doc, [type, what, ...a]) {
  const t = doc.get({ text: 't', map: 'm', array: 'a' }[type])
  if (type === 'text' && what === 'append') t.insert(t.length, a[0])
  else if (type === 'text' && what === 'insert') t.insert(at(a[0], t.length), a[1])
  else if (type === 'text' && what === 'delete' && t.length > 0) { const i = at(a[0], t.length - 1); t.delete(i, Math.min(a[1], t.length - i)) }
  else if (type === 'map' && what === 'set') t.setAttr(a[0], a[1])
  else if (type === 'array' && what === 'insert') t.insert(at(a[0], t.length), a[1])
  else throw new Error(`no edit ${type} ${what} with Yjs 14`)
}

function edit (doc, [type, what, ...a]) {
  switch (type) {
    case 'text': {
      const t = doc.getText('t')
      if (what === 'insert') t.insert(whole(t, at(a[0], t.length)), a[1])
      else if (what === 'append') t.insert(t.length, a[0])
      else if (what === 'delete' && t.length > 0) { const i = whole(t, at(a[0], t.length - 1)); t.delete(i, whole(t, Math.min(i + a[1], t.length)) - i) }
      else if (what === 'format' && t.length > 0) { const i = whole(t, at(a[0], t.length - 1)); t.format(i, whole(t, Math.min(i + a[1], t.length)) - i, a[2]) }
      else if (what === 'embed') t.insertEmbed(at(a[0], t.length), a[1])
      return
    }
    case 'map': {
      const m = doc.getMap('m')
      if (what === 'set') m.set(a[0], a[1])
      else if (what === 'delete') m.delete(a[0])
      else if (what === 'nest') { const t = new Y.Text(); t.insert(0, a[1]); m.set(a[0], t) }
      return
    }
    case 'array': {
      const l = doc.getArray('a')
      if (what === 'insert') l.insert(at(a[0], l.length), a[1])
      else if (what === 'delete' && l.length > 0) { const i = at(a[0], l.length - 1); l.delete(i, Math.min(a[1], l.length - i)) }
      return
    }
    case 'xml': {
      const x = doc.getXmlFragment('x')
      if (what === 'insert') { const e = new Y.XmlElement(a[1]); const t = new Y.XmlText(); t.insert(0, a[2]); e.insert(0, [t]); x.insert(at(a[0], x.length), [e]) }
      else if (what === 'attr' && x.length > 0) { const e = x.get(at(a[0], x.length - 1)); if (e instanceof Y.XmlElement) e.setAttribute(a[1], a[2]) }
      else if (what === 'delete' && x.length > 0) x.delete(at(a[0], x.length - 1), 1)
      return
    }
  }
  throw new Error(`no edit ${type} ${what}`)
}

const clock = c => Y.getState(c.doc.store, c.clientID)
const names = c => [...c.awareness.getStates().values()].map(s => s?.user?.name).filter(n => typeof n === 'string').sort()

function stateOf (c) {
  return {
    kind: c.kind,
    clientID: c.clientID,
    synced: !!c.isSynced(),
    saved: !!c.isSaved(),
    connects: c.connects,
    opens: c.opens,
    closes: c.closes,
    terminal: c.terminal,
    textFrames: c.textFrames,
    binaryFrames: c.binaryFrames,
    denied: c.denied,
    syncStatus: c.syncStatus,
    steps1: c.steps1,
    steps: c.steps,
    spokenTo: c.spokenTo,
    hpCloses: c.hpCloses,
    strange: c.strange,
    errors: c.errors,
    custom: c.custom,
    echoed: c.echoed,
    clock: clock(c),
    ackedVersion: c.ackedVersion,
    unsynced: c.provider.unsyncedChanges ?? null,
    scope: c.provider.authorizedScope ?? null,
    tokenAsked: c.tokenAsked,
    names: names(c),
    length: c.doc.getText('t').length,
    sentFrames: c.sent,
    url: c.url
  }
}

// until polls a condition; the answer says how long it took, in ms.
async function until (what, timeout, test, explain) {
  const began = Date.now()
  for (;;) {
    if (test()) return Date.now() - began
    if (Date.now() - began > timeout) throw new Error(`not ${what} within ${timeout} ms${explain ? ': ' + explain() : ''}`)
    await sleep(4)
  }
}

// What applications do in a provider's status event, which y-websocket emits before it sends its step 1.
const inStatus = {
  field: c => c.awareness.setLocalStateField('user', { name: c.name }),
  state: c => { c.awareness.setLocalState({}); c.awareness.setLocalStateField('user', { name: c.name }) },
  again: c => c.awareness.setLocalState(c.awareness.getLocalState())
}

const ops = {
  async open ({ client, kind, host, room, token = null, clientID, user, headers, ...o }) {
    const doc = new Y.Doc()
    if (clientID && kind !== 'yws40') doc.clientID = clientID
    const c = {
      name: client, kind, doc, room, clientID: clientID ?? (kind === 'yws40' ? (doc.clientID ^ 1) >>> 0 : doc.clientID),
      first: o.first ?? [], lateStep1: o.lateStep1 ?? 0, glue: !!o.glue, listens: !!o.listens, spokenTo: [], steps: [], awareness: new Awareness(doc), family: 'yws', token, headers,
      connects: [], opens: [], closes: [], terminal: [], textFrames: [], binaryFrames: 0, frames: [], keepFrames: !!o.keepFrames, denied: [], syncStatus: [],
      strange: [], errors: [], custom: [], hpCloses: [], clientTokens: [], awarenessLog: [], echoed: 0, steps1: 0, ackedVersion: -1, authenticated: 0, tokenAsked: 0, sent: 0,
      offline: false, mute: false, no102: !!o.no102, live: new Set(), tags: [], seen: new Map(), deflate: o.deflate
    }
    if (o.content) Y.applyUpdate(doc, Buffer.from(o.content, 'base64'))
    c.Tap = tapFor(c)
    if (o.awareness === null) c.awareness.setLocalState(null)
    else if (user) c.awareness.setLocalStateField('user', user)
    c.awareness.on('change', ({ added, updated, removed }) => c.awarenessLog.push({ at: Date.now(), added, updated, removed, names: names(c) }))
    clients.set(client, c)
    await kinds[kind](c, { host, room, connect: o.connect ?? true, ...o })
    if (o.onConnected) c.provider.on('status', ({ status }) => { if (status === 'connected') inStatus[o.onConnected](c) })
    return { clientID: c.clientID }
  },

  edit ({ client, edits, separate }) {
    const c = get(client)
    const [doc, make] = c.doc14 ? [c.doc14, edit14] : [c.doc, edit]
    if (separate) for (const e of edits) make(doc, e)
    else doc.transact(() => edits.forEach(e => make(doc, e)))
  },

  state: ({ client }) => stateOf(get(client)),
  fingerprint: ({ client }) => fingerprint(get(client).doc),
  text: ({ client, type }) => get(client).doc.getText(type ?? 't').toString(),
  update: ({ client }) => b64(Y.encodeStateAsUpdate(get(client).doc)),
  apply: ({ client, update }) => Y.applyUpdate(get(client).doc, Buffer.from(update, 'base64')),
  vector: ({ client }) => b64(Y.encodeStateVector(get(client).doc)),
  frames: ({ client }) => get(client).frames.splice(0),
  clientTokens: ({ client }) => get(client).clientTokens,
  crashes: () => crashes,

  synced: ({ client, timeout = 10000 }) => { const c = get(client); return until(`${client} synced`, timeout, () => c.isSynced(), () => JSON.stringify(stateOf(c))) },
  saved: ({ client, timeout = 10000 }) => { const c = get(client); return until(`${client} saved`, timeout, () => c.isSaved(), () => JSON.stringify(stateOf(c))) },
  echoed: ({ client, timeout = 10000 }) => { const c = get(client); return until(`${client} echoed`, timeout, () => c.echoed >= clock(c), () => JSON.stringify(stateOf(c))) },
  closed: ({ client, count = 1, timeout = 10000 }) => { const c = get(client); return until(`${client} closed`, timeout, () => c.closes.length >= count, () => JSON.stringify(stateOf(c))) },
  hasText: ({ client, part, timeout = 10000 }) => { const c = get(client); return until(`${client} has ${part}`, timeout, () => c.doc.getText('t').toString().includes(part)) },
  // undoable begins to note what this client does itself, as an editor's history does; undo takes all of it back.
  undoable ({ client }) {
    const c = get(client)
    c.history = new Y.UndoManager([c.doc.getText('t'), c.doc.getXmlFragment('x')], { captureTimeout: 0 })
  },
  undo ({ client }) {
    const { history } = get(client)
    while (history.undoStack.length > 0) history.undo()
  },
  shown ({ client }) {
    const { doc } = get(client)
    return { t: doc.getText('t').toString(), x: doc.getXmlFragment('x').toString(), m: JSON.stringify(doc.getMap('m').toJSON()), a: JSON.stringify(doc.getArray('a').toJSON()) }
  },
  hasLength: ({ client, length, timeout = 10000 }) => { const c = get(client); return until(`${client} has ${length} characters`, timeout, () => c.doc.getText('t').length === length, () => `has ${c.doc.getText('t').length}`) },
  customs: ({ client, count = 1, timeout = 10000 }) => { const c = get(client); return until(`${client} has ${count} custom messages`, timeout, () => c.custom.length >= count).then(() => c.custom) },
  textFrame: ({ client, part, timeout = 10000 }) => { const c = get(client); return until(`${client} got text ${part}`, timeout, () => c.textFrames.some(f => f.includes(part)), () => JSON.stringify(c.textFrames)).then(() => c.textFrames.find(f => f.includes(part))) },

  // converge waits until all clients hold the same document and nothing waits in any of them.
  async converge ({ clients: list, timeout = 20000 }) {
    const docs = list.map(n => get(n).doc)
    const prints = () => docs.map(d => { const f = fingerprint(d); return { pending: f.pending, json: JSON.stringify(f) } })
    // Comparing is dear; the state vectors tell cheaply when it is worth while.
    const vectors = () => docs.map(d => JSON.stringify([...Y.decodeStateVector(Y.encodeStateVector(d))].sort((a, b) => a[0] - b[0])))
    let last
    await until(`converged: ${list.join(', ')}`, timeout, () => {
      const v = vectors()
      if (!v.every(x => x === v[0])) return false
      last = prints()
      return last.every(p => p.json === last[0].json && !p.pending)
    }, () => prints().map((p, i) => `\n${list[i]}: ${p.json.slice(0, 1200)}`).join(''))
    return fingerprint(docs[0])
  },

  setUser ({ client, user }) { get(client).awareness.setLocalStateField('user', user) },
  setAwareness ({ client, field, value }) { get(client).awareness.setLocalStateField(field, value) },
  names: ({ client }) => names(get(client)),
  states: ({ client }) => [...get(client).awareness.getStates()].map(([id, s]) => ({ client: id, clock: get(client).awareness.meta.get(id)?.clock, state: s })),
  hasNames: ({ client, want, timeout = 10000 }) => {
    const c = get(client)
    const w = JSON.stringify([...want].sort())
    return until(`${client} sees ${w}`, timeout, () => JSON.stringify(names(c)) === w, () => JSON.stringify(names(c)))
  },
  awarenessLog: ({ client, reset }) => { const c = get(client); const l = c.awarenessLog; if (reset) c.awarenessLog = []; return l },

  // cut takes a client off the network: its sockets end without a close frame, and new ones fail.
  cut ({ client }) {
    const c = get(client)
    c.offline = true
    for (const s of c.live) s.terminate()
  },
  mend ({ client }) { get(client).offline = false },
  // drop ends the socket without a close frame; the provider comes back by itself.
  drop ({ client }) { for (const s of get(client).live) s.terminate() },
  mute ({ client, on = true }) { get(client).mute = on },
  // leave closes as an application does.
  leave ({ client }) {
    const c = get(client)
    c.provider.disconnect?.()
    if (c.family === 'hp' && !c.sharesSocket) c.socket.disconnect()
    if (c.family === 'ysw') { removeAwarenessStates(c.awareness, [c.doc.clientID], 'left'); c.offline = true; for (const s of c.live) s.close() }
  },
  detach ({ client }) { const c = get(client); c.provider.detach?.() ?? c.provider.destroy() },
  connect ({ client }) { const c = get(client); c.offline = false; (c.family === 'hp' ? c.socket : c.provider).connect() },
  destroy ({ client }) {
    const c = clients.get(client)
    if (!c) return
    c.offline = true
    c.provider.destroy()
    if (c.family === 'hp' && !c.sharesSocket) c.socket.destroy()
    for (const s of c.live) s.terminate()
    c.awareness.destroy()
    clients.delete(client)
  },
  token ({ client, token }) {
    const c = get(client)
    c.token = token
    if (c.provider.params) c.provider.params = { ...c.provider.params, token }
  },
  sendText ({ client, text }) { [...get(client).live][0].send(text) },
  sendRaw ({ client, data }) { [...get(client).live][0].send(Buffer.from(data, 'base64')) },
  // handshake begins a handshake anew on the open socket, as forceSync() and resyncInterval do, and answers the steps that came back.
  async handshake ({ client, timeout = 5000 }) {
    const c = get(client)
    const before = c.steps.length
    if (c.provider.forceSync) c.provider.forceSync()
    else {
      const e = encoding.createEncoder()
      encoding.writeVarUint(e, 0)
      encoding.writeVarUint(e, 0)
      encoding.writeVarUint8Array(e, Y.encodeStateVector(c.doc))
      for (const s of c.live) s.send(encoding.toUint8Array(e))
    }
    await until(`${client} answered by a step 1 and a step 2`, timeout, () => [0, 1].every(step => c.steps.slice(before).includes(step)), () => JSON.stringify(c.steps.slice(before)))
    return c.steps.slice(before)
  },
  // opened waits until so many sockets of a client have stood.
  opened: ({ client, count, timeout = 10000 }) => { const c = get(client); return until(`${client} opened ${count} times`, timeout, () => c.opens.length >= count, () => JSON.stringify(stateOf(c))) },
  denied: ({ client, timeout = 10000 }) => { const c = get(client); return until(`${client} was told why`, timeout, () => c.denied.length > 0 || c.closes.length > 0, () => JSON.stringify(stateOf(c))).then(() => ({ denied: c.denied, closes: c.closes, textFrames: c.textFrames, terminal: c.terminal })) },
  // sdk calls a method of Y-Sweet's server SDK; bytes go and come as base64.
  async sdk ({ url, method, args = [] }) {
    const { DocumentManager } = await import('@y-sweet/sdk')
    const plain = v => v instanceof Uint8Array ? { bytes: b64(v) } : v
    const bytes = v => v?.bytes ? new Uint8Array(Buffer.from(v.bytes, 'base64')) : v
    if (method === 'connection') { // DocConnection with the token that a client was given
      const { DocConnection } = await import('@y-sweet/sdk')
      const [token, call, ...rest] = args
      return plain(await new DocConnection(token)[call](...rest.map(bytes)) ?? null)
    }
    return plain(await new DocumentManager(url)[method](...args.map(bytes)) ?? null)
  },
  custom ({ client, message }) { const c = get(client); c.family === 'hp' ? c.provider.sendStateless(message) : c.provider.sendMessage(message) },

  // tag writes one small unmistakable piece into a document and remembers which clock it ends at.
  tag ({ client, tag, filler }) {
    const c = get(client)
    c.doc.transact(() => {
      const t = c.doc.getText('t')
      t.insert(c.tags.length % 3 === 0 ? 0 : t.length, `<${tag}>`) // at the ends: never inside another tag
      if (filler) c.doc.getMap('m').set('last-' + c.name, tag)
    })
    c.tags.push({ tag, end: clock(c) })
  },
  // ledger answers what each client has proof of: tags echoed to their writer, and tags seen by others.
  ledger ({ writers, readers }) {
    const echoed = []
    for (const n of writers) {
      const c = get(n)
      for (const t of c.tags) if (t.end <= c.echoed) echoed.push(t.tag)
    }
    const seen = new Set()
    for (const n of readers) for (const m of get(n).doc.getText('t').toString().matchAll(/<([^<>]+)>/g)) seen.add(m[1])
    return { written: writers.flatMap(n => get(n).tags.map(t => t.tag)), echoed, seen: [...seen] }
  },

  // write lets clients tag as fast as the event loop allows until `stop`, a few a turn.
  write ({ client, prefix, every = 2, per = 1 }) {
    const c = get(client)
    let n = 0
    clearInterval(c.writer)
    c.writer = setInterval(() => {
      for (let i = 0; i < per; i++) ops.tag({ client, tag: `${prefix}${n++}` })
    }, every)
  },
  stop ({ client }) { clearInterval(get(client).writer) },
  sleep: ({ ms }) => sleep(ms)
}

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const { id, op, ...args } = JSON.parse(line)
  let answer
  try {
    if (!ops[op]) throw new Error(`no operation ${op}`)
    answer = { id, result: (await ops[op](args)) ?? null }
  } catch (e) {
    answer = { id, error: String(e?.message ?? e) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}).on('close', () => process.exit(0))
