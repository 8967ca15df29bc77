import { colours, personName, randomColour } from './names.js'
import { h, icon, store } from './dom.js'

const colourPattern = /^#[0-9a-f]{6}$/i
const maxName = 40

// cleanName makes a stranger's name fit to be shown: no controls, no bidi overrides, not too long.
export function cleanName (name) {
  if (typeof name !== 'string') return ''
  return Array.from(name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '').trim()).slice(0, maxName).join('')
}

// person reads what another client says about itself; nothing of it is trusted.
export function person (state, clientID) {
  const user = state && typeof state.user === 'object' && state.user !== null ? state.user : {}
  return {
    id: clientID,
    name: cleanName(user.name) || 'Somebody',
    colour: typeof user.color === 'string' && colourPattern.test(user.color) ? user.color : colours[clientID % colours.length]
  }
}

export function initials (name) {
  const words = name.split(/\s+/).filter(Boolean)
  const first = w => Array.from(w)[0] ?? ''
  return ((words.length > 1 ? first(words[0]) + first(words[words.length - 1]) : first(name)) || '?').toUpperCase()
}

// me is the person at this browser: kept in localStorage, changed in the panel.
export function loadMe () {
  const saved = store.get('yjet.me', {})
  const me = {
    name: cleanName(saved.name) || personName(),
    colour: colourPattern.test(saved.colour) ? saved.colour : randomColour()
  }
  saveMe(me)
  return me
}

export const saveMe = me => store.set('yjet.me', me)

const narrow = matchMedia('(max-width: 640px)')
const maxAvatars = () => narrow.matches ? 2 : 5

// peopleBar shows who is here: others as avatars (activate one to follow their cursor), oneself last.
export function peopleBar ({ awareness, me, onMe, onFollow }) {
  const list = h('ul', { class: 'people', 'aria-label': 'Who is here' })
  let followed = null

  const setFollowed = id => {
    followed = id
    onFollow(id)
    render()
  }

  function render () {
    const here = []
    awareness.getStates().forEach((state, id) => {
      if (id !== awareness.clientID && state.user) here.push(person(state, id))
    })
    here.sort((a, b) => a.id - b.id)
    if (followed !== null && !here.some(p => p.id === followed)) {
      followed = null
      onFollow(null)
    }
    const max = maxAvatars()
    const shown = here.length > max ? here.slice(0, max - 1) : here
    const rest = here.slice(shown.length)
    const focusedID = list.contains(document.activeElement) ? document.activeElement.dataset.id : null
    list.replaceChildren(
      ...shown.map(p => {
        const b = h('button', {
          class: 'avatar' + (p.id === followed ? ' followed' : ''),
          type: 'button',
          title: p.id === followed ? `Following ${p.name}. Click to stop.` : `${p.name}. Click to follow.`,
          'aria-pressed': String(p.id === followed),
          'data-id': String(p.id),
          'data-name': p.name,
          onclick: () => setFollowed(p.id === followed ? null : p.id)
        }, initials(p.name))
        b.setAttribute('aria-label', `${p.name}, follow`)
        b.style.setProperty('--who', p.colour)
        return h('li', {}, b)
      }),
      rest.length > 0 ? h('li', {}, h('span', { class: 'avatar more', title: rest.map(p => p.name).join(', ') }, `+${rest.length}`)) : '',
      h('li', {}, meButton())
    )
    if (focusedID) list.querySelector(`[data-id="${focusedID}"]`)?.focus()
    list.dataset.count = String(here.length + 1)
  }

  function meButton () {
    const b = h('button', { class: 'avatar me', type: 'button', title: `${me.name} (you). Click to change.`, 'data-id': 'me', 'data-name': me.name, onclick: onMe }, initials(me.name))
    b.setAttribute('aria-label', `${me.name}, you. Change name and colour`)
    b.style.setProperty('--who', me.colour)
    return b
  }

  awareness.on('change', render)
  narrow.addEventListener('change', render)
  render()
  return { list, render, unfollow: () => followed !== null && setFollowed(null) }
}

// mePanel edits one's own name and colour.
export function mePanel ({ me, onChange }) {
  const name = h('input', { type: 'text', class: 'field', id: 'me-name', maxLength: maxName, value: me.name, autocomplete: 'off', spellcheck: false })
  name.addEventListener('input', () => {
    me.name = cleanName(name.value) || 'Somebody'
    onChange()
  })
  const swatches = h('div', { class: 'swatches', role: 'radiogroup', 'aria-label': 'Your colour' })
  for (const c of colours) {
    const input = h('input', { type: 'radio', name: 'colour', value: c, checked: c === me.colour, class: 'swatch' })
    input.setAttribute('aria-label', `colour ${c}`)
    input.style.setProperty('--who', c)
    input.addEventListener('change', () => {
      me.colour = c
      onChange()
    })
    swatches.append(input)
  }
  const form = h('form', { onsubmit: e => { e.preventDefault(); form.closest('[popover]')?.hidePopover() } },
    h('label', { for: 'me-name', class: 'label' }, 'Your name'),
    h('div', { class: 'row' }, name, h('button', { class: 'button', type: 'submit', 'aria-label': 'Done' }, icon('check'))),
    h('p', { class: 'label' }, 'Your colour'), swatches)
  return form
}
