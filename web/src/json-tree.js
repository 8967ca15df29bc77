import { h } from './dom.js'

const page = 100 // members drawn at a time
const long = 600 // characters of a text before it is cut

const isOpenable = v => v !== null && typeof v === 'object'
const plural = (n, word) => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`

function kindOf (v, root) {
  if (Array.isArray(v)) return `${root ? 'list, ' : ''}${plural(v.length, 'item')}`
  if (isOpenable(v)) return `${root ? 'map, ' : ''}${plural(Object.keys(v).length, 'key')}`
  return root && typeof v === 'string' ? plural(v.length, 'character') : '' // of a text, or of XML written out
}

// jsonTree draws a value as a tree. What is closed is not drawn, and long lists and texts come in pieces.
export function jsonTree (value) {
  return h('ul', { class: 'tree' }, members(value, 0))
}

function members (value, depth) {
  const list = Array.isArray(value) ? value.map((v, i) => [i, v]) : Object.entries(value)
  const items = []
  for (const [key, v] of list.slice(0, page)) items.push(member(key, v, depth))
  return more(list, page, items, depth)
}

function more (list, from, items, depth) {
  if (list.length <= from) return items
  const b = h('button', {
    class: 'button small',
    type: 'button',
    onclick: () => {
      const next = list.slice(from, from + page).map(([key, v]) => member(key, v, depth))
      b.parentNode.replaceWith(...more(list, from + page, next, depth))
    }
  }, `${(list.length - from).toLocaleString('en')} more`)
  return [...items, h('li', {}, b)]
}

function member (key, v, depth) {
  const name = h('span', { class: 'tree-key' }, String(key))
  const kind = kindOf(v, depth === 0)
  if (!isOpenable(v)) return h('li', {}, h('div', { class: 'tree-leaf' }, name, leaf(v), kind ? h('span', { class: 'hint' }, kind) : null))
  const summary = h('summary', {}, name, h('span', { class: 'hint' }, kind))
  const details = h('details', {}, summary)
  let drawn = false
  const draw = () => {
    if (!details.open || drawn) return
    drawn = true
    const inner = members(v, depth + 1)
    details.append(h('ul', {}, inner.length ? inner : h('li', { class: 'hint' }, 'empty')))
  }
  details.addEventListener('toggle', draw)
  if (depth === 0) {
    details.open = true
    draw()
  }
  return h('li', {}, details)
}

function leaf (v) {
  if (typeof v !== 'string') return h('span', { class: 'tree-value' }, JSON.stringify(v) ?? 'undefined')
  const text = h('span', { class: 'tree-text' }, v.slice(0, long))
  if (v.length <= long) return text
  const b = h('button', { class: 'button small', type: 'button', onclick: () => { text.textContent = v; b.remove() } }, `${(v.length - long).toLocaleString('en')} more characters`)
  return h('span', { class: 'tree-long' }, text, b)
}
