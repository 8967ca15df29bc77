'use client'

import { useEffect, useRef, useState } from 'react'
import YPartyKitProvider from 'y-partykit/provider'
import * as Y from 'yjs'
import { parseMessage, type ErrorPayload } from './messages'

export type Options = {
  documentId: string
  token: string | null // null: not signed in, no connection
  partyKitHost: string // 'collab.example.com' or '127.0.0.1:1999'; https://… and a trailing slash do no harm
  onTokenWanted?: () => void // the server asks for a newer token, or refused this one
}

export type Collaboration = {
  doc: Y.Doc | null
  provider: YPartyKitProvider | null
  status: 'connecting' | 'connected' | 'disconnected'
  synced: boolean // equal to the server's document, as far as is known
  loaded: boolean // it was so at least once
  readOnly: boolean
  expiresAt: number | null // Unix ms
  problem: ErrorPayload | null // what the server last complained of
}

const start = { status: 'disconnected', synced: false, loaded: false, readOnly: false, expiresAt: null, problem: null } as const
type State = Omit<Collaboration, 'doc' | 'provider'>

export function usePartyKitProvider ({ documentId, token, partyKitHost, onTokenWanted }: Options): Collaboration {
  const [session, setSession] = useState<{ doc: Y.Doc, provider: YPartyKitProvider } | null>(null)
  const [state, setState] = useState<State>(start)
  const latest = useRef({ token, onTokenWanted })
  useEffect(() => { latest.current = { token, onTokenWanted } })

  const signedIn = token !== null
  useEffect(() => {
    if (!signedIn) return
    const doc = new Y.Doc()
    const set = (part: Partial<State>) => setState(before => ({ ...before, ...part }))
    let stopped = false

    const provider = new YPartyKitProvider(
      partyKitHost.replace(/\/+$/, ''), // the provider means to cut a trailing slash, but does not
      documentId.split('/').map(encodeURIComponent).join('/'), // it also puts the name into the URL as it is
      doc,
      {
        params: async () => {
          // The provider connects when this answers, even if it was destroyed by then, as React's strict
          // mode does at once. Not answering is the way to stay disconnected.
          await null
          if (stopped) return new Promise<never>(() => {})
          return { token: latest.current.token }
        }
      }
    )

    const read = (event: MessageEvent) => {
      const message = parseMessage(event.data)
      if (message?.type === 'auth' && message.payload.ok) {
        const { permissions, expiresAt, expiring } = message.payload
        set({ readOnly: !permissions.includes('write'), expiresAt: expiresAt ?? null, problem: null })
        if (expiring) latest.current.onTokenWanted?.()
      } else if (message?.type === 'error') {
        set({ problem: message.payload })
        if (message.payload.code === 'token-expired') latest.current.onTokenWanted?.()
      }
    }
    provider.on('status', ({ status }: Pick<State, 'status'>) => {
      set({ status })
      // Each connection is a new socket; 'connecting' is told before it can have said anything.
      if (status === 'connecting') provider.ws?.addEventListener('message', read)
    })
    provider.on('sync', (synced: boolean) => set(synced ? { synced, loaded: true } : { synced }))
    setSession({ doc, provider })

    return () => {
      stopped = true
      provider.destroy()
      doc.destroy()
      setSession(null)
      setState(start)
    }
  }, [documentId, partyKitHost, signedIn])

  // A newer token needs no new connection. The open socket is told, and the URL is mended, because the
  // provider asks for its params only once: automatic reconnects use the URL again as it is.
  const provider = session?.provider
  useEffect(() => {
    if (!provider || !token) return
    const url = new URL(provider.url)
    if (url.searchParams.get('token') === token) return
    url.searchParams.set('token', token)
    provider.url = url.href
    if (provider.ws?.readyState === WebSocket.OPEN) {
      provider.ws.send(JSON.stringify({ type: 'auth', payload: { token }, timestamp: Date.now() }))
    }
  }, [provider, token])

  return { doc: session?.doc ?? null, provider: provider ?? null, ...state }
}
