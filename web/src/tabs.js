import { h } from './dom.js'

// tabs are panels of which one is seen. count(id, n) writes a number behind a tab's name.
export function tabs (label, list, onShow = () => {}) {
  const buttons = list.map((t, i) => h('button', { role: 'tab', type: 'button', class: 'tab', id: t.id, 'aria-controls': `${t.id}-panel`, onclick: () => show(i) }, h('span', {}, t.name)))
  const panels = list.map(t => h('div', { role: 'tabpanel', class: 'tab-panel', id: `${t.id}-panel`, 'aria-labelledby': t.id, tabIndex: -1 }, t.panel))
  let current = 0
  function show (i) {
    current = i
    buttons.forEach((b, n) => {
      b.setAttribute('aria-selected', String(n === i))
      b.tabIndex = n === i ? 0 : -1
      panels[n].hidden = n !== i
    })
    onShow(list[i].id)
  }
  const bar = h('div', {
    role: 'tablist',
    class: 'tabs',
    'aria-label': label,
    onkeydown: e => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key]
      if (!step) return
      show((current + step + list.length) % list.length)
      buttons[current].focus()
      e.preventDefault()
    }
  }, buttons)
  show(0)
  return {
    el: h('div', { class: 'tabbed' }, bar, panels),
    show: id => show(list.findIndex(t => t.id === id)),
    count (id, n) {
      const b = buttons[list.findIndex(t => t.id === id)]
      b.querySelector('.count')?.remove()
      if (n > 0) b.append(h('span', { class: 'count' }, String(n)))
    }
  }
}
