import{e,f as u,h as w,i as h}from"./dom.js";var s=o=>`'${o.replace(/\\/g,"\\\\").replace(/'/g,"\\'")}'`,$=/^(localhost:|127\.0\.0\.1:|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)/;function v({base:o,room:i,type:m,token:p}){let l=o.startsWith("https:"),r=o.replace(/^https?:\/\//,""),d=`${l?"wss":"ws"}://${r}`,y=i.split("/").map(encodeURIComponent).join("/"),c=p?", { params: { token } }":"",t=[...!l&&!$.test(r)?["protocol: 'ws'"]:[],...p?["params: async () => ({ token: await getToken() })"]:[]],n=t.length?`, { ${t.join(", ")} }`:"",a=`
const text = doc.getText(${s(m)})`;return[{name:"y-websocket",install:"npm install yjs y-websocket",code:`import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'

const doc = new Y.Doc()
const provider = new WebsocketProvider(
  ${s(d)},
  ${s(y)},
  doc${c?`,
  `+c.slice(2):""}
)${a}`},{name:"y-partykit",install:"npm install yjs y-partykit",code:`import * as Y from 'yjs'
import YPartyKitProvider from 'y-partykit/provider'

const doc = new Y.Doc()
const provider = new YPartyKitProvider(
  ${s(r)},
  ${s(y)},
  doc${n?`,
  `+n.slice(2):""}
)${a}`},{name:"y-partyserver",install:"npm install yjs y-partyserver",code:`import * as Y from 'yjs'
import YProvider from 'y-partyserver/provider'

const doc = new Y.Doc()
const provider = new YProvider(
  ${s(r)},
  ${s(y)},
  doc${n?`,
  `+n.slice(2):""}
)${a}`},{name:"Hocuspocus",install:"npm install yjs @hocuspocus/provider",code:`import * as Y from 'yjs'
import { HocuspocusProvider } from '@hocuspocus/provider'

const doc = new Y.Doc()
const provider = new HocuspocusProvider({
  url: ${s(d)},
  name: ${s(i)},
  document: doc,
  token: ${p?"getToken":"''"}
})${a}`},{name:"y-sweet",install:"npm install yjs @y-sweet/client",code:`import * as Y from 'yjs'
import { createYjsProvider } from '@y-sweet/client'

const doc = new Y.Doc()
const provider = createYjsProvider(doc, ${s(i)}, async () => {
  const res = await fetch(
    ${s(`${o}/doc/${encodeURIComponent(i)}/auth`)},
    { method: 'POST'${p?", headers: { Authorization: `Bearer ${await getToken()}` }":""} }
  )
  return res.json()
})${a}`}]}function f(o){let i=e("code",{}),m=e("code",{}),p=e("div",{role:"tabpanel",class:"snippet",id:"snippet-panel",tabIndex:0},e("pre",{class:"install"},m),e("pre",{},i)),l=o.map((t,n)=>e("button",{role:"tab",type:"button",class:"tab",id:`snippet-${n}`,"aria-controls":"snippet-panel",onclick:()=>d(n)},t.name)),r=0;function d(t){r=t,l.forEach((n,a)=>{n.setAttribute("aria-selected",String(a===t)),n.tabIndex=a===t?0:-1}),p.setAttribute("aria-labelledby",l[t].id),m.textContent=o[t].install,i.textContent=o[t].code}let y=e("div",{role:"tablist",class:"tabs","aria-label":"Provider",onkeydown:t=>{let n={ArrowRight:1,ArrowLeft:-1}[t.key];n&&(d((r+n+o.length)%o.length),l[r].focus(),t.preventDefault())}},l),c=e("dialog",{class:"drawer","aria-labelledby":"snippet-title"},e("header",{class:"drawer-head"},e("h2",{id:"snippet-title"},"Open this room from your code"),e("button",{class:"button ghost",type:"button","aria-label":"Close",onclick:()=>c.close()},u("close"))),e("p",{class:"hint"},"Stock packages, unchanged. All of them can edit this one document at the same time."),y,p,e("footer",{class:"drawer-foot"},e("button",{class:"button primary",type:"button",onclick:async()=>h(await w(o[r].code)?"Copied":"Copying is not allowed here")},"Copy code")));return c.addEventListener("click",t=>{t.target===c&&c.close()}),d(0),c}export{f as snippetDrawer,v as snippets};
