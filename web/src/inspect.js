import { caller } from './api.js'
import { h, logo } from './dom.js'
import { documentList } from './inspect-list.js'
import { documentView } from './inspect-doc.js'
import { at } from './place.js'
import { themeButton } from './theme.js'
import { keepToken, takeToken } from './token.js'

// /inspect shows what the server holds, to people who run it. It asks the HTTP API and nothing else, so that it
// shows what this person's token may read and no more. What is looked at stands behind the # of the address,
// which browsers send to nobody: #doc=notes%2Ftodo&pane=log.

const tokenName = '/inspect'

export async function inspect (root) {
  document.title = 'Inspect · yjet'
  let token = ownToken()
  await style()

  const health = h('p', { class: 'hint health' })
  const trail = h('nav', { class: 'trail', 'aria-label': 'Where you are' })
  const main = h('main', { id: 'main', tabIndex: -1 })
  root.append(h('div', { class: 'inspect' },
    h('header', { class: 'inspect-head' }, h('a', { href: at(''), class: 'brand', 'aria-label': 'yjet, start page' }, logo()), trail, h('div', { class: 'space' }), health, themeButton()), main))

  let stop = () => {}

  function show () {
    stop()
    token = ownToken() ?? token
    const where = new URLSearchParams(location.hash.slice(1))
    const doc = where.get('doc')
    const context = { token, call: caller(token), refused }
    document.title = `${doc ? `${doc} · ` : ''}Inspect · yjet`
    trail.replaceChildren(doc ? h('a', { href: at('inspect'), 'data-list': '' }, 'Documents') : h('h1', {}, 'Documents'), ...doc ? [h('span', { class: 'hint', 'aria-hidden': 'true' }, '/'), h('h1', { title: doc }, doc)] : [])
    const view = doc ? documentView({ ...context, doc, pane: where.get('pane') ?? '' }) : documentList(context)
    stop = view.stop
    main.replaceChildren(...view.parts)
  }

  // refused takes the place of what the server did not want to show without a token, or with this one.
  function refused (e) {
    if (e.status !== 401) return false
    stop()
    const field = h('input', { class: 'field', type: 'password', id: 'token', autocomplete: 'off', spellcheck: false })
    main.replaceChildren(h('form', {
      class: 'ask-token',
      onsubmit: ev => {
        ev.preventDefault()
        token = field.value.trim()
        if (!token) return field.focus()
        keepToken(tokenName, token)
        show()
      }
    },
    h('h2', {}, token ? 'The server does not accept this token.' : 'This server requires a token.'),
    h('p', { class: 'lead' }, token ? e.message : 'You see the documents that your token may read, and no others. It stays in this tab.'),
    h('label', { class: 'label', for: 'token' }, 'Token'),
    h('div', { class: 'row' }, field, h('button', { class: 'button primary', type: 'submit' }, 'Show documents'))))
    field.focus()
    return true
  }

  // Links within this page change what is behind the # only; /inspect itself is the list.
  root.addEventListener('click', e => {
    const a = e.target.closest('a[data-list]')
    if (!a || e.metaKey || e.ctrlKey || e.shiftKey) return
    e.preventDefault()
    history.pushState(null, '', at('inspect'))
    show()
  })
  addEventListener('hashchange', show)
  addEventListener('popstate', () => { if (location.hash === '') show() })
  show()

  try {
    const it = await (await fetch(at('health'))).json()
    health.textContent = [
      `${it.metrics.activeSessions} session${it.metrics.activeSessions === 1 ? '' : 's'} on this server`,
      `durability ${it.durability}`,
      it.status === 'ok' ? '' : `server is ${it.status}${it.reason ? `: ${it.reason}` : ''}`
    ].filter(Boolean).join(' · ')
    health.title = health.textContent
  } catch {}
}

// ownToken takes the token out of the address and leaves there what else it says.
function ownToken () {
  const where = new URLSearchParams(location.hash.slice(1))
  const token = takeToken(tokenName)
  where.delete('token')
  if (location.hash === '' && where.size > 0) history.replaceState(null, '', `${location.pathname}#${where}`)
  return token
}

// style brings the rules of this page, which no other needs.
function style () {
  return new Promise(resolve => {
    document.head.append(h('link', { rel: 'stylesheet', href: at('assets/inspect.css'), onload: resolve, onerror: resolve }))
  })
}
