import { lastIndex } from './bisect.js'

// Timeline is the order of a document's edits, as far as the page knows them. Each record has a place, counted from 0. The server first
// names some hundred stops spread evenly over the log, each of many records; a stop is sharpened where somebody zooms in or steps by key, and
// with the whole log in memory each record has a place of its own.
export class Timeline {
  constructor (server) {
    this.server = server
    this.stops = [] // oldest first, with `start`: the place of the first record of a stop
    this.kept = [] // those of the history; stops also holds versions whose history was dropped
    this.extra = 0 // how many of those there are
    this.length = 0 // places
    this.from = this.to = 0 // the places at the ends of the slider
    this.log = null
  }

  put ({ entries }) {
    this.kept = entries
    this.count([])
    this.from = 0
    this.to = Math.max(0, this.length - 1)
  }

  count (extra) {
    this.extra = extra.length
    this.stops = [...extra, ...this.kept]
    let start = 0
    for (const s of this.stops) {
      s.start = start
      start += s.records
    }
    this.length = start
  }

  keeps (seq) { return this.kept.length > 0 && seq >= this.kept[0].first }

  // versions adds a stop for each version before the kept history, and for the moment that is shown where nothing else leads to it.
  versions (versions, shown) {
    const extra = new Map(versions.filter(v => !this.keeps(v.seq)).map(v => [v.seq, { first: v.seq, last: v.seq, to: v.time, users: [], records: 1 }]))
    if (shown && !this.keeps(shown.last) && !extra.has(shown.last)) extra.set(shown.last, { ...shown, records: 1 })
    const whole = this.from === 0 && this.to >= this.length - 1
    this.count([...extra.values()].sort((a, b) => a.last - b.last))
    this.to = whole ? Math.max(0, this.length - 1) : Math.min(this.to, this.length - 1)
  }

  // fold takes the log in memory; false where it is not the log of these stops.
  fold (log) {
    if (log.length !== this.length - this.extra) return false
    this.log = log
    return true
  }

  // record answers the number of the record in memory at a place, or -1.
  record (place) { return this.log ? place - this.extra : -1 }

  // indexAt answers the index of the stop at a place.
  indexAt (place) { return lastIndex(this.stops.length, i => this.stops[i].start <= place) }

  // moment answers what is at a place: its record, or the end of the stop that it is in.
  moment (place) {
    place = Math.max(0, Math.min(this.length - 1, place))
    const k = this.record(place)
    if (k >= 0) return { ...this.log.moment(k), place }
    const s = this.stops[this.indexAt(place)]
    return { first: s.first, last: s.last, to: s.to, users: s.users, place: s.start + s.records - 1 }
  }

  // placeOf answers the place of the last record up to a sequence.
  placeOf (seq) {
    if (this.log && seq >= this.kept[0]?.first) return this.log.after(seq) + this.extra
    let i = this.stops.length - 1
    while (i > 0 && this.stops[i].first > seq) i--
    return this.stops[i].start + this.stops[i].records - 1
  }

  // refine splits the stop at a place into its records.
  async refine (place) {
    const s = this.stops[this.indexAt(place)]
    if (this.log || s.records === 1) return
    this.replace(s, s, await this.server.single({ from: s.first, to: s.last }))
  }

  // zoom makes the slider that much shorter or longer around a place.
  zoom (factor, place) {
    const most = this.length - 1
    const width = Math.min(most, Math.max(10, Math.round((this.to - this.from) * factor)))
    this.from = Math.max(0, Math.min(most - width, Math.round(place - width / 2)))
    this.to = this.from + width
  }

  // view moves the ends of the slider so that a place is between them; true where that changed them.
  view (place) {
    if (place >= this.from && place <= this.to) return false
    this.zoom(1, place)
    return true
  }

  // sharpen asks for finer stops where few of them are left between the ends; true where there are new ones.
  async sharpen () {
    if (this.log) return false
    const a = this.indexAt(this.from)
    const b = this.indexAt(this.to)
    if (b - a >= 200 || this.stops.slice(a, b + 1).every(s => s.records === 1)) return false
    const first = this.stops[a]
    const last = this.stops[b]
    this.replace(first, last, (await this.server.stops({ from: first.first, to: last.last })).entries)
    return true
  }

  // replace puts finer stops where there were coarse ones. The oldest records, where the server's answer leaves some out, stay one stop.
  replace (first, last, finer) {
    const a = this.kept.indexOf(first)
    const b = this.kept.indexOf(last)
    const records = list => list.reduce((n, s) => n + s.records, 0)
    if (a < 0 || b < a) return
    const missing = records(this.kept.slice(a, b + 1)) - records(finer)
    if (missing < 0 || finer.length === 0) return
    const rest = missing > 0 ? [{ ...first, last: finer[0].first - 1, to: finer[0].from, records: missing }] : []
    this.kept.splice(a, b - a + 1, ...rest, ...finer)
    this.count(this.stops.slice(0, this.extra))
  }

  // stopAfter answers the place to go to from one, at least a step away where stops are single.
  stopAfter (place, step) {
    if (this.log) return place + step
    const s = this.stops[this.indexAt(place + step)]
    return s.start + s.records - 1
  }
}
