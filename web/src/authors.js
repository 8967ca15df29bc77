import { StateEffect, StateField } from '@codemirror/state'
import { Decoration, EditorView, hoverTooltip } from '@codemirror/view'
import { h } from './dom.js'
import { cleanName } from './people.js'
import { when } from './time.js'

// Who wrote what: the authors are those of the log's records, verified when each was appended. What other tabs
// say of themselves is not asked.

// The colours of authors are the classes who-0 … in app.css: no colour comes from outside.
const palette = 8

// authorOf is who brought a run, in words. Where nobody was signed in there is only the connection, and that is said.
export function authorOf ({ user, conn, seq }) {
  if (user) {
    const name = cleanName(user) || 'Unreadable name'
    return { key: `user ${user}`, name, long: user === name ? name : user.replace(/[\p{Cc}\p{Cf}]/gu, '') }
  }
  if (conn) {
    const dot = conn.lastIndexOf('.')
    const node = conn.slice(0, Math.max(0, dot))
    const number = cleanName(conn.slice(dot + 1))
    if (number === 'http') return { key: `conn ${conn}`, name: 'Somebody (over HTTP)', long: `Somebody not signed in, over HTTP (${cleanName(conn)})` }
    return { key: `conn ${conn}`, name: `Somebody (connection ${cleanName(node).slice(0, 4)}·${number})`, long: `Somebody not signed in (connection ${cleanName(conn)})` }
  }
  if (seq) return { key: 'program', name: 'Another program', long: 'A program that wrote to the log past this server’s sockets' }
  return { key: 'before', name: 'Before the kept history', long: 'The part of the history that would show the author is no longer kept' }
}

const noRuns = { text: '', pieces: [], people: [] }
const colourOf = new Map() // author → class, so that nobody changes colour while the page is open

// authorsOf reads the server's answer: the text it is about, its pieces, and the people, those with most text first.
export function authorsOf ({ runs }) {
  if (!Array.isArray(runs)) return noRuns
  const people = new Map()
  const pieces = []
  let at = 0
  for (const run of runs) {
    const author = authorOf(run)
    let p = people.get(author.key)
    if (!p) people.set(author.key, p = { ...author, length: 0 })
    p.length += run.text.length
    pieces.push({ from: at, to: at += run.text.length, person: p, time: run.time })
  }
  const all = [...people.values()].sort((a, b) => b.length - a.length || (a.key < b.key ? -1 : 1))
  for (const p of all) {
    if (!colourOf.has(p.key)) colourOf.set(p.key, colourOf.size < palette * 2 ? `who-${colourOf.size % palette}${colourOf.size >= palette ? ' who-again' : ''}` : 'who-more')
    p.colour = colourOf.get(p.key)
  }
  return { text: runs.map(r => r.text).join(''), pieces, people: all }
}

const setAuthors = StateEffect.define()

// showAuthors paints a view; null takes the paint away. Where the view has gone on since the answer, what has
// changed in between stays without an author.
export function showAuthors (view, authors) {
  view.dispatch({ effects: setAuthors.of(authors) })
}

// authorMarks is the extension that showAuthors talks to. at(piece) is called with the piece at the cursor.
export function authorMarks (at) {
  const field = StateField.define({
    create: () => Decoration.none,
    update (marks, tr) {
      if (tr.docChanged) marks = withoutInserted(marks.map(tr.changes), tr.changes)
      for (const e of tr.effects) if (e.is(setAuthors)) marks = e.value ? paint(tr.state, e.value) : Decoration.none
      return marks
    },
    provide: f => EditorView.decorations.from(f)
  })
  const pieceAt = (state, pos, side) => {
    let found = null
    state.field(field).between(pos, pos, (from, to, mark) => {
      if (side > 0 ? from <= pos && pos < to : from < pos && pos <= to) found = { from, to, ...mark.spec.piece }
    })
    return found
  }
  return [
    field,
    EditorView.updateListener.of(u => {
      if (u.selectionSet || u.docChanged || u.transactions.some(t => t.effects.some(e => e.is(setAuthors)))) {
        const head = u.state.selection.main.head
        at(pieceAt(u.state, head, -1) ?? pieceAt(u.state, head, 1))
      }
    }),
    hoverTooltip((view, pos, side) => {
      const piece = pieceAt(view.state, pos, side)
      if (!piece) return null
      return {
        pos: piece.from > view.viewport.from ? Math.max(piece.from, view.state.doc.lineAt(pos).from) : pos,
        end: Math.min(piece.to, view.state.doc.lineAt(pos).to),
        above: true,
        create: () => ({ dom: h('div', { class: 'who-tip' }, swatch(piece.person), h('div', {}, h('strong', {}, piece.person.long), h('div', { class: 'hint' }, piece.time ? when(piece.time) : 'Time unknown'))) })
      }
    }, { hoverTime: 250 })
  ]
}

function paint (state, { text, pieces }) {
  const now = state.doc.toString()
  // The answer's text and the view's agree at the front and at the back.
  let front = 0
  const least = Math.min(now.length, text.length)
  while (front < least && now[front] === text[front]) front++
  let back = 0
  while (back < least - front && now[now.length - 1 - back] === text[text.length - 1 - back]) back++
  const shift = now.length - text.length
  const marks = []
  for (const piece of pieces) {
    for (const [from, to] of [[piece.from, Math.min(piece.to, front)], [Math.max(piece.from, text.length - back) + shift, piece.to + shift]]) {
      if (from < to) marks.push(markOf(piece).range(from, to))
    }
  }
  return Decoration.set(marks, true)
}

const markOf = piece => Decoration.mark({ class: `who ${piece.person.colour}`, piece })

// withoutInserted takes what was just inserted out of the marks that it fell into.
function withoutInserted (marks, changes) {
  const cuts = []
  changes.iterChangedRanges((fromA, toA, from, to) => {
    if (to > from) {
      marks.between(from, to, (a, b, mark) => {
        if (a < from && b > to) cuts.push({ a, b, from, to, mark })
      })
    }
  })
  if (cuts.length === 0) return marks
  const cutMarks = new Set(cuts.map(c => `${c.a} ${c.b}`))
  const add = []
  for (const key of cutMarks) {
    const own = cuts.filter(c => `${c.a} ${c.b}` === key)
    let at = own[0].a
    for (const c of own) {
      if (c.from > at) add.push(c.mark.range(at, c.from))
      at = c.to
    }
    if (own[0].b > at) add.push(own[0].mark.range(at, own[0].b))
  }
  return marks.update({ filter: (a, b) => !cutMarks.has(`${a} ${b}`), add, sort: true })
}

const swatch = person => h('span', { class: `who-swatch ${person.colour}`, 'aria-hidden': 'true' })

// legend tells the colours apart, and who wrote what is at the cursor.
export function legend () {
  const people = h('ul', { class: 'who-people', 'aria-label': 'Who wrote what', tabIndex: 0 })
  const here = h('p', { class: 'who-here', role: 'status' })
  const el = h('aside', { class: 'legend', hidden: true, 'aria-label': 'Authors' }, people, here)
  return {
    el,
    show (authors) {
      el.hidden = authors === null
      if (!authors) return
      const shares = percentages(authors.people.map(p => p.length))
      people.replaceChildren(...authors.people.slice(0, 40).map((p, i) => h('li', { title: p.long }, swatch(p), h('span', { class: 'who-name' }, p.name), h('span', { class: 'hint' }, shares[i]))),
        authors.people.length > 40 ? h('li', { class: 'hint' }, `and ${authors.people.length - 40} more`) : '',
        authors.people.length === 0 ? h('li', { class: 'hint' }, 'There is no text here yet.') : '')
    },
    wait: () => {
      el.hidden = false
      people.replaceChildren(h('li', { class: 'hint' }, 'Reading the log …'))
    },
    fail: e => {
      people.replaceChildren(h('li', { class: 'hint' }, e.message))
    },
    at: piece => { here.textContent = piece ? `At the cursor: ${piece.person.name}${piece.time ? `, ${when(piece.time)}` : ''}` : '' }
  }
}

// percentages rounds parts of a whole so that they add up to 100: the largest remainders are rounded up. What would be 0 is told as less than 1.
export function percentages (parts) {
  const all = parts.reduce((n, p) => n + p, 0)
  const whole = parts.map(p => Math.floor(p * 100 / all))
  let left = 100 - whole.reduce((n, p) => n + p, 0)
  const byRest = parts.map((p, i) => i).sort((a, b) => (parts[b] * 100 / all - whole[b]) - (parts[a] * 100 / all - whole[a]))
  for (const i of byRest) {
    if (left <= 0) break
    whole[i]++
    left--
  }
  return whole.map(n => n === 0 ? '<1%' : `${n}%`)
}

const least = 1500 // ms between an edit and asking who wrote it
const most = 30_000

// liveAuthors keeps a view painted while it is edited, for as long as it is on. It asks again after edits, less
// often where the answer takes long, and until the answer is about the text that is shown.
export function liveAuthors ({ server, type, view, people }) {
  let on = false
  let timer = 0
  let turn = 0
  let pause = least

  async function ask () {
    const mine = ++turn
    const begun = performance.now()
    try {
      const answer = authorsOf(await server.authors(type).catch(e => {
        if (e.code === 'not-found') return { runs: [] } // nothing has been written yet
        throw e
      }))
      if (mine !== turn || !on) return
      people.show(answer)
      showAuthors(view(), answer)
      const took = performance.now() - begun
      pause = Math.min(most, Math.max(least, took * 10))
      if (answer.text !== view().state.doc.toString()) again(pause * 2)
    } catch (e) {
      if (mine !== turn || !on) return
      people.fail(e)
      again(pause = Math.min(most, pause * 2))
    }
  }

  function again (ms) {
    clearTimeout(timer)
    timer = setTimeout(ask, ms)
  }

  return {
    toggle (want) {
      on = want
      clearTimeout(timer)
      if (on) {
        people.wait()
        ask()
      } else {
        turn++
        people.show(null)
        showAuthors(view(), null)
      }
    },
    edited: () => { if (on) again(pause) }
  }
}
