import { at } from './place.js'

// h makes an element. Properties that are functions become listeners, `class` and `data-…`/`aria-…` become
// attributes, children are nodes or text: text is always set as text.
export function h (tag, props = {}, ...children) {
  const el = document.createElement(tag)
  for (const [k, v] of Object.entries(props ?? {})) {
    if (v === null || v === undefined || v === false) continue
    if (typeof v === 'function') el.addEventListener(k.slice(2).toLowerCase(), v)
    else if (k === 'class') el.className = v
    else if (k in el && !k.includes('-') && k !== 'list') el[k] = v
    else el.setAttribute(k, v === true ? '' : v)
  }
  el.append(...children.flat().filter(c => c !== null && c !== undefined && c !== false))
  return el
}

const svgNS = 'http://www.w3.org/2000/svg'

const paths = {
  link: 'M6.5 9.5l3-3M7 4.5l1.2-1.2a2.6 2.6 0 013.7 3.7L10.7 8.2M9 11.5l-1.2 1.2a2.6 2.6 0 01-3.7-3.7L5.3 7.8',
  windows: 'M2.5 5.5h7v7h-7zM6.5 5.5v-2h7v7h-4',
  code: 'M5.5 5L2.5 8l3 3M10.5 5l3 3-3 3',
  clock: 'M8 4.5V8l2.3 1.5M8 2.5a5.5 5.5 0 110 11 5.5 5.5 0 010-11z',
  moon: 'M13 9.6A5.5 5.5 0 016.4 3a5.5 5.5 0 106.6 6.6z',
  close: 'M4 4l8 8M12 4l-8 8',
  check: 'M3.5 8.5l3 3 6-7',
  arrow: 'M3 8h10M9 4l4 4-4 4',
  dots: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  play: 'M5.5 3.5v9l7-4.5z',
  copy: 'M6 6h7v7H6zM3 10V3h7',
  refresh: 'M12.8 6.5A5 5 0 003.6 6M3.5 3v3h3M3.2 9.5a5 5 0 009.2.5M12.5 13v-3h-3',
  trash: 'M3.5 4.5h9M6.5 4.5v-1.5h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5',
  flag: 'M4 13.5v-11M4 3h7.5l-2 2.75 2 2.75H4',
  plus: 'M8 3.5v9M3.5 8h9',
  minus: 'M3.5 8h9',
  list: 'M3 4h10M3 8h10M3 12h10',
  people: 'M6 7.5a2.2 2.2 0 100-4.4 2.2 2.2 0 000 4.4zM2 13c0-2.2 1.8-3.6 4-3.6s4 1.4 4 3.6M10.6 3.4a2.2 2.2 0 010 4M11.6 9.7c1.5.4 2.4 1.6 2.4 3.3',
  pencil: 'M3 13l.6-2.7L10.8 3l2.2 2.2-7.3 7.2z'
}

// icon makes one of the 16-pixel line icons above.
export function icon (name) {
  const svg = document.createElementNS(svgNS, 'svg')
  svg.setAttribute('viewBox', '0 0 16 16')
  svg.setAttribute('class', 'icon')
  svg.setAttribute('aria-hidden', 'true')
  const p = document.createElementNS(svgNS, 'path')
  p.setAttribute('d', paths[name])
  svg.append(p)
  return svg
}

export function logo () {
  return h('img', { src: at('assets/icon.svg'), alt: '', class: 'logo', width: 26, height: 26 })
}

// copy puts text on the clipboard, also where the page is not in a secure context.
export async function copy (text) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const area = h('textarea', { value: text, class: 'offscreen', readOnly: true })
    document.body.append(area)
    area.select()
    const ok = document.execCommand('copy')
    area.remove()
    return ok
  }
}

let toastTimer
// toast shows one short sentence for a moment, also to screen readers; with an action, a button for a minute.
export function toast (text, action) {
  let el = document.getElementById('toast')
  if (!el) {
    el = h('div', { id: 'toast', role: 'status', class: 'toast' })
    document.body.append(el)
  }
  el.replaceChildren(h('span', {}, text), ...action ? [h('button', { class: 'toast-action', type: 'button', onclick: () => { el.classList.remove('show'); action.run() } }, action.name)] : [])
  el.classList.add('show')
  clearTimeout(toastTimer)
  toastTimer = setTimeout(() => el.classList.remove('show'), action ? 60_000 : 2200)
}

// store reads and writes JSON in localStorage; a browser that forbids it only forgets.
export const store = {
  get (key, fallback) {
    try { return JSON.parse(localStorage.getItem(key)) ?? fallback } catch { return fallback }
  },
  set (key, value) {
    try { localStorage.setItem(key, JSON.stringify(value)) } catch {}
  }
}
