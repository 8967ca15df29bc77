import * as Y from 'yjs'

// fingerprint is everything two equal documents share: values, state vector, delete set, and nothing waiting.
export function fingerprint (doc) {
  const sv = [...Y.decodeStateVector(Y.encodeStateVector(doc))].sort((a, b) => a[0] - b[0])
  const ds = [...Y.createDeleteSetFromStructStore(doc.store).clients].map(([k, v]) => [k, v.map(d => [d.clock, d.len])]).filter(e => e[1].length > 0).sort((a, b) => a[0] - b[0])
  return {
    text: doc.getText('t').toDelta(),
    map: sortKeys(doc.getMap('m').toJSON()),
    array: doc.getArray('a').toJSON(),
    xml: doc.getXmlFragment('x').toString(),
    page: doc.getText('codemirror').toString(),
    sv,
    ds,
    pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null
  }
}

function sortKeys (v) {
  if (Array.isArray(v)) return v.map(sortKeys)
  if (v === null || typeof v !== 'object' || v instanceof Uint8Array) return v
  return Object.fromEntries(Object.keys(v).sort().map(k => [k, sortKeys(v[k])]))
}

