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
  const get = path => call(base + path)
  const json = async path => (await get(path)).json()
  const history = (group, limit, before = '') => json(`/history?group=${group}&limit=${limit}${before && `&before=${before}`}`)
  return {
    // moments answers what the slider runs over, oldest first: single records while they are few, else bursts of
    // typing, else longer spells.
    async moments () {
      for (const [group, limit] of [['none', 300], ['2s', 1000], ['1m', 1000]]) {
        const page = await history(group, limit)
        if (!page.next) return page.entries.reverse()
      }
      const entries = []
      let before = ''
      do {
        const page = await history('30m', 1000, before)
        entries.push(...page.entries)
        before = page.next
      } while (before && entries.length < 20_000)
      return entries.reverse()
    },
    // spells answers the rows of the list, newest first: who wrote, and when.
    spells: async () => (await history('5m,author', 200)).entries,
    history,
    text: async (at, type) => (await get(`?at=${at}&format=text&type=${encodeURIComponent(type + ':text')}`)).text(),
    authors: (type, at) => json(`/authors?type=${encodeURIComponent(type + ':text')}${at ? `&at=${at}` : ''}`),
    // access answers what this person may do: r, rw or rwd.
    access: async () => (await json('/access')).access,
    restore: async at => (await  call(base + '/restore', { json: { at } })).json(),
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
