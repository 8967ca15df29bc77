import { h, icon, store } from './dom.js'

const key = 'yjet.theme'
const dark = matchMedia('(prefers-color-scheme: dark)')

// The page follows the system until somebody chooses; choosing what the system has follows it again.
export function applyTheme () {
  const chosen = store.get(key, null)
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen
  else delete document.documentElement.dataset.theme
}

export function themeButton () {
  const b = h('button', {
    class: 'button ghost',
    type: 'button',
    title: 'Light or dark',
    onclick: () => {
      const now = document.documentElement.dataset.theme ?? (dark.matches ? 'dark' : 'light')
      const next = now === 'dark' ? 'light' : 'dark'
      store.set(key, next === (dark.matches ? 'dark' : 'light') ? null : next)
      applyTheme()
    }
  }, icon('moon'))
  b.setAttribute('aria-label', 'Switch between light and dark')
  return b
}
