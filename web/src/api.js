import { at } from './place.js'

// Refused is an answer of the server that is none: `status` of HTTP, `code` and the sentence the server gave.
export class Refused extends Error {
  constructor (status, code, message) {
    super(message)
    this.status = status
    this.code = code
  }
}

// caller makes call(path, options), which asks the HTTP API with the right that the token gives, and throws
// Refused: status 0 where nobody answers. token is a text, or a function where it may change.
export function caller (token) {
  return async (path, { json, ...options } = {}) => {
    const headers = { ...options.headers }
    const right = typeof token === 'function' ? token() : token
    if (right) headers.Authorization = `Bearer ${right}`
    if (json !== undefined) {
      headers['Content-Type'] = 'application/json'
      options = { method: 'POST', ...options, body: JSON.stringify(json) }
    }
    let res
    try {
      res = await fetch(at('api') + path, { ...options, headers })
    } catch (e) {
      if (e.name === 'AbortError') throw e
      throw new Refused(0, 'unreachable', 'The server does not answer.')
    }
    if (res.ok) return res
    let code = ''
    let message = `The server answered ${res.status}.`
    try {
      const { error } = await res.json()
      code = String(error.code)
      message = sentence(String(error.message))
    } catch {}
    throw new Refused(res.status, code, message)
  }
}

// sentence gives the server's words, which begin small and end open, the form of a sentence.
const sentence = s => s ? s[0].toUpperCase() + s.slice(1) + (/[.!?]$/.test(s) ? '' : '.') : ''

// docAPI is what the page asks about one document.
export function docAPI ({ room, token }) {
  const call = caller(token)
  const base = `/docs/${encodeURIComponent(room)}`
  const get = (path, options) => call(base + path, options)
  const json = async (path, options) => (await get(path, options)).json()
  const history = (group, limit, { before = '', from = '', to = '' } = {}) => json(`/history?group=${group}&limit=${limit}${before && `&before=${before}`}${from && `&from=${from}`}${to && `&to=${to}`}`)
  return {
    // stops answers what the slider runs over, oldest first, spread evenly over the log or a piece of it; whole tells that the log begins
    // with the document.
    async stops (range) {
      const page = await history('even', 600, range)
      return { entries: page.entries.reverse(), whole: !page.oldest }
    },
    // single answers the records of a piece, oldest first: the newest 5,000 where there are more.
    async single (range) {
      const all = []
      let before = ''
      do {
        const page = await history('none', 1000, { ...range, before })
        all.push(...page.entries)
        before = page.next
      } while (before && all.length < 5000)
      return all.reverse()
    },
    // packed answers the log up to a sequence as bytes.
    packed: async (to, signal) => (await call(`${base}/log?format=packed&to=${to}`, { signal })).arrayBuffer(),
    // spells answers the rows of the list, newest first: what was written between two pauses.
    spells: async () => (await history('5m', 200)).entries,
    history,
    text: async (at, type, signal) => (await get(`?at=${at}&format=text&type=${encodeURIComponent(type + ':text')}`, { signal })).text(),
    authors: (type, at, signal) => json(`/authors?type=${encodeURIComponent(type + ':text')}${at ? `&at=${at}` : ''}`, { signal }),
    // access answers what this person may do: r, rw or rwd.
    access: async () => (await json('/access')).access,
    restore: async at => (await call(base + '/restore', { json: { at } })).json(),
    versions: async () => (await json('/versions')).versions ?? [],
    addVersion: async (name, at) => (await call(base + '/versions', { json: { name, at } })).json(),
    deleteVersion: name => call(`${base}/versions/${encodeURIComponent(name)}`, { method: 'DELETE' }),
    // The rest is what /inspect shows.
    state: () => get('?format=json'),
    vector: async () => new Uint8Array(await (await get('?format=vector')).arrayBuffer()),
    presence: async () => (await json('/presence')).presence ?? [],
    // log answers the records from one sequence to another, both included.
    async log (from, to) {
      const text = await (await get(`/log?from=${from}&to=${to}`)).text()
      return text.split('\n').filter(Boolean).map(line => JSON.parse(line))
    }
  }
}
