import { h, icon, copy, toast } from './dom.js'

// The lines that show with the stock nats tool what a pane of /inspect shows. A document's subject comes from the
// server: ydoc.NN.<path>, where the path holds A-Z a-z 0-9 - _ = and dots only, so that no shell reads anything into it.
export function commandsOf (subject) {
  const m = /^ydoc\.(\d\d)\.([A-Za-z0-9\-_=.]+)$/.exec(subject ?? '')
  if (!m) return {}
  const [, nn, path] = m
  return {
    content: `nats stream get YSNAP_${nn} --last-for ysnap.${nn}.head.${path} --translate 'yjet decode'`,
    presence: `nats kv watch ypresence '${path}.*'`,
    versions: `nats kv watch ymeta 'version.*.${path}'`,
    log: `nats stream view YDOC_${nn} --subject ydoc.${nn}.${path} --translate 'yjet decode'`
  }
}

// streamOf answers the stream that holds a subject.
export const streamOf = subject => /^ydoc\.(\d\d)\./.test(subject ?? '') ? `YDOC_${subject.slice(5, 7)}` : ''

// commandLine shows one to copy.
export function commandLine (line, note = '') {
  if (!line) return null
  const b = h('button', { class: 'button ghost small', type: 'button', title: 'Copy the command', onclick: async () => toast(await copy(line) ? 'Copied' : 'Copying is not allowed here') }, icon('copy'))
  b.setAttribute('aria-label', 'Copy the command')
  return h('div', { class: 'command' }, h('p', { class: 'hint' }, note || 'With the nats tool'), h('div', { class: 'command-line' }, h('code', { tabIndex: 0 }, line), b))
}
