// Answers requests of differential_test.go, a JSON line each, with a JSON line each.
//
//   {op: 'generate', seed}   a random session of several clients; its log, and what yjs makes of it
//   {op: 'check', ...}       what yjs makes of updates that Go wrote, and of edits
//   {op: 'convert', ...}     V2 of V1 updates, V1 of V2 updates
//   {op: 'survive', ...}     what goes wrong in yjs when it takes updates in
//   {op: 'shapes', seed, n}  n edits in each of many ways; the logs, and the states of yjs
import readline from 'node:readline'
import * as Y from 'yjs'

const b64 = u8 => Buffer.from(u8.buffer, u8.byteOffset, u8.byteLength).toString('base64')
const bin = s => new Uint8Array(Buffer.from(s, 'base64'))

// mulberry32
const prng = seed => {
  let a = seed >>> 0
  const f = () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  return { f, int: n => Math.floor(f() * n), bool: (p = 0.5) => f() < p, pick: l => l[Math.floor(f() * l.length)] }
}

const KINDS = { t: 'text', m: 'map', a: 'array', x: 'xmlfragment' }
const roots = d => [d.getText('t'), d.getMap('m'), d.getArray('a'), d.getXmlFragment('x')]

// A document that only applies: yjs would delete redundant formats of its own accord after remote changes.
const plain = (opts = {}) => {
  const d = new Y.Doc({ guid: 'plain', ...opts })
  d.clientID = 4294967291
  d.on('afterTransaction', tr => { tr._needFormattingCleanup = false })
  roots(d)
  return d
}

const kindOf = t => t instanceof Y.XmlText ? 'xmltext' : t instanceof Y.Text ? 'text' : t instanceof Y.XmlElement ? 'xmlelement' : t instanceof Y.XmlHook ? 'xmlhook' : t instanceof Y.XmlFragment ? 'xmlfragment' : t instanceof Y.Array ? 'array' : 'map'
const norm = v => {
  if (v === undefined) return { $undefined: true }
  if (typeof v === 'number') return Object.is(v, -0) ? { $num: '-0' } : Number.isFinite(v) ? v : { $num: String(v) }
  if (v === null || typeof v === 'boolean' || typeof v === 'string') return v
  if (typeof v === 'bigint') return { $bigint: String(v) }
  if (v instanceof Uint8Array) return { $bin: b64(v) }
  if (v instanceof Y.Doc) return { $subdoc: v.guid }
  if (v instanceof Y.AbstractType) return { $type: kindOf(v), value: value(v) }
  if (Array.isArray(v)) return v.map(norm)
  return Object.fromEntries(Object.keys(v).sort().map(k => [k, norm(v[k])]))
}
const entries = t => Object.fromEntries([...t.entries()].map(([k, v]) => [k, norm(v)]))
const value = t => {
  switch (kindOf(t)) {
    case 'text': return { delta: norm(t.toDelta()) }
    case 'xmltext': return { delta: norm(t.toDelta()), attrs: norm(t.getAttributes()) }
    case 'map': return entries(t)
    case 'xmlhook': return { hook: t.hookName, map: entries(t) }
    case 'xmlelement': return { node: t.nodeName, attrs: norm(t.getAttributes()), children: t.toArray().map(norm) }
    default: return t.toArray().map(norm)
  }
}

// JSON as the Go side writes it: toJSON, with a form for what JSON lacks.
const json = v => {
  if (v === undefined || v === null) return null
  if (typeof v === 'bigint') return String(v)
  if (v instanceof Uint8Array) return { $bin: b64(v) }
  if (v instanceof Y.Doc) return { $subdoc: v.guid }
  if (v instanceof Y.AbstractType) return kindOf(v) === 'map' || kindOf(v) === 'xmlhook' ? fields([...v.entries()]) : kindOf(v) === 'array' ? v.toArray().map(json) : v.toString()
  if (Array.isArray(v)) return v.map(json)
  if (typeof v === 'object') return fields(Object.entries(v))
  return v
}
const fields = list => Object.fromEntries(list.filter(([, v]) => v !== undefined).map(([k, v]) => [k, json(v)]))

const glance = d => ({
  roots: Object.fromEntries(roots(d).map((r, i) => ['tmax'[i], { kind: KINDS['tmax'[i]], value: value(r) }])),
  snapshot: b64(Y.encodeSnapshot(Y.snapshot(d))),
  pending: d.store.pendingStructs !== null || d.store.pendingDs !== null
})
const view = d => {
  const [t, , , x] = roots(d)
  return {
    ...glance(d),
    full: true,
    json: Object.fromEntries(roots(d).map((r, i) => ['tmax'[i], json(r)])),
    text: t.toString(),
    delta: t.toDelta().map(o => ({ ...o, insert: json(o.insert) })),
    xml: x.toString(),
    size: Y.encodeStateAsUpdate(d).length
  }
}

// ---- sessions --------------------------------------------------------------------------------

const WORDS = ['alpha', 'b', ' ', '\n', 'yz ', '😀', '👩‍👩‍👧x', 'é', '日本', 'عربى', '𝒳𝒴', '\u0000', 'lorem ipsum dolor ']
const MARKS = ['bold', 'italic', 'link', 'color']

const session = seed => {
  const R = prng(seed * 2654435761)
  const any = (depth = 0) => {
    switch (R.int(depth > 2 ? 10 : 13)) {
      case 0: return R.int(200) - 100
      case 1: return R.f() * 1e9
      case 2: return R.pick([0.5, -0, 2 ** 31, -(2 ** 31), 2 ** 53, 1e21, 1e-7, NaN, Infinity])
      case 3: return R.bool()
      case 4: return null
      case 5: case 6: return R.pick(WORDS)
      case 7: return new Uint8Array([R.int(256), 0, 255])
      case 8: return R.int(2 ** 31)
      case 9: return depth > 0 ? undefined : 7
      case 10: return [any(depth + 1), any(depth + 1)]
      default: return { k: any(depth + 1), [R.pick(WORDS)]: any(depth + 1) }
    }
  }
  const marks = () => { const m = R.pick(MARKS); return { [m]: R.bool(0.3) ? null : m === 'link' ? { href: 'https://example.org/' + R.int(3) } : m === 'color' ? '#' + R.int(3) : true } }
  // Editors do not part a character; yjs replicas may differ for good where one does.
  const snap = (t, p) => {
    let i = 0
    for (let n = t._start; n !== null; n = n.right) {
      if (n.deleted || !n.countable) continue
      if (p > i && p < i + n.length) {
        const c = n.content.str ? n.content.str.charCodeAt(p - i) : 0
        return c >= 0xdc00 && c <= 0xdfff ? p + 1 : p
      }
      i += n.length
    }
    return p
  }
  let subs = 0
  const fresh = (depth = 0) => {
    switch (R.int(8)) {
      case 0: return new Y.Map([['a', any()], ['b', depth < 2 && R.bool(0.3) ? fresh(depth + 1) : any()]])
      case 1: return Y.Array.from([any(), depth < 2 && R.bool(0.3) ? fresh(depth + 1) : null, any()].filter(v => v !== undefined))
      case 2: return new Y.Text(R.pick(WORDS))
      case 3: return para()
      case 4: { const t = new Y.XmlText(R.pick(WORDS)); return t }
      case 5: { const h = new Y.XmlHook('hook' + R.int(3)); h.set('k', any()); return h }
      case 6: return new Y.XmlFragment()
      default: return new Y.Doc({ guid: 'sub-' + seed + '-' + subs++, autoLoad: R.bool(), meta: R.bool() ? { title: R.pick(WORDS) } : null })
    }
  }
  const para = () => {
    const e = new Y.XmlElement(R.pick(['paragraph', 'Heading', 'quote']))
    if (R.bool(0.4)) e.setAttribute(R.pick(['level', 'align', 'ä']), R.pick([R.int(5), 'left', true, null, [1, 'x'], { a: 1 }]))
    const text = R.pick(WORDS) + R.pick(WORDS)
    const t = new Y.XmlText(text)
    if (R.bool(0.3)) t.format(0, text.length, marks())
    e.insert(0, [t])
    return e
  }
  const onText = t => {
    const len = t.length
    switch (R.int(9)) {
      case 0: case 1: case 2: return t.insert(snap(t, R.int(len + 1)), R.pick(WORDS) + R.pick(WORDS), R.bool(0.25) ? marks() : undefined)
      case 3: return t.insert(len, R.pick(WORDS))
      case 4: case 5: { const p = snap(t, R.int(len + 1)); const e = snap(t, Math.min(len, p + 1 + R.int(8))); if (e > p) t.delete(p, e - p); return }
      case 6: case 7: { const p = snap(t, R.int(len + 1)); const e = snap(t, Math.min(len, p + 1 + R.int(12))); if (e > p) t.format(p, e - p, marks()); return }
      default: return t.insertEmbed(snap(t, R.int(len + 1)), R.bool(0.3) ? fresh() instanceof Y.Doc ? { doc: 1 } : new Y.Map([['n', any()]]) : { image: R.int(9) + '.png' }, R.bool(0.3) ? marks() : undefined)
    }
  }
  const onMap = m => {
    const k = 'k' + R.int(5)
    if (R.bool(0.25)) m.delete(k); else m.set(k, R.bool(0.35) ? fresh() : any())
  }
  const onArray = a => {
    const len = a.length
    if (len === 0 || R.bool(0.6)) {
      const v = []
      for (let n = 1 + R.int(3); n > 0; n--) { const x = R.bool(0.25) ? fresh() : any(); if (x !== undefined) v.push(x) }
      R.bool(0.3) ? a.push(v) : a.insert(R.int(len + 1), v)
    } else { const p = R.int(len); a.delete(p, Math.min(len - p, 1 + R.int(4))) }
  }
  const onXml = f => {
    const len = f.length
    if (f instanceof Y.XmlElement && R.bool(0.2)) { const n = R.pick(['level', 'align', 'ä']); R.bool(0.3) ? f.removeAttribute(n) : f.setAttribute(n, R.pick([R.int(6), 'right'])); return }
    if (len === 0 || R.bool(0.35)) return f.insert(R.int(len + 1), [R.bool(0.8) ? para() : R.bool() ? new Y.XmlText(R.pick(WORDS)) : new Y.XmlHook('h')])
    if (R.bool(0.25)) return f.delete(R.int(len), 1)
    on(f.get(R.int(len)))
  }
  const on = t => {
    if (t instanceof Y.Text) return onText(t)
    if (t instanceof Y.XmlFragment) return onXml(t)
    if (t instanceof Y.Map) {
      const kids = [...t.values()].filter(v => v instanceof Y.AbstractType)
      return kids.length && R.bool(0.5) ? on(R.pick(kids)) : onMap(t)
    }
    if (t instanceof Y.Array) {
      const kids = t.toArray().filter(v => v instanceof Y.AbstractType)
      return kids.length && R.bool(0.5) ? on(R.pick(kids)) : onArray(t)
    }
  }

  const log = []
  const clients = []
  const cleanup = R.bool()
  for (let i = 2 + R.int(3); i > 0; i--) {
    const doc = new Y.Doc({ guid: 'client', gc: R.bool(0.7) })
    doc.clientID = R.bool(0.7) ? 1 + R.int(2 ** 32 - 1) : 1 + R.int(100) * 10 + i
    if (!cleanup) doc.on('afterTransaction', tr => { tr._needFormattingCleanup = false })
    const um = new Y.UndoManager(roots(doc), { captureTimeout: 0, trackedOrigins: new Set(['local']) })
    const c = { doc, um, inbox: [] }
    doc.on('update', (u, origin) => {
      if (origin === 'remote') return
      log.push(u)
      for (const o of clients) if (o !== c) o.inbox.push(u)
    })
    clients.push(c)
  }
  const deliver = (c, n) => { while (n-- > 0 && c.inbox.length) Y.applyUpdate(c.doc, c.inbox.shift(), 'remote') }
  const favourite = R.int(5)
  for (let steps = 10 + R.int(50); steps > 0; steps--) {
    const c = R.pick(clients)
    const r = R.int(100)
    if (r < 8) c.um.undo()
    else if (r < 12) c.um.redo()
    else c.doc.transact(() => { for (let n = R.bool(0.2) ? 1 + R.int(5) : 1; n > 0; n--) on(roots(c.doc)[favourite < 4 && R.bool(0.6) ? favourite : R.int(4)]) }, 'local')
    for (const o of clients) if (R.bool(0.4)) deliver(o, R.int(10))
  }
  return log
}

// Ways of editing, an edit a call: each makes a document whose structs yjs joins, or drops, in a way of its own. All documents of a
// way edit at once where it is concurrent; else each edit reaches the others at once.
const ways = {
  'text, appended': (d, R) => d.getText('t').insert(d.getText('t').length, R.word()),
  'text, prepended': (d, R) => d.getText('t').insert(0, R.word()),
  'text, at random': (d, R) => d.getText('t').insert(R.int(d.getText('t').length + 1), R.word()),
  'text, written and deleted': (d, R) => {
    const t = d.getText('t')
    if (t.length < 9 || R.bool(0.6)) t.insert(R.int(t.length + 1), R.word()); else t.delete(R.int(t.length - 8), 1 + R.int(8))
  },
  'text, formatted': (d, R) => {
    const t = d.getText('t')
    if (t.length < 30 || R.bool(0.3)) t.insert(R.int(t.length + 1), R.word()); else t.format(R.int(t.length - 20), 1 + R.int(19), { [R.pick(['bold', 'em'])]: R.bool() || null })
  },
  'array, appended': (d, R) => d.getArray('a').push([R.int(2 ** 31)]),
  'array, prepended': (d, R) => d.getArray('a').insert(0, [R.int(2 ** 31)]),
  'array, at random': (d, R) => d.getArray('a').insert(R.int(d.getArray('a').length + 1), [R.int(2 ** 31)]),
  'array, written and deleted': (d, R) => {
    const a = d.getArray('a')
    if (a.length < 9 || R.bool(0.6)) a.insert(R.int(a.length + 1), [R.word(), R.int(99)]); else a.delete(R.int(a.length - 8), 1 + R.int(8))
  },
  'map, few keys': (d, R) => d.getMap('m').set('k' + R.int(9), R.word()),
  'map, many keys': (d, R) => { if (R.bool(0.8)) d.getMap('m').set('k' + R.int(500), { n: R.int(99) }); else d.getMap('m').delete('k' + R.int(500)) },
  'one key by all at once': (d, R) => d.getMap('m').set('v', R.word()),
  'a key each by all at once': (d, R) => d.getMap('m').set('v' + R.int(3), R.int(2 ** 31)),
  'maps in an array': (d, R) => {
    const a = d.getArray('a')
    if (a.length < 3 || R.bool(0.5)) a.push([new Y.Map([['id', R.word()], ['done', false]])])
    else if (R.bool(0.5)) a.get(R.int(a.length)).set('done', R.bool())
    else a.delete(R.int(a.length), 1)
  },
  'paragraphs': (d, R) => {
    const x = d.getXmlFragment('x')
    if (x.length < 3 || R.bool(0.2)) {
      const p = new Y.XmlElement('p')
      p.insert(0, [new Y.XmlText(R.word())])
      p.setAttribute('align', R.pick(['left', 'right']))
      x.insert(R.int(x.length + 1), [p])
    } else if (R.bool(0.2)) x.delete(R.int(x.length), 1)
    else { const t = x.get(R.int(x.length)).get(0); t.insert(t.length, R.word()) }
  }
}

// shape is the log of n edits by a number of documents, and the state of yjs.
const shape = (way, concurrent, clients, n, R) => {
  const log = []
  const docs = Array.from({ length: clients }, (_, i) => {
    const d = new Y.Doc({ guid: 'shape' })
    d.clientID = 1 + R.int(2 ** 32 - 1)
    d.on('update', (u, origin) => {
      if (origin === 'remote') return
      log.push(u)
      if (!concurrent) for (const o of docs) if (o !== d) Y.applyUpdate(o, u, 'remote')
    })
    return d
  })
  for (let i = 0; i < n; i++) ways[way](docs[R.int(clients)], R)
  const d = new Y.Doc({ guid: 'shape' })
  for (const u of log) Y.applyUpdate(d, u)
  return { name: `${way}, ${clients} clients`, log: log.map(b64), state: b64(Y.encodeStateAsUpdate(d)) }
}

const ops = {
  shapes: ({ seed, n }) => {
    const R = prng(seed)
    R.word = () => Array.from({ length: 2 + R.int(8) }, () => String.fromCharCode(97 + R.int(26))).join('')
    const shapes = []
    for (const way of Object.keys(ways)) {
      const concurrent = way.includes('at once')
      for (const clients of concurrent ? [20, n] : [1, 2]) shapes.push(shape(way, concurrent, clients, n, R))
    }
    return { seed, shapes }
  },
  generate: ({ seed }) => {
    const log = session(seed)
    const middle = Math.floor(log.length * prng(seed).f())
    const d = plain(); const then = plain()
    log.forEach((u, i) => { if (i < middle) Y.applyUpdate(then, u); Y.applyUpdate(d, u) })
    return { seed, log: log.map(b64), v2: b64(Y.encodeStateAsUpdateV2(d)), middle, final: view(d), then: view(then) }
  },
  // Each list of updates is applied to a document of its own, whose text is then edited.
  check: ({ seed, documents }) => ({
    seed,
    views: documents.map(({ updates, merge, edits }) => {
      const d = plain()
      const list = updates.map(bin)
      for (const u of merge ? [Y.mergeUpdates(list)] : list) Y.applyUpdate(d, u)
      const [t, m, a, x] = roots(d)
      for (const { op, index, text, length, attributes, key, value } of edits || []) {
        switch (op) {
          case 'insert': t.insert(index, text, attributes || undefined); break
          case 'delete': t.delete(index, length); break
          case 'format': t.format(index, length, attributes); break
          case 'embed': t.insertEmbed(index, { image: text }, attributes || undefined); break
          case 'array insert': a.insert(index, value); break
          case 'array delete': a.delete(index, length); break
          case 'map set': m.set(key, value); break
          case 'map delete': m.delete(key); break
          case 'xml insert': x.insert(index, [new Y.XmlElement(key)]); break
          case 'xml text': x.insert(index, [new Y.XmlText(text)]); break
          case 'xml delete': x.delete(index, length); break
          case 'attribute': x.get(index).setAttribute(key, value); break
          case 'no attribute': x.get(index).removeAttribute(key)
        }
      }
      return glance(d)
    })
  }),
  // Updates in V2 as yjs makes them of V1, and V1 as yjs makes it of V2.
  convert: ({ seed, v1, v2 }) => ({
    seed,
    v2: v1.map(u => b64(Y.convertUpdateFormatV1ToV2(bin(u)))),
    v1: v2.map(u => b64(Y.convertUpdateFormatV2ToV1(bin(u))))
  }),
  // What goes wrong when a stock client takes in each list of updates, one by one, merged, and from a peer; '' if nothing.
  survive: ({ seed, documents }) => ({
    seed,
    faults: documents.map(list => {
      const updates = list.map(bin)
      let step = ''
      try {
        step = 'one by one'
        const d = plain()
        for (const u of updates) Y.applyUpdate(d, u)
        step = 'encoded'
        const state = Y.encodeStateAsUpdate(d)
        step = 'encoded in V2'
        Y.encodeStateAsUpdateV2(d)
        step = 'shown'
        glance(d)
        step = 'at a peer'
        Y.applyUpdate(plain(), state)
        step = 'merged'
        const merged = Y.mergeUpdates(updates)
        Y.convertUpdateFormatV1ToV2(merged)
        Y.diffUpdate(merged, Y.encodeStateVectorFromUpdate(merged))
        step = 'merged, at a peer'
        Y.applyUpdate(plain(), merged)
      } catch (e) { return step + ': ' + e }
      return ''
    })
  })
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  let answer
  try { answer = ops[request.op](request) } catch (e) { answer = { seed: request.seed, error: String(e && e.stack) } }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
