import { h, icon, logo, store } from './dom.js'
import { roomName } from './names.js'
import { at } from './place.js'
import { themeButton } from './theme.js'
import { ago } from './time.js'

const recentKey = 'yjet.recent'
const maxRecent = 12

export const recentRooms = () => store.get(recentKey, []).filter(r => r && typeof r.room === 'string' && r.room !== '').slice(0, maxRecent)

export function rememberRoom (room) {
  store.set(recentKey, [{ room, at: Date.now() }, ...recentRooms().filter(r => r.room !== room)].slice(0, maxRecent))
}

const forgetRoom = room => store.set(recentKey, recentRooms().filter(r => r.room !== room))

export const escaped = room => room.split('/').map(encodeURIComponent).join('/')

export const roomPath = room => at(escaped(room))

export function home (root) {
  document.title = 'yjet'
  const open = room => { location.href = roomPath(room) }
  const name = h('input', { class: 'field', id: 'room', name: 'room', type: 'text', placeholder: 'team-notes', autocomplete: 'off', autocapitalize: 'none', spellcheck: false, maxLength: 255 })
  const problem = h('p', { class: 'problem', role: 'alert' })
  const form = h('form', {
    class: 'open-room',
    onsubmit: e => {
      e.preventDefault()
      const room = name.value.trim().split('/').filter(Boolean).join('/')
      const bad = roomProblem(room)
      problem.textContent = bad ?? ''
      if (!bad) open(room)
    }
  },
  h('label', { for: 'room', class: 'label' }, 'Or open one by its name'),
  h('div', { class: 'row' }, name, h('button', { class: 'button', type: 'submit' }, 'Open')),
  problem)

  const recent = h('section', { class: 'recent', 'aria-labelledby': 'recent-title' })
  const renderRecent = () => {
    const rooms = recentRooms()
    recent.hidden = rooms.length === 0
    recent.replaceChildren(
      h('h2', { id: 'recent-title', class: 'label' }, 'Recent rooms'),
      h('ul', {}, rooms.map(r => {
        const forget = h('button', { class: 'button ghost small', type: 'button', title: 'Remove from this list', onclick: () => { forgetRoom(r.room); renderRecent() } }, icon('close'))
        forget.setAttribute('aria-label', `Remove ${r.room} from this list`)
        return h('li', {}, h('a', { href: roomPath(r.room) }, h('span', { class: 'recent-name' }, r.room), h('time', {}, ago(r.at))), forget)
      })))
  }
  renderRecent()

  const promise = h('span', {})
  const footer = h('footer', { class: 'home-foot' }, promise, h('a', { href: at('inspect') }, 'Inspect'))
  root.append(
    h('div', { class: 'home' },
      h('header', { class: 'home-head' }, h('a', { href: at(''), class: 'brand', 'aria-label': 'yjet, start page' }, logo(), h('span', {}, 'yjet')), themeButton()),
      h('main', {},
        h('h1', {}, 'Write together. Everything you see is saved.'),
        h('p', { class: 'lead' }, 'A room is a shared page with a link. Open it in two windows and type: an edit reaches the other one after it has been stored.'),
        h('button', { class: 'button primary big', type: 'button', id: 'create', onclick: () => open(roomName()) }, 'Create new room', icon('arrow')),
        form, recent),
      footer))
  about(promise)
}

// about says what this server promises, in its own words.
async function about (el) {
  try {
    const res = await fetch(at('health'), { headers: { Accept: 'application/json' } })
    const health = await res.json()
    const parts = []
    if (typeof health.version === 'string') parts.push(`yjet ${health.version}`)
    if (health.durability === 'disk') parts.push('every edit is on disk before it is shown')
    else if (health.durability === 'process') parts.push('edits survive a crash of this server, not a power cut')
    if (health.status && health.status !== 'ok') parts.push(`server is ${health.status}`)
    el.textContent = parts.join(' · ')
  } catch {
    el.textContent = 'The server does not answer right now.'
  }
}

const reserved = new Set(['health', 'healthz', 'readyz', 'metrics', 'api', 'assets', 'parties', 'party', 'd', 'doc'])

// roomProblem answers why a name cannot be a document's, or undefined. The server's own rules, told earlier.
export function roomProblem (room) {
  if (room === '') return 'Give the room a name first.'
  if (new TextEncoder().encode(room).length > 255) return 'This name is too long: at most 255 bytes.'
  if (/[\p{Cc}]/u.test(room)) return 'A name cannot hold control characters.'
  if (!room.isWellFormed?.() && /[\uD800-\uDFFF]/.test(room.replace(/[\uD800-\uDBFF][\uDC00-\uDFFF]/g, ''))) return 'This name is not valid text.'
  const segments = room.split('/')
  if (segments.some(s => s === '.' || s === '..' || s === '')) return 'The parts between slashes cannot be empty, "." or "..".'
  if (room === 'inspect') return 'The page of this name shows what the server holds. Other programs may use the document.'
  if (reserved.has(segments[0])) return `A name cannot begin with “${segments[0]}”: the server uses that itself.`
}
