import { h, icon, toast } from './dom.js'
import { confirm } from './confirm.js'
import { cleanName } from './people.js'
import { when } from './time.js'

const maxName = 100 // bytes, the server's rule

// nameProblem answers why a version cannot have this name, or undefined: the server's own rules, told earlier.
export function nameProblem (name) {
  if (name === '') return 'Give the moment a name first.'
  if (new TextEncoder().encode(name).length > maxName) return `This name is too long: at most ${maxName} bytes.`
  if (/\p{Cc}/u.test(name)) return 'A name cannot hold control characters.'
  if (name.split('/').some(s => s === '' || s === '.' || s === '..')) return 'The parts between slashes cannot be empty, “.” or “..”.'
}

const quoted = name => `“${name}”`

// versionsPanel lists the named moments of a document, names the present one of the slider, and takes names away.
//
//   server   as of docAPI
//   mayWrite whether this person may change the document
//   moment() the moment on the slider, or undefined
//   open(v)  moves the slider to a version
//   kept(v)  whether the history still leads to its moment without the name
//   changed  is called with the list whenever it has changed
export function versionsPanel ({ server, mayWrite, moment, open, kept, changed }) {
  let versions = []
  let current = 0

  const name = h('input', { class: 'field', type: 'text', id: 'version-name', placeholder: 'First draft', autocomplete: 'off', maxLength: 100 })
  const add = h('button', { class: 'button', type: 'submit', id: 'version-add' }, 'Save')
  const problem = h('p', { class: 'problem', role: 'alert' })
  const label = h('label', { class: 'label', for: 'version-name' }, 'Name the moment on the slider')
  const form = h('form', { class: 'version-form', onsubmit: e => { e.preventDefault(); save() } },
    label, h('div', { class: 'row' }, name, add), problem)
  name.addEventListener('input', () => { problem.textContent = '' })
  const list = h('ol', { class: 'versions', 'aria-label': 'Versions' })
  const empty = h('p', { class: 'hint empty' })
  const el = h('div', { class: 'versions-panel' }, mayWrite ? form : null, empty, list)

  async function save () {
    const m = moment()
    const wanted = name.value.trim()
    problem.textContent = nameProblem(wanted) ?? (m ? '' : 'There is no moment to name yet.')
    if (problem.textContent) return name.focus()
    add.disabled = true
    try {
      const v = await server.addVersion(wanted, m.last)
      name.value = ''
      put([...versions.filter(o => o.name !== v.name), v])
      toast(`Saved as ${quoted(v.name)}.`)
      list.querySelector(`[data-seq="${v.seq}"]`)?.scrollIntoView({ block: 'nearest' })
    } catch (e) {
      problem.textContent = e.code === 'version-exists' ? `There is a version ${quoted(wanted)} already. Delete it first, or take another name.` : e.message
    }
    add.disabled = false
    name.focus()
  }

  async function remove (v) {
    const sure = await confirm({
      title: `Delete the version ${quoted(v.name)}?`,
      text: [
        'The name disappears for everybody. The text of the document stays as it is.',
        kept(v)
          ? `Its moment, ${when(v.time)}, stays in the history and can be named again.`
          : `Nothing else leads to its moment, ${when(v.time)}: it cannot be opened or restored again.`
      ],
      action: 'Delete version'
    })
    if (!sure) return
    try {
      await server.deleteVersion(v.name)
    } catch (e) {
      if (e.code !== 'no-version') { // else somebody else was faster
        problem.textContent = e.message
        if (!mayWrite) toast(e.message)
        return
      }
    }
    const at = versions.indexOf(v)
    put(versions.filter(o => o !== v))
    toast(`Deleted ${quoted(v.name)}.`)
    const rows = list.querySelectorAll('.moment-row')
    ;(rows[Math.min(at, rows.length - 1)] ?? name).focus()
  }

  function put (all) {
    problem.textContent = ''
    versions = all.sort((a, b) => b.seq - a.seq || (a.name < b.name ? -1 : 1))
    list.replaceChildren(...versions.map(v => {
      const by = cleanName(v.user)
      const row = h('button', { class: 'moment-row', type: 'button', 'data-seq': String(v.seq), title: v.name, onclick: () => open(v) },
        h('span', { class: 'version-name' }, v.name),
        h('span', { class: 'hint' }, `${when(v.time)}${by ? ` · named by ${by}` : ''}`))
      const del = mayWrite && h('button', { class: 'button ghost small', type: 'button', title: 'Delete this version', onclick: () => remove(v) }, icon('trash'))
      if (del) del.setAttribute('aria-label', `Delete the version ${v.name}`)
      return h('li', {}, row, del)
    }))
    empty.hidden = versions.length > 0
    empty.textContent = mayWrite ? 'No moment has a name yet. Named ones are kept for as long as the document, also where older history is dropped.' : 'No moment has a name yet.'
    mark(current)
    changed(versions)
  }

  // mark shows which versions are the moment on the slider.
  function mark (seq) {
    current = seq
    for (const row of list.querySelectorAll('.moment-row')) {
      const here = row.dataset.seq === String(seq)
      row.setAttribute('aria-current', String(here))
      if (here) row.scrollIntoView({ block: 'nearest' })
    }
  }

  return { el, put, mark, named: seq => versions.filter(v => v.seq === seq) }
}

// versionMarks are the flags over the slider, one where each version is. The list is what keyboards and screen
// readers use.
export function versionMarks (open) {
  const el = h('div', { class: 'marks', 'aria-hidden': 'true' })
  return {
    el,
    // put draws them; place(v) is where a version is, from 0 to 1 where it is seen.
    put (versions, place) {
      el.classList.toggle('dense', versions.length > 40)
      el.replaceChildren(...versions.filter(v => place(v) >= 0 && place(v) <= 1).map(v => {
        const m = h('button', { class: 'mark', type: 'button', tabIndex: -1, title: v.name, onclick: () => open(v) })
        m.style.setProperty('--at', String(place(v)))
        return m
      }))
    }
  }
}
