import { h } from './dom.js'
import { exact, when } from './time.js'
import { fromBase64, hexdump, readUpdate } from './update.js'

const first = 100 // records fetched at once
const page = 500 // and when older ones are asked for
const every = 2000 // ms between two looks at what is new, while following

// logPane shows the records of a document, newest first, older ones on demand.
export function logPane (server) {
  const body = h('tbody', {})
  const table = h('table', { class: 'grid log' }, h('thead', {}, h('tr', {},
    ['Seq', 'Time', 'User', 'Connection', 'Bytes', 'What it says'].map((t, i) => h('th', { scope: 'col', class: ['num', '', '', 'conn', 'num', ''][i] }, t)))), body)
  const message = h('p', { class: 'hint', role: 'status' }, 'Reading the log …')
  const older = h('button', { class: 'button', type: 'button', hidden: true, onclick: () => load() }, 'Older records')
  const follow = h('input', { type: 'checkbox', id: 'log-follow', onchange: () => { clearTimeout(timer); if (follow.checked) look() } })
  const el = h('div', { class: 'log-pane' },
    h('div', { class: 'pane-tools' }, message, h('div', { class: 'space' }), h('label', { class: 'check', for: 'log-follow' }, follow, 'Follow')),
    h('div', { class: 'scroll', tabIndex: 0, role: 'region', 'aria-label': 'Records' }, table), older)
  let next = ''
  let newest = 0
  let count = 0
  let timer = 0

  const tell = () => {
    message.textContent = count === 0 ? 'The log holds nothing.' : `${count.toLocaleString('en')} record${count === 1 ? '' : 's'}, newest first${next ? '; older ones below' : ''}.`
    table.hidden = count === 0
  }

  async function load () {
    older.disabled = true
    try {
      const entries = await server.history('none', next ? page : first, { before: next })
      next = entries.next ?? ''
      if (entries.entries.length > 0) {
        const lines = await server.log(entries.entries.at(-1).first, entries.entries[0].last)
        add(lines, 'after')
      }
      tell()
      older.hidden = !next
    } catch (e) {
      message.textContent = e.message
      table.hidden = count === 0
    }
    older.disabled = false
  }

  async function look () {
    if (!follow.checked || !el.isConnected) return
    try {
      if (!document.hidden && el.offsetParent !== null) {
        add(await server.log(newest + 1, ''), 'before')
        tell()
      }
    } catch (e) {
      message.textContent = e.message
    }
    if (follow.checked) timer = setTimeout(look, every)
  }

  function add (lines, where) {
    const rows = []
    for (const line of lines.reverse()) {
      if (line.error) {
        message.textContent = line.error.message
        continue
      }
      newest = Math.max(newest, line.seq)
      count++
      rows.push(row(line))
    }
    if (where === 'after') body.append(...rows)
    else body.prepend(...rows)
  }

  load()
  return { el, stop: () => { follow.checked = false; clearTimeout(timer) } }
}

// row is one record; activating its sequence shows the bytes below it.
function row (line) {
  const bytes = fromBase64(line.update)
  let says
  try {
    says = readUpdate(bytes)
  } catch (e) {
    says = [{ op: '!', text: `not readable: ${e.message}` }]
  }
  let dump = null
  const open = h('button', {
    class: 'seq',
    type: 'button',
    title: 'Show the bytes',
    'aria-expanded': 'false',
    onclick: () => {
      if (dump) {
        dump.remove()
        dump = null
      } else {
        dump = h('tr', { class: 'dump' }, h('td', { colSpan: 6 }, h('pre', { tabIndex: 0 }, hexdump(bytes))))
        tr.after(dump)
      }
      open.setAttribute('aria-expanded', String(dump !== null))
    }
  }, String(line.seq))
  const tr = h('tr', {},
    h('td', { class: 'num' }, open),
    h('td', { class: 'time', title: exact(line.time) }, when(line.time)),
    h('td', { class: 'user', title: line.user }, line.user || h('span', { class: 'hint' }, 'not signed in')),
    h('td', { class: 'conn', title: line.conn ?? '' }, line.conn ? line.conn.replace(/^(.{6}).+\.(\w+)$/, '$1….$2') : h('span', { class: 'hint' }, 'another program')),
    h('td', { class: 'num', title: 'bytes' }, line.bytes.toLocaleString('en')),
    h('td', { class: 'says' },
      line.merged > 1 ? h('span', { class: 'hint' }, `${line.merged} updates `) : null,
      says.map(s => h('span', { class: `say ${{ '+': 'put', '−': 'cut' }[s.op] ?? ''}` }, `${s.op} ${s.text.length > 160 ? s.text.slice(0, 160) + '…' : s.text}`)),
      says.length === 0 ? h('span', { class: 'hint' }, 'nothing new') : null))
  return tr
}
