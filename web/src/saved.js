import * as encoding from 'lib0/encoding'
import * as decoding from 'lib0/decoding'

const messageSync = 0
const messageAuth = 2
const messageSaved = 102

// trackSaved asks the server, after each local change, to say when everything sent so far is on disk.
//
// The question is message 102 with a version of our own; the server echoes it, and only once all that came
// before it on this connection is durable. So "saved" is the server's word, not a guess:
//
//   1. a local change raises `version`; the provider sends the update, then we send 102 with the version;
//   2. after a reconnect the server asks for what it misses (a step 1); the provider's answer goes out first,
//      then we ask again with the same version;
//   3. the highest echo is `acked`; all is saved when it reaches `version`.
//
// onChange gets { saved, unsaved, connected, readOnly } whenever one of them changes.
export function trackSaved (provider, onChange) {
  let version = 0
  let acked = 0
  let answered = false // whether the server has our state on this connection
  let readOnly = false
  let queued = false
  let last = ''

  const report = () => {
    const state = {
      connected: provider.wsconnected,
      synced: provider.synced,
      unsaved: Math.max(0, version - acked),
      saved: provider.synced && answered && acked >= version,
      readOnly
    }
    const key = JSON.stringify(state)
    if (key !== last) {
      last = key
      onChange(state)
    }
  }

  const ask = () => {
    queued = false
    const ws = provider.ws
    if (!provider.wsconnected || !ws || ws.readyState !== ws.OPEN) return
    const body = encoding.createEncoder()
    encoding.writeVarUint(body, version)
    const frame = encoding.createEncoder()
    encoding.writeVarUint(frame, messageSaved)
    encoding.writeVarUint8Array(frame, encoding.toUint8Array(body))
    ws.send(encoding.toUint8Array(frame))
  }
  // One question per turn of the event loop: a paste of many transactions asks once, and always after its updates.
  const askSoon = () => {
    if (queued) return
    queued = true
    setTimeout(ask, 0)
  }

  provider.messageHandlers[messageSaved] = (_encoder, decoder) => {
    const echoed = decoding.readVarUint(decoding.createDecoder(decoding.readVarUint8Array(decoder)))
    answered = true
    acked = Math.max(acked, Math.min(echoed, version))
    report()
  }

  const sync = provider.messageHandlers[messageSync]
  provider.messageHandlers[messageSync] = (encoder, decoder, p, emitSynced, type) => {
    sync(encoder, decoder, p, emitSynced, type)
    if (emitSynced && encoding.length(encoder) > 1) askSoon() // the server asked, our answer leaves first
  }

  const auth = provider.messageHandlers[messageAuth]
  provider.messageHandlers[messageAuth] = (encoder, decoder, p, emitSynced, type) => {
    const peek = decoding.createDecoder(decoder.arr)
    peek.pos = decoder.pos
    if (decoding.readVarUint(peek) === 0 && decoding.readVarString(peek).startsWith('read-only')) {
      readOnly = true
      report()
      return
    }
    auth(encoder, decoder, p, emitSynced, type)
  }

  provider.doc.on('update', (_update, origin) => {
    if (origin === provider) return
    version++
    askSoon()
    report()
  })
  provider.on('status', ({ status }) => {
    if (status !== 'connected') answered = false
    report()
  })
  provider.on('sync', () => {
    if (provider.synced) askSoon()
    report()
  })
  report()
  return { unsaved: () => version - acked }
}
