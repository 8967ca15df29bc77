import { h, icon, copy, toast } from './dom.js'

const q = s => `'${s.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'`

// Hosts that y-partykit and y-partyserver reach without TLS by themselves.
const partyPlain = /^(localhost:|127\.0\.0\.1:|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)/

// snippets answers, for every provider, the lines that open this room. base is the public address, without a slash at its end.
export function snippets ({ base, room, type, token }) {
  const secure = base.startsWith('https:')
  const host = base.replace(/^https?:\/\//, '') // and the path, if there is one: the party clients take both as their host
  const ws = `${secure ? 'wss' : 'ws'}://${host}`
  const path = room.split('/').map(encodeURIComponent).join('/')
  const params = token ? ', { params: { token } }' : ''
  const partyOptions = [
    ...(!secure && !partyPlain.test(host) ? ["protocol: 'ws'"] : []),
    ...(token ? ['params: async () => ({ token: await getToken() })'] : [])
  ]
  const party = partyOptions.length ? `, { ${partyOptions.join(', ')} }` : ''
  const end = `\nconst text = doc.getText(${q(type)})`
  return [
    {
      name: 'y-websocket',
      install: 'npm install yjs y-websocket',
      code: `import * as Y from 'yjs'\nimport { WebsocketProvider } from 'y-websocket'\n\nconst doc = new Y.Doc()\nconst provider = new WebsocketProvider(\n  ${q(ws)},\n  ${q(path)},\n  doc${params ? ',\n  ' + params.slice(2) : ''}\n)${end}`
    },
    {
      name: 'y-partykit',
      install: 'npm install yjs y-partykit',
      code: `import * as Y from 'yjs'\nimport YPartyKitProvider from 'y-partykit/provider'\n\nconst doc = new Y.Doc()\nconst provider = new YPartyKitProvider(\n  ${q(host)},\n  ${q(path)},\n  doc${party ? ',\n  ' + party.slice(2) : ''}\n)${end}`
    },
    {
      name: 'y-partyserver',
      install: 'npm install yjs y-partyserver',
      code: `import * as Y from 'yjs'\nimport YProvider from 'y-partyserver/provider'\n\nconst doc = new Y.Doc()\nconst provider = new YProvider(\n  ${q(host)},\n  ${q(path)},\n  doc${party ? ',\n  ' + party.slice(2) : ''}\n)${end}`
    },
    {
      name: 'Hocuspocus',
      install: 'npm install yjs @hocuspocus/provider',
      code: `import * as Y from 'yjs'\nimport { HocuspocusProvider } from '@hocuspocus/provider'\n\nconst doc = new Y.Doc()\nconst provider = new HocuspocusProvider({\n  url: ${q(ws)},\n  name: ${q(room)},\n  document: doc,\n  token: ${token ? 'getToken' : "''"}\n})${end}`
    },
    {
      name: 'y-sweet',
      install: 'npm install yjs @y-sweet/client',
      code: `import * as Y from 'yjs'\nimport { createYjsProvider } from '@y-sweet/client'\n\nconst doc = new Y.Doc()\nconst provider = createYjsProvider(doc, ${q(room)}, async () => {\n  const res = await fetch(\n    ${q(`${base}/doc/${encodeURIComponent(room)}/auth`)},\n    { method: 'POST'${token ? ', headers: { Authorization: `Bearer ${await getToken()}` }' : ''} }\n  )\n  return res.json()\n})${end}`
    }
  ]
}

// snippetDrawer is the dialog that shows them, one tab each.
export function snippetDrawer (list) {
  const code = h('code', {})
  const install = h('code', {})
  const panel = h('div', { role: 'tabpanel', class: 'snippet', id: 'snippet-panel', tabIndex: 0 }, h('pre', { class: 'install' }, install), h('pre', {}, code))
  const tabs = list.map((s, i) => h('button', { role: 'tab', type: 'button', class: 'tab', id: `snippet-${i}`, 'aria-controls': 'snippet-panel', onclick: () => show(i) }, s.name))
  let current = 0
  function show (i) {
    current = i
    tabs.forEach((t, n) => {
      t.setAttribute('aria-selected', String(n === i))
      t.tabIndex = n === i ? 0 : -1
    })
    panel.setAttribute('aria-labelledby', tabs[i].id)
    install.textContent = list[i].install
    code.textContent = list[i].code
  }
  const tablist = h('div', {
    role: 'tablist',
    class: 'tabs',
    'aria-label': 'Provider',
    onkeydown: e => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key]
      if (!step) return
      show((current + step + list.length) % list.length)
      tabs[current].focus()
      e.preventDefault()
    }
  }, tabs)
  const dialog = h('dialog', { class: 'drawer', 'aria-labelledby': 'snippet-title' },
    h('header', { class: 'drawer-head' },
      h('h2', { id: 'snippet-title' }, 'Open this room from your code'),
      h('button', { class: 'button ghost', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close'))),
    h('p', { class: 'hint' }, 'Stock packages, unchanged. All of them can edit this one document at the same time.'),
    tablist, panel,
    h('footer', { class: 'drawer-foot' },
      h('button', { class: 'button primary', type: 'button', onclick: async () => toast(await copy(list[current].code) ? 'Copied' : 'Copying is not allowed here') }, 'Copy code')))
  dialog.addEventListener('click', e => { if (e.target === dialog) dialog.close() })
  show(0)
  return dialog
}
