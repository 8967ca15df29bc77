// Reads what a Yjs update (V1) says, for people to look at; nothing is applied. The form is that of
// https://github.com/yjs/yjs: for each client its structs, then the deleted runs. Numbers are varUints.

class Reader {
  constructor (bytes) {
    this.b = bytes
    this.at = 0
  }

  byte () {
    if (this.at >= this.b.length) throw new Error('the update ends too early')
    return this.b[this.at++]
  }

  uint () {
    let n = 0
    for (let power = 1; ; power *= 128) {
      const c = this.byte()
      n += (c & 0x7f) * power
      if (c < 0x80) return n
      if (power > 2 ** 49) throw new Error('a number is too large')
    }
  }

  // A signed number keeps its sign and six bits in the first byte.
  int () {
    const first = this.byte()
    let n = first & 0x3f
    if (first & 0x80) {
      for (let power = 64; ; power *= 128) {
        const c = this.byte()
        n += (c & 0x7f) * power
        if (c < 0x80) break
        if (power > 2 ** 49) throw new Error('a number is too large')
      }
    }
    return first & 0x40 ? -n : n
  }

  bytes (n = this.uint()) {
    if (n > this.b.length - this.at) throw new Error('the update ends too early')
    return this.b.subarray(this.at, this.at += n)
  }

  string () { return new TextDecoder().decode(this.bytes()) }

  many (n, read) {
    const list = []
    for (let i = 0; i < n; i++) list.push(read())
    return list
  }

  view (n) {
    const b = this.bytes(n)
    return new DataView(b.buffer, b.byteOffset, n)
  }

  any (depth = 0) {
    if (depth > 100) throw new Error('a value is nested too deeply')
    switch (this.byte()) {
      case 127: return undefined
      case 126: return null
      case 125: return this.int()
      case 124: return this.view(4).getFloat32(0)
      case 123: return this.view(8).getFloat64(0)
      case 122: return String(this.view(8).getBigInt64(0)) + 'n'
      case 121: return false
      case 120: return true
      case 119: return this.string()
      case 118: return Object.fromEntries(this.many(this.uint(), () => [this.string(), this.any(depth + 1)]))
      case 117: return this.many(this.uint(), () => this.any(depth + 1))
      case 116: return `${this.bytes().length} bytes`
    }
    throw new Error('a value of an unknown kind')
  }

  id () { return { client: this.uint(), clock: this.uint() } }
}

const types = ['list', 'map', 'text', 'XML element', 'XML fragment', 'XML hook', 'XML text']
const shown = 60 // characters of one piece

export const shorten = (text, n = shown) => text.length > n ? text.slice(0, n) + '…' : text
const show = v => shorten(JSON.stringify(v) ?? 'undefined')

// readVector answers [client, clock] pairs, those with most clocks first.
export function readVector (bytes) {
  const r = new Reader(bytes)
  return r.many(r.uint(), () => [r.uint(), r.uint()]).sort((a, b) => b[1] - a[1])
}

// readUpdate answers what an update does, one short text for each: { op: '+', '−' or '·', text }.
export function readUpdate (bytes, most = 8) {
  const r = new Reader(bytes)
  const out = []
  let left = 0
  const say = (op, text, joins = false) => {
    const last = out[out.length - 1]
    if (joins && last?.joins && last.op === op) last.text += text
    else if (out.length < most) out.push({ op, text, joins })
    else left++
  }
  for (let clients = r.uint(); clients > 0; clients--) {
    const structs = r.uint()
    r.id()
    for (let i = 0; i < structs; i++) {
      const info = r.byte()
      const kind = info & 0x1f
      if (kind === 0 || kind === 10) {
        r.uint() // collected, or not in this update
        continue
      }
      let where = ''
      if (info & 0x80) r.id()
      if (info & 0x40) r.id()
      if (!(info & 0xc0)) {
        if (r.uint() === 1) where = r.string()
        else r.id()
        if (info & 0x20) where += (where && '.') + r.string()
      }
      const to = where && `${shorten(where, 30)} = `
      switch (kind) {
        case 1: r.uint(); break // inserted and deleted in the meantime
        case 2: r.many(r.uint(), () => r.string()).forEach(s => say('+', to + shorten(s))); break
        case 3: say('+', `${to}${r.bytes().length} bytes`); break
        case 4: {
          const text = r.string()
          const from = where && `${shorten(where, 30)}: `
          say('+', from && out.length && out[out.length - 1].joins ? text : from + text, true)
          break
        }
        case 5: say('+', `${to}embedded ${shorten(r.string())}`); break
        case 6: say('·', `format ${shorten(r.string(), 30)} = ${shorten(r.string())}`); break
        case 7: {
          const type = r.uint()
          const name = type === 3 || type === 5 ? ` <${shorten(r.string(), 30)}>` : ''
          say('+', `${to}a ${types[type] ?? 'type'}${name}`)
          break
        }
        case 8: r.many(r.uint(), () => r.any()).forEach(v => say('+', to + show(v))); break
        case 9: say('+', `${to}a subdocument ${shorten(r.string(), 40)}`); r.any(); break
        default: throw new Error('a struct of an unknown kind')
      }
    }
  }
  let deleted = 0
  for (let clients = r.uint(); clients > 0; clients--) {
    r.uint()
    for (let runs = r.uint(); runs > 0; runs--) {
      r.uint()
      deleted += r.uint()
    }
  }
  if (deleted > 0) out.push({ op: '−', text: `${deleted} deleted` })
  if (left > 0) out.push({ op: '·', text: `and ${left} more` })
  return out
}

// hexdump shows bytes as hex and ASCII, 16 a line, as far as `most` bytes.
export function hexdump (bytes, most = 4096) {
  const lines = []
  for (let at = 0; at < Math.min(bytes.length, most); at += 16) {
    const row = bytes.subarray(at, Math.min(at + 16, most))
    const hex = Array.from(row, b => b.toString(16).padStart(2, '0'))
    const ascii = Array.from(row, b => b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : '.').join('')
    lines.push(`${at.toString(16).padStart(6, '0')}  ${hex.slice(0, 8).join(' ').padEnd(23)}  ${hex.slice(8).join(' ').padEnd(23)}  ${ascii}`)
  }
  if (bytes.length > most) lines.push(`… and ${(bytes.length - most).toLocaleString('en')} more bytes`)
  return lines.join('\n')
}

export const fromBase64 = text => Uint8Array.from(atob(text), c => c.charCodeAt(0))
