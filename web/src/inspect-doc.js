import { docAPI } from './api.js'
import { commandLine, commandsOf } from './command.js'
import { h, icon } from './dom.js'
import { roomPath, roomProblem } from './home.js'
import { bytes } from './inspect-list.js'
import { logPane } from './inspect-log.js'
import { jsonTree } from './json-tree.js'
import { at } from './place.js'
import { tabs } from './tabs.js'
import { ago, exact, when } from './time.js'
import { keepToken } from './token.js'
import { readVector } from './update.js'

const folded = 'With the nats tool, from the last snapshot if there is one; later edits are in the log'

// documentView is one document: what it holds, who is there, and the log it is made of.
export function documentView ({ call, token, doc, pane, refused }) {
  const server = docAPI({ room: doc, token })
  const facts = h('dl', { class: 'facts' })
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true })
  let log = null
  let commands = {}
  let started = false
  let stopped = false

  const holders = {}
  const panes = {
    content: {
      name: 'Content',
      note: folded,
      async fill (el) {
        const res = await server.state()
        const state = await res.json()
        const empty = Object.keys(state).length === 0
        el.append(h('p', { class: 'hint' }, empty ? 'The document is empty.' : `Shared types as JSON, at sequence ${res.headers.get('Yjet-Seq')}.`))
        if (!empty) el.append(jsonTree(state))
      }
    },
    vector: {
      name: 'State vector',
      note: folded,
      async fill (el) {
        const vector = readVector(await server.vector())
        el.append(h('p', { class: 'hint' }, `${vector.length.toLocaleString('en')} client${vector.length === 1 ? '' : 's'}: what everybody has written, counted. A clock is the number of the next change of that client.`))
        if (vector.length > 0) {
          el.append(table(['Client', 'Clock'], vector.slice(0, 1000).map(([client, clock]) => [num(String(client)), num(clock.toLocaleString('en'))]), ['num', 'num']))
          if (vector.length > 1000) el.append(h('p', { class: 'hint' }, `and ${(vector.length - 1000).toLocaleString('en')} more.`))
        }
      }
    },
    presence: {
      name: 'Presence',
      note: 'With the nats tool, from all servers, followed by changes',
      async fill (el) {
        const list = await server.presence()
        el.append(h('p', { class: 'hint' }, list.length === 0 ? 'Nobody is here.' : `${list.length} client${list.length === 1 ? '' : 's'}. The server has checked the user; the state is what the client says about itself.`))
        for (const p of list) {
          el.append(h('article', { class: 'client' },
            h('p', {}, h('strong', {}, p.user || 'Not signed in'), h('span', { class: 'hint' }, ` client ${p.client} · clock ${p.clock} · on ${p.node}${p.since ? ` · since ${when(p.since)}` : ''}`)),
            h('pre', { tabIndex: 0 }, JSON.stringify(p.state, null, 2))))
        }
      }
    },
    versions: {
      name: 'Versions',
      note: 'With the nats tool, followed by changes',
      async fill (el) {
        const list = await server.versions()
        el.append(h('p', { class: 'hint' }, list.length === 0 ? 'No moment has a name.' : `${list.length.toLocaleString('en')} named moment${list.length === 1 ? '' : 's'}, newest first.`))
        if (list.length > 0) {
          el.append(table(['Name', 'Seq', 'Moment', 'Named by', 'Named'], list.map(v => [
            h('td', { class: 'name', title: v.name }, v.name), num(String(v.seq)), h('td', { class: 'time', title: exact(v.time) }, when(v.time)),
            h('td', { class: 'user', title: v.user ?? '' }, v.user || h('span', { class: 'hint' }, 'not signed in')), h('td', { class: 'time', title: exact(v.created) }, when(v.created))
          ]), ['', 'num', '', '', '']))
        }
      }
    },
    log: {
      name: 'Log',
      note: 'With the nats tool, for records that are not packed into history yet',
      async fill (el) {
        log = logPane(server)
        el.append(log.el)
      }
    }
  }

  const list = Object.keys(panes).map(id => ({ id: `pane-${id}`, name: panes[id].name, panel: holders[id] = h('div', { class: 'pane' }) }))
  const all = tabs('Parts of the document', list, id => fill(id.slice(5)))
  const open = !roomProblem(doc)
  const head = h('div', { class: 'doc-head' }, facts, h('div', { class: 'space' }),
    h('button', { class: 'button', type: 'button', id: 'refresh', onclick: refresh }, icon('refresh'), 'Refresh'),
    open ? h('a', { class: 'button', href: roomPath(doc), onclick: () => { if (token) keepToken(doc, token) } }, icon('pencil'), 'Open') : null)

  let shown = ''
  async function fill (id, again = false) {
    if (!started) return
    const el = holders[id]
    shown = id
    history.replaceState(null, '', `${at('inspect')}#doc=${encodeURIComponent(doc)}${id === 'content' ? '' : `&pane=${id}`}`)
    if (el.dataset.filled && !again) return
    el.dataset.filled = 'yes'
    if (id === 'log') log?.stop()
    const fresh = h('div', {})
    try {
      await panes[id].fill(fresh)
    } catch (e) {
      if (stopped || refused(e)) return
      fresh.replaceChildren(h('p', { class: e.code === 'not-found' ? 'hint' : 'problem', role: 'alert' }, e.message))
      delete el.dataset.filled
    }
    const line = commandLine(commands[id === 'vector' ? 'content' : id], panes[id].note)
    if (line) fresh.append(line)
    el.replaceChildren(...fresh.childNodes)
  }

  async function describe () {
    try {
      // The document is the first of those whose names begin like it.
      const { docs } = await (await call(`/docs?limit=1&prefix=${encodeURIComponent(doc)}`)).json()
      const d = docs.find(d => d.id === doc)
      problem.hidden = !!d
      all.el.hidden = !d
      if (!d) {
        problem.textContent = 'There is no document of this name, or none that you may read.'
        facts.replaceChildren()
        return
      }
      commands = commandsOf(d.subject)
      const fact = (name, value, title = '') => h('div', { title }, h('dt', {}, name), h('dd', {}, value))
      facts.replaceChildren(
        fact('Size', bytes(d.bytes), d.bytes > 0 ? `${d.bytes.toLocaleString('en')} bytes` : 'Told once the document is open, or folded'),
        fact('Updates', d.updates.toLocaleString('en')),
        fact('Last edit', ago(new Date(d.lastEdit).getTime()), exact(d.lastEdit)),
        fact('Sessions now', d.sessions.toLocaleString('en'), 'On this server'),
        fact('Sequence', String(d.seq), 'Of the newest record'))
    } catch (e) {
      if (stopped || refused(e)) return
      problem.hidden = false
      problem.textContent = e.message
    }
  }

  async function refresh () {
    await describe()
    if (!stopped) await fill(shown, true)
  }

  describe().then(() => {
    if (stopped) return
    started = true
    all.show(panes[pane] ? `pane-${pane}` : 'pane-content')
  })
  return { parts: [head, problem, all.el], stop: () => { stopped = true; log?.stop() } }
}

const num = text => h('td', { class: 'num' }, text)

const table = (heads, rows, classes) => h('div', { class: 'scroll', tabIndex: 0 }, h('table', { class: 'grid' },
  h('thead', {}, h('tr', {}, heads.map((t, i) => h('th', { scope: 'col', class: classes[i] }, t)))), h('tbody', {}, rows.map(cells => h('tr', {}, cells)))))
