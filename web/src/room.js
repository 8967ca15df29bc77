import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'
import { EditorView } from '@codemirror/view'
import { docAPI } from './api.js'
import { authorMarks, legend, liveAuthors } from './authors.js'
import { h, icon, logo, copy, toast } from './dom.js'
import { openEditor, languages, languageOf } from './editor.js'
import { cursorOf } from './cursors.js'
import { loadMe, saveMe, mePanel, peopleBar, person } from './people.js'
import { escaped, rememberRoom, roomPath, roomProblem } from './home.js'
import { at, here, publicURL, socketURL } from './place.js'
import { trackSaved } from './saved.js'
import { themeButton } from './theme.js'
import { keepToken, takeToken } from './token.js'

const type = 'codemirror' // the name of the Y.Text, as in the y-codemirror.next demo

export function room (root) {
  const name = roomFromPath()
  const problem = name === null ? 'This address is not valid text.' : roomProblem(name)
  if (problem) return refused(root, problem)
  document.title = `${name} · yjet`

  let token = takeToken(name)
  const server = docAPI({ room: name, token: () => token })
  const doc = new Y.Doc()
  const provider = new WebsocketProvider(socketURL(), escaped(name), doc, { params: token ? { token } : {} })
  const { awareness } = provider
  const text = doc.getText(type)
  const page = doc.getMap('page')
  const undoManager = new Y.UndoManager(text)
  const me = loadMe()
  const announceMe = () => awareness.setLocalStateField('user', { name: me.name, color: me.colour, colorLight: me.colour + '33' })
  announceMe()
  rememberRoom(name)

  // The parts of the page.
  const pill = savedPill()
  const banner = h('div', { class: 'banner', role: 'alert', hidden: true })
  const gate = h('section', { class: 'gate', hidden: true })
  const holder = h('div', { class: 'editor waiting', id: 'editor' })
  const counts = h('span', { class: 'counts' })
  const following = h('button', { class: 'following', type: 'button', hidden: true, onclick: () => people.unfollow() })
  let followed = null

  const people = peopleBar({
    awareness,
    me,
    onMe: e => panel.toggle(e.currentTarget),
    onFollow: id => { followed = id; follow() }
  })
  const panel = popover('me-panel', 'Your name and colour', mePanel({ me, onChange: () => { saveMe(me); announceMe(); people.render() } }))

  let drawer = null
  const openDrawer = async () => {
    try {
      const { snippets, snippetDrawer } = await import('./snippets.js')
      if (!drawer) root.append(drawer = snippetDrawer(snippets({ base: publicURL, room: name, type, token: !!token })))
      drawer.showModal()
    } catch {
      toast('The server does not answer, so this cannot be opened now.')
    }
  }
  const link = `${publicURL}/${escaped(name)}`
  const share = popover('share-panel', 'Share this room', h('div', { class: 'menu' },
    h('input', { class: 'field', readOnly: true, value: link, 'aria-label': 'Link to this room', onfocus: e => e.target.select() }),
    h('button', { class: 'menu-item', type: 'button', id: 'copy-link', onclick: async () => { toast(await copy(link) ? 'Link copied' : 'Copying is not allowed here'); share.hide() } }, icon('link'), 'Copy link'),
    h('button', { class: 'menu-item', type: 'button', id: 'two-windows', onclick: () => { share.hide(); secondWindow() } }, icon('windows'), 'Open in two windows'),
    h('button', { class: 'menu-item', type: 'button', id: 'from-code', onclick: () => { share.hide(); openDrawer() } }, icon('code'), 'Open from your code')))

  const language = h('select', { class: 'select', 'aria-label': 'Language', onchange: () => page.set('language', language.value) },
    languages.map(l => h('option', { value: l.id }, l.name)))

  let readOnly = false
  const who = legend()
  const authors = liveAuthors({ server, type, view: () => editor.view, people: who })
  const whoButton = h('button', {
    class: 'button ghost toggle',
    type: 'button',
    id: 'authors',
    title: 'Who wrote what',
    'aria-pressed': 'false',
    onclick: () => {
      const on = whoButton.getAttribute('aria-pressed') !== 'true'
      whoButton.setAttribute('aria-pressed', String(on))
      authors.toggle(on)
    }
  }, icon('people'), h('span', { class: 'wide' }, 'Who wrote what'))
  whoButton.setAttribute('aria-label', 'Who wrote what')

  const editor = openEditor({
    parent: holder,
    text,
    awareness,
    undoManager,
    extensions: authorMarks(who.at),
    onUpdate: u => {
      if (u.docChanged || u.selectionSet) count()
      if (u.docChanged) authors.edited()
      if (u.docChanged && followed !== null && u.transactions.some(t => t.isUserEvent('input') || t.isUserEvent('delete'))) people.unfollow()
    }
  })

  // The history is code of its own, fetched when it is first opened.
  const history = h('button', {
    class: 'button',
    type: 'button',
    id: 'history',
    onclick: async () => {
      try {
        const { openHistory } = await import('./history.js')
        openHistory({ room: name, type, token: () => token, text, mayWrite: () => !readOnly })
      } catch {
        toast('The server does not answer, so the history cannot be opened now.')
      }
    }
  }, icon('clock'), h('span', { class: 'wide' }, 'History'))
  history.setAttribute('aria-label', 'History of this room')
  root.append(
    h('a', { class: 'skip', href: '#editor', onclick: e => { e.preventDefault(); editor.view.focus() } }, 'Go to the text'),
    h('header', { class: 'bar' },
      h('a', { href: at(''), class: 'brand', 'aria-label': 'yjet, all rooms' }, logo()),
      h('h1', { class: 'room-name', title: name }, name),
      pill.button,
      h('div', { class: 'space' }),
      people.list,
      history,
      h('button', { class: 'button', type: 'button', id: 'share', 'aria-haspopup': 'true', onclick: e => share.toggle(e.currentTarget) }, icon('link'), h('span', { class: 'wide' }, 'Share'))),
    banner,
    h('main', { class: 'page' }, h('div', { class: 'sheet' }, holder, gate, following), who.el),
    h('footer', { class: 'status' }, language, counts, h('div', { class: 'space' }), h('span', { class: 'hint wide' }, 'Press Esc, then Tab, to leave the editor'), whoButton, themeButton()),
    panel.el, share.el, pill.panel)

  // Language is part of the document: everybody sees the same.
  const applyLanguage = () => {
    const l = languageOf(page.get('language'))
    language.value = l.id
    editor.language(l.id)
  }
  page.observe(applyLanguage)
  applyLanguage()

  // The text shows once the server has answered, or after a moment without it.
  const reveal = () => {
    if (!holder.classList.contains('waiting')) return
    holder.classList.remove('waiting')
    if (matchMedia('(pointer: fine)').matches) editor.view.focus()
    count()
  }
  provider.once('sync', reveal)
  setTimeout(reveal, 1500)

  // What this person may do is asked for beside the first sync, so that a reader sees it before the first key and a refused
  // person sees why instead of an empty editor. Until it is known nothing can be typed.
  let rights = '' // '', r, rw or rwd; '?' where the server did not answer
  let saved = {}
  let refusal = false
  const render = () => {
    readOnly = saved.readOnly || rights === 'r'
    pill.show({ ...saved, readOnly, synced: saved.synced && rights !== '' })
    const locked = refusal || readOnly || rights === ''
    editor.readOnly(locked)
    language.disabled = locked
    if (readOnly && saved.connected && !refusal) note('readonly', 'Read only: you may read this document, not change it.')
    else if (saved.connected && !refusal) banner.hidden = true
  }
  function note (state, ...parts) {
    banner.dataset.state = state
    banner.hidden = false
    banner.replaceChildren(...parts)
  }

  let asked = 0
  async function askRights () {
    const turn = ++asked
    try {
      const answer = await server.access()
      if (turn !== asked) return
      rights = answer
    } catch (e) {
      if (turn !== asked) return
      if (e.status === 401 || e.status === 403) return refuse(reasons[e.code] ?? e.message, true)
      rights ||= '?' // the socket will tell
      if (e.status === 0) away()
    }
    render()
  }

  // refuse says why the server does not let this person in. Text that is here already stays in sight, locked.
  function refuse (why, mayHelp) {
    refusal = true
    asked++ // an answer on the way comes too late
    clearTimeout(awayTimer)
    provider.disconnect()
    pill.closed()
    editor.readOnly(true)
    language.disabled = true
    const field = h('input', { class: 'field', type: 'password', id: 'token', placeholder: 'Token', autocomplete: 'off', spellcheck: false, 'aria-label': 'Token' })
    const form = h('form', {
      class: 'ask-right row',
      onsubmit: e => {
        e.preventDefault()
        if (mayHelp && field.value.trim()) keepToken(name, token = field.value.trim())
        refusal = false
        gate.hidden = banner.hidden = true
        holder.hidden = false
        rights = ''
        provider.params = token ? { token } : {}
        provider.connect()
        askRights()
      }
    }, mayHelp ? field : null, h('button', { class: 'button', type: 'submit' }, 'Try again'))
    if (text.length > 0) return note('refused', h('span', {}, why), form)
    banner.hidden = holder.hidden = true
    holder.classList.remove('waiting')
    gate.hidden = false
    gate.replaceChildren(h('h2', {}, 'This room does not open.'), h('p', { class: 'lead', role: 'alert' }, why), form)
    if (mayHelp) field.focus()
  }

  // away says that the server cannot be reached, and whose text is on the screen.
  let awayTimer = 0
  const away = () => note('retrying', h('span', {}, 'The server does not answer; this page keeps trying. ' + (text.length > 0 || everSynced
    ? 'You see the text as this tab remembers it, and edits of others are missing.'
    : 'Nothing has been loaded yet, so the document may hold text that you do not see.')))
  let everSynced = false
  provider.once('sync', () => { everSynced = true })

  const tracker = trackSaved(provider, state => {
    saved = state
    clearTimeout(awayTimer)
    if (!state.connected && !refusal) awayTimer = setTimeout(away, 1500)
    render()
  })
  addEventListener('beforeunload', e => { if (tracker.unsaved() > 0) e.preventDefault() })
  provider.on('status', ({ status }) => { if (status === 'connected' && rights !== '') askRights() })
  askRights()

  provider.on('closed', ({ code, reason }) => {
    if (!refusal) refuse(closeReason(code, reason), code === 4401 || code === 4403)
  })

  function count () {
    const { state } = editor.view
    const head = state.selection.main.head
    const line = state.doc.lineAt(head)
    const words = state.doc.length > 500_000 ? null : (state.doc.toString().match(/[\p{L}\p{N}][\p{L}\p{N}'’_-]*/gu) ?? []).length
    counts.textContent = [
      words === null ? `${state.doc.length.toLocaleString('en')} characters` : `${words.toLocaleString('en')} ${words === 1 ? 'word' : 'words'}`,
      `line ${line.number}, column ${head - line.from + 1}`
    ].join(' · ')
  }

  function follow () {
    const state = followed === null ? null : awareness.getStates().get(followed)
    following.hidden = !state
    if (!state) return
    const who = person(state, followed)
    following.textContent = `Following ${who.name}. Stop`
    following.style.setProperty('--who', who.colour)
    const at = cursorOf(state, text)
    if (at && at.head <= editor.view.state.doc.length) editor.view.dispatch({ effects: EditorView.scrollIntoView(at.head, { y: 'center' }) })
  }
  awareness.on('change', ({ added, updated, removed }) => {
    if (followed !== null && [...added, ...updated, ...removed].includes(followed)) follow()
  })

  // secondWindow opens this room beside the present window, half a screen each where the browser allows.
  function secondWindow () {
    const { availWidth, availHeight, availLeft = 0, availTop = 0 } = screen
    const half = Math.floor(availWidth / 2)
    const opened = window.open(roomPath(name) + (token ? '#token=' + encodeURIComponent(token) : ''), '_blank', `popup,width=${half},height=${availHeight},left=${availLeft + half},top=${availTop}`)
    if (!opened) toast('The browser blocked the window. Copy the link instead.')
  }

  return { doc, provider, editor }
}

function refused (root, problem) {
  document.title = 'yjet'
  root.append(h('div', { class: 'home' },
    h('header', { class: 'home-head' }, h('a', { href: at(''), class: 'brand' }, logo(), h('span', {}, 'yjet'))),
    h('main', {}, h('h1', {}, 'This room cannot be opened.'), h('p', { class: 'lead' }, problem), h('a', { class: 'button primary big', href: at('') }, 'Start page', icon('arrow')))))
}

function roomFromPath () {
  try {
    return here().split('/').map(decodeURIComponent).join('/').split('/').filter(s => s !== '').join('/')
  } catch {
    return null
  }
}

// popover wraps content in a panel that closes by itself (Escape, a click elsewhere).
function popover (id, title, content) {
  const el = h('div', { class: 'panel', id, popover: 'auto', role: 'dialog' }, content)
  el.setAttribute('aria-label', title)
  let anchor = null
  const hide = () => el.hidePopover?.()
  return {
    el,
    hide,
    toggle (from) {
      anchor = from
      el.togglePopover()
      if (!el.matches(':popover-open')) return
      const box = anchor.getBoundingClientRect()
      const width = el.offsetWidth
      el.style.top = `${Math.round(box.bottom + 8)}px`
      el.style.left = `${Math.round(Math.max(8, Math.min(box.right - width, innerWidth - width - 8)))}px`
      el.querySelector('input:not([readonly]), button')?.focus()
    }
  }
}

// savedPill shows the connection and whether all of this tab's edits are on disk.
function savedPill () {
  const label = h('span', { class: 'pill-label' })
  const why = h('p', {})
  const panel = popover('saved-panel', 'What saved means', h('div', { class: 'saved-why' }, why,
    h('p', { class: 'hint' }, 'The server confirms this: it answers only after it has stored everything that this tab sent.')))
  const button = h('button', { class: 'pill', type: 'button', id: 'saved', onclick: e => panel.toggle(e.currentTarget) }, h('span', { class: 'dot' }), label)
  const live = h('span', { class: 'offscreen', role: 'status' })
  button.append(live)
  let announced = ''
  let savingTimer = 0

  const put = (state, short, long) => {
    clearTimeout(savingTimer)
    button.dataset.state = state
    label.textContent = short
    button.title = long
    why.textContent = long
    // "Saving" flickers with every key; only what lasts is read out.
    if (state !== 'saving' && short !== announced) {
      announced = short
      live.textContent = short
    }
  }
  const edits = n => `${n} ${n === 1 ? 'edit' : 'edits'}`

  return {
    button,
    panel: panel.el,
    closed: () => put('closed', 'Disconnected', 'The server ended this connection. Your text is still in this tab.'),
    show ({ connected, synced, unsaved, saved, readOnly }) {
      if (!connected) {
        if (unsaved > 0) put('offline', 'Offline', `Not connected. ${edits(unsaved)} wait in this tab and go out by themselves; keep it open.`)
        else put('connecting', 'Connecting', 'Connecting to the server. Edits wait in this tab and go out by themselves.')
      } else if (!synced) put('connecting', 'Loading', 'Connected; loading the document.')
      else if (readOnly) put('readonly', 'Read only', 'You may read this document, not change it.')
      else if (saved) put('saved', 'Saved', 'Everything you wrote is stored on the server’s disk.')
      else {
        // The state is set at once, the word only when it takes long enough to be read.
        button.dataset.state = 'saving'
        button.title = why.textContent = unsaved > 0 ? `${edits(unsaved)} on the way to the server’s disk.` : 'Asking the server what is stored.'
        clearTimeout(savingTimer)
        savingTimer = setTimeout(() => { label.textContent = announced = 'Saving' }, announced === 'Saved' ? 400 : 0)
      }
    }
  }
}

const reasons = {
  'token-required': 'This server requires a token. Open the room with “#token=…” at the end of its address.',
  'token-expired': 'The token of this link has expired. Ask for a new link.',
  'token-invalid': 'The token of this link is not accepted here.',
  forbidden: 'You do not have access to this document.',
  'read-only': 'You may read this document, not change it.',
  revoked: 'Your access to this document was revoked.',
  'origin-refused': 'This server does not accept connections from pages at this address.',
  'document-deleted': 'This document has been deleted.',
  'document-full': 'This document is as large as this server allows. Your text is still in this tab.',
  'bad-document-name': 'A document cannot have this name.'
}

function closeReason (code, reason) {
  if (reasons[reason]) return reasons[reason]
  const byCode = {
    4401: 'The server does not accept your token.',
    4403: reasons.forbidden,
    4404: reasons['document-deleted'],
    4409: 'This document is damaged on the server; an operator has to look at it. Your text is still in this tab.',
    4413: 'A change was too large for this server. Your text is still in this tab.',
    4400: 'The server refused something this tab sent. Your text is still in this tab.'
  }
  return byCode[code] ?? `The server ended the connection (${code}).`
}
