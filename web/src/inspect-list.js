import { commandLine, streamOf } from './command.js'
import { h } from './dom.js'
import { at } from './place.js'
import { ago, exact } from './time.js'

const page = 100

export const bytes = n => {
  if (!(n > 0)) return '–'
  if (n < 1000) return `${n} B`
  for (const [unit, size] of [['kB', 1e3], ['MB', 1e6], ['GB', 1e9]]) {
    if (n < size * 1000) return `${(n / size).toFixed(n < size * 10 ? 1 : 0)} ${unit}`
  }
}

export const documentLink = doc => `${at('inspect')}#doc=${encodeURIComponent(doc)}`

// documentList is every document that the caller may read, by name.
export function documentList ({ call, refused }) {
  const prefix = h('input', { class: 'field', type: 'search', id: 'prefix', placeholder: 'Names that begin with …', autocomplete: 'off', autocapitalize: 'none', spellcheck: false, 'aria-label': 'Names that begin with' })
  const message = h('p', { class: 'hint', role: 'status' }, 'Reading …')
  const body = h('tbody', {})
  const table = h('table', { class: 'grid docs', hidden: true },
    h('thead', {}, h('tr', {}, ['Document', 'Size', 'Updates', 'Last edit', 'Sessions now'].map((t, i) => h('th', { scope: 'col', class: i === 0 || i === 3 ? '' : 'num' }, t)))), body)
  const more = h('button', { class: 'button', type: 'button', id: 'more-docs', hidden: true, onclick: () => load(false) }, 'More documents')
  const commands = h('div', {})
  const streams = new Set()
  let after = ''
  let count = 0
  let turn = 0
  let timer = 0

  async function load (fresh) {
    const mine = ++turn
    more.disabled = true
    const wanted = prefix.value.trim()
    try {
      const answer = await (await call(`/docs?limit=${page}&prefix=${encodeURIComponent(wanted)}&after=${encodeURIComponent(fresh ? '' : after)}`)).json()
      if (mine !== turn) return
      if (fresh) {
        body.replaceChildren()
        count = 0
      }
      after = answer.next ?? ''
      count += answer.docs.length
      body.append(...answer.docs.map(row))
      for (const d of answer.docs) if (streamOf(d.subject)) streams.add(streamOf(d.subject))
      table.hidden = count === 0
      more.hidden = !after
      message.textContent = count > 0
        ? `${after ? 'The first ' : ''}${count.toLocaleString('en')} document${count === 1 ? '' : 's'}${wanted ? ` beginning with “${wanted}”` : ''}, by name.`
        : wanted ? `No document that you may read begins with “${wanted}”.` : 'There is no document yet, or none that you may read.'
      commands.replaceChildren(...[commandLine([...streams].sort().map(s => `nats stream subjects ${s}`).join(' && '), 'The same with the nats tool, a stream for each share of the documents')].filter(Boolean))
    } catch (e) {
      if (mine !== turn || refused(e)) return
      message.textContent = e.message
    }
    more.disabled = false
  }

  const row = d => h('tr', {},
    h('th', { scope: 'row' }, h('a', { href: documentLink(d.id), title: d.id }, d.id)),
    h('td', { class: 'num', title: d.bytes > 0 ? `${d.bytes.toLocaleString('en')} bytes` : 'Told once the document is open, or folded' }, bytes(d.bytes)),
    h('td', { class: 'num' }, d.updates.toLocaleString('en')),
    h('td', { class: 'time', title: exact(d.lastEdit) }, ago(new Date(d.lastEdit).getTime())),
    h('td', { class: 'num' }, d.sessions > 0 ? h('span', { class: 'live' }, d.sessions.toLocaleString('en')) : '0'))

  prefix.addEventListener('input', () => {
    clearTimeout(timer)
    timer = setTimeout(() => load(true), 200)
  })
  const search = h('form', { class: 'search', role: 'search', onsubmit: e => { e.preventDefault(); clearTimeout(timer); load(true) } }, prefix, h('button', { class: 'button', type: 'submit' }, 'Search'))
  load(true)
  return {
    parts: [h('div', { class: 'pane-tools' }, search, message), h('div', { class: 'scroll' }, table), more, commands],
    stop: () => { turn++; clearTimeout(timer) }
  }
}
