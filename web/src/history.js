import { EditorState, Compartment } from '@codemirror/state'
import { EditorView } from '@codemirror/view'
import { unifiedMergeView } from '@codemirror/merge'
import { docAPI } from './api.js'
import { authorMarks, showAuthors, authorsOf, legend } from './authors.js'
import { confirm } from './confirm.js'
import { h, icon, toast } from './dom.js'
import { nonce } from './editor.js'
import { cleanName } from './people.js'
import { tabs } from './tabs.js'
import { when } from './time.js'
import { versionMarks, versionsPanel } from './versions.js'

const playFor = 12_000 // ms that playing takes in all, within the bounds of a step

// historyButton opens the past of this room: every moment the server kept, read back from its log.
export function historyButton (room) {
  const button = h('button', { class: 'button', type: 'button', id: 'history', onclick: () => openHistory(room) }, icon('clock'), h('span', { class: 'wide' }, 'History'))
  button.setAttribute('aria-label', 'History of this room')
  return button
}

async function openHistory (room) {
  const server = docAPI(room)
  const mayWrite = room.mayWrite()
  const texts = new Map() // sequence → text, as far as it was looked at
  const runs = new Map() // sequence → runs by author, likewise
  let kept = [] // the moments that the history leads to, oldest first
  let moments = [] // those, and where versions are between them
  let spells = []
  let versions = []
  let current = -1
  let wanted = 0
  let playing = 0

  const title = h('p', { class: 'moment', role: 'status' })
  const holder = h('div', { class: 'editor past' })
  const message = h('p', { class: 'hint past-message', role: 'status' }, 'Reading the log …')
  const slider = h('input', { type: 'range', class: 'slider', min: 0, max: 0, value: 0, disabled: true, oninput: () => { pause(); show(Number(slider.value)) } })
  slider.setAttribute('aria-label', 'Moment')
  const marks = versionMarks(v => open(v))
  const play = h('button', { class: 'button', type: 'button', disabled: true, onclick: () => playing ? pause() : start() }, icon('play'), h('span', {}, 'Play'))
  // Comparing and telling authors both paint the text; one of them at a time can be read.
  const compare = h('input', { type: 'checkbox', id: 'compare', onchange: () => { who.checked = false; show(current) } })
  const who = h('input', { type: 'checkbox', id: 'past-authors', onchange: () => { compare.checked = false; show(current) } })
  const people = legend()
  const restore = h('button', { class: 'button primary', type: 'button', disabled: true, hidden: !mayWrite, onclick: () => putBack() }, h('span', {}, 'Restore this moment'))
  const list = h('ol', { class: 'moments', 'aria-label': 'Edits' })

  const panel = versionsPanel({
    server,
    mayWrite,
    moment: () => moments[current],
    open,
    kept: v => kept.length > 0 && v.seq >= kept[0].first,
    changed: all => { versions = all; placeVersions() }
  })
  const side = tabs('Edits and versions', [
    { id: 'tab-edits', name: 'Edits', panel: list },
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
    h('footer', { class: 'history-foot' }, play, h('div', { class: 'timeline' }, marks.el, slider), sideButton, restore))
  side.el.classList.add('history-side')
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

  async function show (n) {
    if (n < 0 || n >= moments.length) return
    current = n
    slider.value = String(n)
    const m = moments[n]
    const turn = ++wanted
    describe()
    for (const [i, li] of [...list.children].entries()) {
      const here = spells[i].first <= m.last && m.last <= spells[i].last
      li.firstChild.setAttribute('aria-current', String(here))
      if (here) li.scrollIntoView({ block: 'nearest' })
    }
    panel.mark(m.last)
    let past
    let authors = null
    try {
      past = await once(texts, m.last, () => server.text(m.last, room.type))
      if (who.checked) authors = authorsOf(await once(runs, m.last, () => server.authors(room.type, m.last)))
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
    people.show(authors)
    showAuthors(view, authors)
    restore.disabled = past === now
  }

  // describe tells which moment is on the slider.
  function describe () {
    const m = moments[current]
    const names = panel.named(m.last).map(v => `“${v.name}”`)
    title.replaceChildren(...names.length ? [h('strong', {}, names.join(', ')), ' · '] : [], `${when(m.to)}${byWhom(m)}`)
    title.title = title.textContent
    slider.setAttribute('aria-valuetext', title.textContent)
  }

  function open (v) {
    pause()
    openSide(false)
    show(moments.findLastIndex(m => m.last <= v.seq))
  }

  // placeVersions puts a stop wherever a version is and draws the marks. Where the history before a version was
  // dropped, and where moments are grouped, there is none yet.
  function placeVersions () {
    side.count('tab-versions', versions.length)
    const here = moments[current]?.last
    const seqs = new Set(kept.map(m => m.last))
    const extra = new Map(versions.filter(v => !seqs.has(v.seq)).map(v => [v.seq, { first: v.seq, last: v.seq, to: v.time, users: [] }]))
    const stay = moments[current]
    if (stay && !seqs.has(stay.last) && !extra.has(stay.last)) extra.set(stay.last, stay) // its name was just taken away
    moments = [...kept, ...extra.values()].sort((a, b) => a.last - b.last)
    current = here === undefined ? -1 : moments.findIndex(m => m.last === here)
    slider.max = String(Math.max(0, moments.length - 1))
    slider.disabled = play.disabled = moments.length < 2
    const index = new Map(moments.map((m, i) => [m.last, i]))
    marks.put(versions, v => moments.length < 2 ? 1 : index.get(v.seq) / (moments.length - 1))
    drawSpells()
    if (current >= 0) {
      slider.value = String(current)
      describe()
      panel.mark(here)
    }
  }

  function drawSpells () {
    const shown = list.querySelector('[aria-current="true"]')?.dataset.last
    list.replaceChildren(...spells.map(m => {
      const names = versions.filter(v => m.first <= v.seq && v.seq <= m.last).map(v => v.name)
      return h('li', {}, h('button', { type: 'button', class: 'moment-row', 'data-last': String(m.last), 'aria-current': String(shown === String(m.last)), onclick: () => { pause(); openSide(false); show(moments.findLastIndex(x => x.last <= m.last)) } },
        h('span', {}, when(m.to)),
        h('span', { class: 'hint' }, `${m.updates} ${m.updates === 1 ? 'edit' : 'edits'}${byWhom(m)}`),
        names.length ? h('span', { class: 'named', title: names.join('\n') }, icon('flag'), h('span', {}, names.length > 1 ? `${names[0]} and ${names.length - 1} more` : names[0])) : null))
    }))
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
    if (ahead) once(texts, ahead.last, () => server.text(ahead.last, room.type)).catch(() => {})
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
    const m = moments[current]
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

  let named
  try {
    [kept, spells, named] = await Promise.all([server.moments(), server.spells(), server.versions()])
  } catch (e) {
    if (e.code !== 'not-found') return fail(e)
    kept = spells = named = [] // nobody has written yet, so there is no document
  }
  if (!dialog.open) return
  panel.put(named)
  if (moments.length === 0) {
    message.textContent = 'Nothing has been written here yet.'
    return
  }
  show(moments.length - 1)
}

// once fetches a thing once, however often it is wanted.
function once (kept, key, fetch) {
  let t = kept.get(key)
  if (!t) {
    t = fetch()
    kept.set(key, t)
    t.catch(() => kept.delete(key))
  }
  return t
}

const byWhom = m => {
  const names = (m.users ?? []).map(cleanName).filter(Boolean)
  return names.length ? ` · ${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}` : ''
}
