import { EditorState, Compartment } from '@codemirror/state'
import { EditorView } from '@codemirror/view'
import { unifiedMergeView } from '@codemirror/merge'
import { docAPI } from './api.js'
import { authorMarks, showAuthors, authorsOf, legend } from './authors.js'
import { confirm } from './confirm.js'
import { h, icon, toast } from './dom.js'
import { nonce } from './editor.js'
import { foldLog, mayFold, newest } from './past.js'
import { named, spellRows } from './spells.js'
import { tabs } from './tabs.js'
import { Timeline } from './timeline.js'
import { when } from './time.js'
import { versionMarks, versionsPanel } from './versions.js'

const playFor = 12_000 // ms that playing takes in all, within the bounds of a step

// openHistory opens the past of a room: every moment the server kept, read back from its log.
export async function openHistory (room) {
  const server = docAPI(room)
  const mayWrite = room.mayWrite()
  const line = new Timeline(server)
  const ended = new AbortController() // when the window closes
  let folded = null // the log in memory, once it is here
  let versions = []
  let current = null // the moment on the slider
  let painted = null // the one whose text is seen
  let turn = 0
  let playing = 0

  const title = h('p', { class: 'moment', role: 'status' })
  const holder = h('div', { class: 'editor past' })
  const message = h('p', { class: 'hint past-message', role: 'status' }, 'Reading the log …')
  const slider = h('input', { type: 'range', class: 'slider', min: 0, max: 0, value: 0, disabled: true, oninput: () => { pause(); show(Number(slider.value)) }, onchange: () => fetching.hurry(), onkeydown: byKey })
  slider.setAttribute('aria-label', 'Moment')
  const marks = versionMarks(v => open(v))
  const play = h('button', { class: 'button', type: 'button', disabled: true, onclick: () => playing ? pause() : start() }, icon('play'), h('span', {}, 'Play'))
  // Comparing and telling authors both paint the text; one of them at a time can be read.
  const compare = h('input', { type: 'checkbox', id: 'compare', onchange: () => { who.checked = false; again() } })
  const who = h('input', { type: 'checkbox', id: 'past-authors', onchange: () => { compare.checked = false; again() } })
  const people = legend()
  const restore = h('button', { class: 'button primary', type: 'button', disabled: true, hidden: !mayWrite, onclick: () => putBack() }, h('span', {}, 'Restore this moment'))
  const edits = spellRows({ open: m => { pause(); openSide(false); show(line.placeOf(m.last)) }, versions: () => versions })
  const closer = zoomButton('plus', 'Show a shorter time on the slider', () => zoom(0.25))
  const wider = zoomButton('minus', 'Show a longer time on the slider', () => zoom(4))

  const panel = versionsPanel({
    server,
    mayWrite,
    moment: () => current,
    open,
    kept: v => line.keeps(v.seq),
    changed: all => { versions = all; placeVersions() }
  })
  const side = tabs('Edits and versions', [
    { id: 'tab-edits', name: 'Edits', panel: edits.el },
    { id: 'tab-versions', name: 'Versions', panel: panel.el }
  ])
  const sideButton = h('button', { class: 'button side-toggle', type: 'button', 'aria-expanded': 'false', onclick: () => openSide(!side.el.classList.contains('open')) }, icon('list'), h('span', {}, 'List'))

  const dialog = h('dialog', { class: 'history', 'aria-labelledby': 'history-title' },
    h('header', { class: 'history-head' },
      h('h2', { id: 'history-title' }, 'History'),
      title,
      h('div', { class: 'space' }),
      h('label', { class: 'check', for: 'past-authors' }, who, 'Who wrote what'),
      h('label', { class: 'check', for: 'compare' }, compare, 'Compare with now'),
      h('button', { class: 'button ghost', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close'))),
    h('div', { class: 'history-body' }, h('div', { class: 'past-page' }, message, holder, people.el), side.el),
    h('footer', { class: 'history-foot' }, play, h('div', { class: 'timeline' }, marks.el, slider), h('div', { class: 'zoom' }, wider, closer), sideButton, restore))
  side.el.classList.add('history-side')
  dialog.addEventListener('close', () => {
    pause()
    ended.abort()
    fetching.drop()
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
        EditorView.editorAttributes.of({ class: 'prose' }), EditorView.contentAttributes.of({ tabindex: '0', 'aria-label': 'The text at this moment' }), diffSlot.of([]),
        authorMarks(people.at)
      ]
    })
  })
  dialog.showModal()

  // On a narrow screen the list lies over the text.
  function openSide (open) {
    side.el.classList.toggle('open', open)
    sideButton.setAttribute('aria-expanded', String(open))
  }

  // fetching asks the server for moments while the log is not in memory: one request at a time, and the newest moment next.
  const fetching = newest(async ({ m, withAuthors }, signal) => ({
    m,
    past: await server.text(m.last, room.type, signal),
    runs: withAuthors ? await server.authors(room.type, m.last, signal) : null
  }))

  // show puts a place of the slider on the screen. Until its own text is there, the text that is seen is dimmed, and it is said of when it is.
  async function show (place) {
    if (!line.length) return
    current = line.moment(place)
    const mine = ++turn
    if (line.view(current.place)) drawMarks()
    slider.value = String(current.place)
    describe()
    if (folded && line.record(current.place) >= 0) {
      fetching.drop()
      const k = line.record(current.place)
      return paint(current, folded.text(k), who.checked ? folded.runs(k) : null)
    }
    stale()
    try {
      const got = await fetching.want({ m: current, withAuthors: who.checked })
      if (!got || !dialog.open || turn !== mine && folded) return
      paint(got.m, got.past, got.runs)
    } catch (e) {
      if (mine === turn && dialog.open) fail(e)
    }
  }

  const again = () => { if (current) show(current.place) }

  function paint (m, past, runs) {
    const now = room.text.toString()
    painted = m
    view.dispatch({
      changes: difference(view.state.doc.toString(), compare.checked ? now : past),
      effects: diffSlot.reconfigure(compare.checked ? unifiedMergeView({ original: past, mergeControls: false, gutter: false, collapseUnchanged: { margin: 3, minSize: 8 }, diffConfig: { scanLimit: 500, timeout: 200 } }) : [])
    })
    const authors = runs && authorsOf(runs)
    people.show(authors)
    showAuthors(view, authors)
    restore.disabled = past === now || m.last !== current.last
    holder.dataset.seq = String(m.last)
    message.hidden = true
    stale()
  }

  // stale tells the text that is seen from the one that is wanted.
  function stale () {
    const old = painted?.last !== current.last
    holder.classList.toggle('stale', old)
    holder.setAttribute('aria-busy', String(old))
    if (!old) return
    restore.disabled = true
    message.hidden = false
    message.textContent = painted ? `Loading. You still see the text of ${when(painted.to)}.` : 'Reading the log …'
  }

  // describe tells which moment is on the slider.
  function describe () {
    const m = current
    const names = panel.named(m.last).map(v => `“${v.name}”`)
    const by = named(m.users ?? [])
    title.replaceChildren(...names.length ? [h('strong', {}, names.join(', ')), ' · '] : [], [when(m.to), by, line.length > 1 ? `edit ${(m.place + 1).toLocaleString('en')} of ${line.length.toLocaleString('en')}` : ''].filter(Boolean).join(' · '))
    title.title = title.textContent
    slider.setAttribute('aria-valuetext', title.textContent)
    slider.dataset.seq = String(m.last)
    edits.mark(m.last)
    panel.mark(m.last)
  }

  function open (v) {
    pause()
    openSide(false)
    show(line.placeOf(v.seq))
  }

  // A key moves by one edit, also where the slider knows only every hundredth yet.
  async function byKey (e) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[e.key]
    if (!step || e.ctrlKey || e.metaKey || e.altKey) return
    e.preventDefault()
    pause()
    const place = Math.max(0, Math.min(line.length - 1, current.place + step))
    try {
      await line.refine(place)
      if (dialog.open) show(place)
    } catch (err) {
      fail(err)
    }
  }

  async function zoom (factor) {
    pause()
    line.zoom(factor, current.place)
    drawMarks()
    slider.value = String(current.place)
    try {
      if (await line.sharpen() && dialog.open) drawMarks()
    } catch (e) {
      fail(e)
    }
  }

  function zoomButton (sign, name, onclick) {
    const b = h('button', { class: 'button ghost small', type: 'button', title: name, disabled: true, onclick }, icon(sign))
    b.setAttribute('aria-label', name)
    return b
  }

  // placeVersions gives a place to each version, also where the history before it was dropped, and draws the marks.
  function placeVersions () {
    side.count('tab-versions', versions.length)
    const here = current
    line.versions(versions, here)
    slider.disabled = play.disabled = line.length < 2
    if (here) {
      current = line.moment(line.placeOf(here.last))
      line.view(current.place)
    }
    drawMarks()
    edits.draw()
    if (current) {
      slider.value = String(current.place)
      describe()
    }
  }

  function drawMarks () {
    slider.min = String(line.from)
    slider.max = String(line.to)
    closer.disabled = line.to - line.from < 20
    wider.disabled = line.from === 0 && line.to === line.length - 1
    marks.put(versions, v => line.from === line.to ? 1 : (line.placeOf(v.seq) - line.from) / (line.to - line.from))
  }

  function fail (e) {
    message.hidden = false
    message.textContent = e.message
  }

  function start () {
    if (current.place >= line.to) show(line.from)
    play.lastChild.textContent = 'Pause'
    playing = setTimeout(step, 0)
  }

  // step shows the next stop once it is here, and not before its time.
  async function step () {
    const mine = playing
    if (current.place >= line.to) return pause()
    const stops = Math.min(300, line.to - line.from)
    const pace = new Promise(resolve => setTimeout(resolve, Math.max(40, Math.min(500, playFor / stops))))
    await show(Math.min(line.to, line.stopAfter(current.place, Math.max(1, Math.round((line.to - line.from) / stops)))))
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
    const m = current
    const sure = await confirm({
      title: 'Restore this moment for everybody?',
      text: [`The document will read as it did on ${when(m.to)}${panel.named(m.last).map(v => `, “${v.name}”`).join('')}.`, 'The text of now stays in the history, and you can undo this.'],
      action: 'Restore'
    })
    if (!sure || !dialog.open) return
    restore.disabled = true
    try {
      const { seq, changed } = await server.restore(m.last)
      dialog.close()
      if (!changed) toast('The document reads like that already.')
      else toast('Restored for everybody.', { name: 'Undo', run: () => takeBack(seq) })
    } catch (e) {
      restore.disabled = false
      fail(e)
    }
  }

  // takeBack undoes a restore for everybody: it restores the sequence before it.
  async function takeBack (seq) {
    try {
      await server.restore(seq - 1)
      toast('The restore is undone for everybody.')
    } catch (e) {
      toast(e.message, { name: 'Try again', run: () => takeBack(seq) })
    }
  }

  let stops, spells, kept
  try {
    [stops, spells, kept] = await Promise.all([server.stops(), server.spells(), server.versions()])
  } catch (e) {
    if (e.code !== 'not-found') return fail(e)
    stops = { entries: [], whole: false } // nobody has written yet, so there is no document
    spells = kept = []
  }
  if (!dialog.open) return
  line.put(stops)
  edits.put(spells)
  panel.put(kept)
  if (line.length === 0) {
    message.textContent = 'Nothing has been written here yet.'
    return
  }
  show(line.length - 1)
  if (!stops.whole || !mayFold(stops.entries)) return
  try {
    const log = await foldLog(await server.packed(stops.entries.at(-1).last, ended.signal), room.type, ended.signal)
    if (!dialog.open || !line.fold(log)) return
    folded = log
    dialog.dataset.folded = String(log.length)
    again()
  } catch (e) {
    if (!ended.signal.aborted) console.info('The history is read moment by moment:', e.message)
  }
}

// difference is the one change that makes a text into another.
function difference (old, now) {
  let front = 0
  const least = Math.min(old.length, now.length)
  while (front < least && old.charCodeAt(front) === now.charCodeAt(front)) front++
  let back = 0
  while (back < least - front && old.charCodeAt(old.length - 1 - back) === now.charCodeAt(now.length - 1 - back)) back++
  return { from: front, to: old.length - back, insert: now.slice(front, now.length - back) }
}
