import { lastIndex } from './bisect.js'
import { at } from './place.js'

const mostBytes = 48 << 20 // of updates: a log above is read moment by moment from the server
const mostRecords = 1_000_000
const gap = 5 * 60_000 // ms, as the server joins the runs of one author

// mayFold tells whether a log of these entries is small enough to be held in the page.
export const mayFold = entries => entries.reduce((n, e) => n + e.bytes, 0) <= mostBytes && entries.reduce((n, e) => n + e.records, 0) <= mostRecords

// foldLog hands a packed log to a worker and answers it folded: any moment of one text, and its authors, out of memory.
export function foldLog (packed, type, signal) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(at('assets/past-worker.js'), { type: 'module' })
    const end = f => v => {
      worker.terminate()
      f(v)
    }
    signal.addEventListener('abort', end(() => reject(signal.reason)))
    worker.onerror = end(e => reject(new Error(e.message || 'The log could not be folded here.')))
    worker.onmessage = end(({ data }) => data.error ? reject(new Error(data.error)) : resolve(new Folded(data.log)))
    worker.postMessage({ log: packed, type }, [packed])
  })
}

// Folded is a log in memory. Records are numbered from 0; record k stands for the moment right after it.
class Folded {
  constructor (log) {
    Object.assign(this, log)
    this.length = log.seqs.length
  }

  // after answers the number of the last record up to a sequence, or -1.
  after (seq) { return lastIndex(this.length, k => this.seqs[k] <= seq) }

  moment (k) {
    return { first: this.seqs[k], last: this.seqs[k], to: this.times[k], users: [this.userNames[this.users[k]]] }
  }

  text (k) {
    const { wrote, deleted, chars } = this
    const parts = []
    let from = -1
    for (let i = 0; i < wrote.length; i++) {
      if (wrote[i] <= k && deleted[i] > k) {
        if (from < 0) from = i
      } else if (from >= 0) {
        parts.push(chars.slice(from, i))
        from = -1
      }
    }
    if (from >= 0) parts.push(chars.slice(from))
    return parts.join('')
  }

  // runs answers the authors of a moment in the form of GET authors.
  runs (k) {
    const { wrote, deleted, chars } = this
    const runs = []
    let last = null
    for (let i = 0; i < wrote.length; i++) {
      if (wrote[i] > k || deleted[i] <= k) continue
      const rec = wrote[i]
      const user = this.users[rec]
      const conn = user ? 0 : this.conns[rec]
      const time = this.times[rec]
      if (!last || last.userAt !== user || last.connAt !== conn || Math.abs(last.time - time) > gap) {
        runs.push(last = { text: [], userAt: user, connAt: conn, user: this.userNames[user], conn: this.connNames[conn], time, seq: this.seqs[rec] })
      } else if (this.seqs[rec] > last.seq) {
        last.seq = this.seqs[rec]
        last.time = time
      }
      last.text.push(chars[i])
    }
    for (const r of runs) r.text = r.text.join('')
    return { runs }
  }
}

// newest asks one thing at a time. While it is under way, only the last of the questions that come in is kept; the promises of the others
// answer undefined. ask(key, signal) is aborted by drop.
export function newest (ask) {
  let running = null
  let next = null
  async function run () {
    while (next) {
      const { key, resolve, reject } = next
      next = null
      running = new AbortController()
      const { signal } = running
      try {
        const answer = await ask(key, signal)
        resolve(signal.aborted ? undefined : answer)
      } catch (e) {
        if (signal.aborted) resolve(undefined)
        else reject(e)
      }
    }
    running = null
  }
  return {
    want (key) {
      next?.resolve(undefined)
      return new Promise((resolve, reject) => {
        next = { key, resolve, reject }
        if (!running) run()
      })
    },
    // drop ends the question under way, as what it asks is no longer wanted; hurry does so only where another one waits behind it.
    drop: () => running?.abort(),
    hurry: () => { if (next) running?.abort() }
  }
}
