import { h, icon } from './dom.js'
import { cleanName } from './people.js'
import { ago, when } from './time.js'

const nobody = 'Somebody'

const nameOf = user => cleanName(user) || (user ? 'Unreadable name' : nobody)

// named joins names as people say them: "Ann and Bob", "Ann, Bob and 3 more"; empty where nobody was signed in.
export function named (users) {
  const names = [...new Set(users.filter(Boolean).map(nameOf))]
  if (names.length > 3) return `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names.at(-1)}` : names.join()
}

export const count = (n, word) => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`

// lasting is the length of a spell in words; what took less than a minute has none.
function lasting (from, to) {
  const minutes = Math.round((new Date(to) - new Date(from)) / 60_000)
  if (!(minutes >= 1)) return ''
  if (minutes < 90) return count(minutes, 'minute')
  return minutes < 36 * 60 ? count(Math.round(minutes / 60), 'hour') : count(Math.round(minutes / 1440), 'day')
}

// spellRows lists what was written between two pauses: who, for how long, how much, and how long ago. The list can be cut down to one person.
export function spellRows ({ open, versions }) {
  let spells = []
  let shown = 0
  const list = h('ol', { class: 'moments', 'aria-label': 'Edits' })
  const person = h('select', { class: 'field person-filter', hidden: true, 'aria-label': 'Edits of', onchange: draw })
  const el = h('div', {}, person, list)

  function draw () {
    const one = person.selectedIndex > 0 ? person.value : null
    list.replaceChildren(...spells.filter(m => one === null || m.users.includes(one)).map(m => {
      const names = versions().filter(v => m.first <= v.seq && v.seq <= m.last).map(v => v.name)
      const who = named(m.users) + (m.users.includes('') && m.users.length > 1 ? ' and somebody not signed in' : '') || nobody
      return h('li', {}, h('button', { type: 'button', class: 'moment-row', title: when(m.to), 'data-first': String(m.first), 'data-last': String(m.last), onclick: () => open(m) },
        h('span', { class: 'by' }, who),
        h('span', { class: 'hint' }, [ago(new Date(m.to).getTime()), lasting(m.from, m.to), count(m.updates, 'edit')].filter(Boolean).join(' · ')),
        names.length ? h('span', { class: 'named', title: names.join('\n') }, icon('flag'), h('span', {}, names.length > 1 ? `${names[0]} and ${names.length - 1} more` : names[0])) : null))
    }))
    mark(shown)
  }

  // mark shows in which spell a sequence is.
  function mark (seq) {
    shown = seq
    for (const row of list.querySelectorAll('.moment-row')) {
      const here = Number(row.dataset.first) <= seq && seq <= Number(row.dataset.last)
      if (row.getAttribute('aria-current') === String(here)) continue
      row.setAttribute('aria-current', String(here))
      if (here) row.scrollIntoView({ block: 'nearest' })
    }
  }

  return {
    el,
    draw,
    mark,
    put (all) {
      spells = all
      const users = [...new Set(all.flatMap(m => m.users))].sort()
      person.hidden = users.length < 2
      person.replaceChildren(h('option', {}, 'Everybody'), ...users.map(u => h('option', { value: u }, nameOf(u))))
      draw()
    }
  }
}
