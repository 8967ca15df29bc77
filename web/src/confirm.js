import { h } from './dom.js'

// confirm asks before something that cannot be taken back: true where the person says so. Cancel has the focus.
export function confirm ({ title, text, action }) {
  return new Promise(resolve => {
    const cancel = h('button', { class: 'button', type: 'button', autofocus: true, onclick: () => dialog.close('') }, 'Cancel')
    const go = h('button', { class: 'button danger', type: 'button', onclick: () => dialog.close('yes') }, action)
    const dialog = h('dialog', { class: 'confirm', role: 'alertdialog', 'aria-labelledby': 'confirm-title', 'aria-describedby': 'confirm-text' },
      h('h2', { id: 'confirm-title' }, title),
      h('div', { id: 'confirm-text' }, text.map(t => h('p', {}, t))),
      h('footer', {}, cancel, go))
    dialog.addEventListener('click', e => { if (e.target === dialog) dialog.close('') })
    dialog.addEventListener('close', () => {
      dialog.remove()
      resolve(dialog.returnValue === 'yes')
    })
    document.body.append(dialog)
    dialog.showModal()
    cancel.focus()
  })
}
