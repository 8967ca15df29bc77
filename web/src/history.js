import { EditorState, Compartment } from '@codemirror/state'
import { EditorView } from '@codemirror/view'
import { unifiedMergeView } from '@codemirror/merge'
import { h, icon, toast } from './dom.js'
import { nonce } from './editor.js'
import { cleanName } from './people.js'

const playFor = 12_000 // ms that playing takes in all, within the bounds of a step

// historyButton opens the past of this room: every moment the server kept, read back from its log.
export function historyButton (room) {
  const button = h('button', { class: 'button', type: 'button', id: 'history', onclick: () => openHistory(room) }, icon('clock'), h('span', { class: 'wide' }, 'History'))
  button.setAttribute('aria-label', 'History of this room')
  return button
}

// api reads and writes this document over HTTP with the same right as the socket.
function api ({ room, token }) {
  const base = `/api/docs/${encodeURIComponent(room)}`
  const call = async (path, options = {}) => {
    const res = await fetch(base + path, { ...options, headers: { ...options.headers, ...token && { Authorization: `Bearer ${token}` } } })
    if (!res.ok) {
      let message = `The server answered ${res.status}.`
      try { message = (await res.json()).error.message ?? message } catch {}
      throw new Error(message)
    }
    return res
  }
  return {
    // moments answers what the slider runs over, oldest first: single records while they are few, else bursts of
    // typing, else longer spells.
    async moments () {
      for (const [group, limit] of [['none', 300], ['2s', 1000], ['1m', 1000]]) {
        const page = await (await call(`/history?group=${group}&limit=${limit}`)).json()
        if (!page.next) return page.entries.reverse()
      }
      return (await this.all('30m')).reverse()
    },
    // spells answers the rows of the list, newest first: who wrote, and when.
    spells: async () => (await (await call('/history?group=5m,author&limit=200')).json()).entries,
    async all (group) {
      const entries = []
      let before = ''
      do {
        const page = await (await call(`/history?group=${group}&limit=1000${before && `&before=${before}`}`)).json()
        entries.push(...page.entries)
        before = page.next
      } while (before && entries.length < 20_000)
      return entries
    },
    text: async (at, type) => (await call(`?at=${at}&format=text&type=${encodeURIComponent(type + ':text')}`)).text(),
    restore: at => call('/restore', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ at }) })
  }
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const day = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short' })
const when = t => `${day.format(t)}, ${clock.format(t)}`

async function openHistory (room) {
  const server = api(room)
  const texts = new Map() // sequence → text, as far as it was looked at
  let moments = []
  let spells = []
  let current = -1
  let wanted = 0
  let playing = 0

  const title = h('p', { class: 'moment', role: 'status' })
  const holder = h('div', { class: 'editor past' })
  const message = h('p', { class: 'hint past-message' }, 'Reading the log …')
  const slider = h('input', { type: 'range', class: 'slider', min: 0, max: 0, value: 0, disabled: true, oninput: () => { pause(); show(Number(slider.value)) } })
  slider.setAttribute('aria-label', 'Moment')
  const play = h('button', { class: 'button', type: 'button', disabled: true, onclick: () => playing ? pause() : start() }, icon('play'), h('span', {}, 'Play'))
  const compare = h('input', { type: 'checkbox', id: 'compare', onchange: () => show(current) })
  const restore = h('button', { class: 'button primary', type: 'button', disabled: true, onclick: () => putBack() }, 'Restore this moment')
  const list = h('ol', { class: 'moments', 'aria-label': 'Edits' })

  const dialog = h('dialog', { class: 'history', 'aria-labelledby': 'history-title' },
    h('header', { class: 'history-head' },
      h('h2', { id: 'history-title' }, 'History'),
      title,
      h('div', { class: 'space' }),
      h('label', { class: 'check', for: 'compare' }, compare, 'Compare with now'),
      h('button', { class: 'button ghost', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close'))),
    h('div', { class: 'history-body' }, h('div', { class: 'past-page' }, message, holder), list),
    h('footer', { class: 'history-foot' }, play, slider, restore))
  dialog.addEventListener('close', () => {
    pause()
    view.destroy()
    dialog.remove()
  })
  document.body.append(dialog)

  const diffSlot = new Compartment()
  const view = new EditorView({
    parent: holder,
    state: EditorState.create({
      extensions: [
        EditorView.cspNonce.of(nonce), EditorState.lineSeparator.of('\n'), EditorState.readOnly.of(true), EditorView.editable.of(false), EditorView.lineWrapping,
        EditorView.editorAttributes.of({ class: 'prose' }), EditorView.contentAttributes.of({ tabindex: '0', 'aria-label': 'The text at this moment' }), diffSlot.of([])
      ]
    })
  })
  dialog.showModal()

  async function show (n) {
    if (n < 0 || n >= moments.length) return
    current = n
    slider.value = String(n)
    const m = moments[n]
    const turn = ++wanted
    title.textContent = `${when(new Date(m.to))}${byWhom(m)}`
    slider.setAttribute('aria-valuetext', title.textContent)
    for (const [i, li] of [...list.children].entries()) {
      const here = spells[i].first <= m.last && m.last <= spells[i].last
      li.firstChild.setAttribute('aria-current', String(here))
      if (here) li.scrollIntoView({ block: 'nearest' })
    }
    let past
    try {
      past = await textAt(m)
    } catch (e) {
      if (turn === wanted) fail(e)
      return
    }
    if (turn !== wanted || !dialog.open) return // a later move has overtaken this one
    message.hidden = true
    const now = room.text.toString()
    view.dispatch({
      changes: { from: 0, to: view.state.doc.length, insert: compare.checked ? now : past },
      effects: diffSlot.reconfigure(compare.checked ? unifiedMergeView({ original: past, mergeControls: false, gutter: false, collapseUnchanged: { margin: 3, minSize: 8 } }) : [])
    })
    restore.disabled = past === now
  }

  // textAt fetches a text once, however often it is wanted.
  function textAt (m) {
    let t = texts.get(m.last)
    if (!t) {
      t = server.text(m.last, room.type)
      texts.set(m.last, t)
      t.catch(() => texts.delete(m.last))
    }
    return t
  }

  function fail (e) {
    message.hidden = false
    message.textContent = e.message
  }

  function start () {
    if (current >= moments.length - 1) show(0)
    play.lastChild.textContent = 'Pause'
    playing = setTimeout(step, 0)
  }

  // step shows the next moment once it is here, and not before its time.
  async function step () {
    const mine = playing
    if (current >= moments.length - 1) return pause()
    const ahead = moments[current + 2]
    if (ahead) textAt(ahead).catch(() => {})
    const pace = new Promise(resolve => setTimeout(resolve, Math.max(60, Math.min(500, playFor / moments.length))))
    await show(current + 1)
    await pace
    if (playing === mine && dialog.open) playing = setTimeout(step, 0)
  }

  function pause () {
    clearTimeout(playing)
    playing = 0
    play.lastChild.textContent = 'Play'
  }

  async function putBack () {
    pause()
    restore.disabled = true
    try {
      await server.restore(moments[current].last)
      dialog.close()
      toast('Restored. Everybody here has it; nothing of the history is lost.')
    } catch (e) {
      restore.disabled = false
      fail(e)
    }
  }

  try {
    [moments, spells] = await Promise.all([server.moments(), server.spells()])
  } catch (e) {
    fail(e)
    return
  }
  if (moments.length === 0) {
    message.textContent = 'Nothing has been written here yet.'
    return
  }
  list.replaceChildren(...spells.map(m => h('li', {}, h('button', { type: 'button', class: 'moment-row', onclick: () => { pause(); show(moments.findLastIndex(x => x.last <= m.last)) } },
    h('span', {}, when(new Date(m.to))),
    h('span', { class: 'hint' }, `${m.updates} ${m.updates === 1 ? 'edit' : 'edits'}${byWhom(m)}`)))))
  slider.max = String(moments.length - 1)
  slider.disabled = play.disabled = moments.length < 2
  show(moments.length - 1)
}

const byWhom = m => {
  const names = (m.users ?? []).map(cleanName).filter(Boolean)
  return names.length ? ` · ${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}` : ''
}
