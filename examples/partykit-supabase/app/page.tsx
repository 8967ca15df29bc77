'use client'

import { useEffect, useState } from 'react'
import { Editor } from '../components/Editor'
import { People } from '../components/People'
import { SignIn } from '../components/SignIn'
import { usePartyKitProvider } from '../lib/usePartyKitProvider'
import { refreshToken, useSupabaseToken, type SignedIn } from '../lib/useSupabaseToken'

const partyKitHost = process.env.NEXT_PUBLIC_PARTYKIT_HOST ?? '127.0.0.1:1999'

export default function Page () {
  const who = useSupabaseToken()
  const [documentId, setDocumentId] = useState<string>()
  useEffect(() => setDocumentId(new URLSearchParams(location.search).get('doc') ?? 'notes/welcome'), [])

  if (who === undefined || !documentId) return <main />
  return (
    <main>
      <h1>{documentId}</h1>
      {/* The key: another user is another connection, never the same one with another token. */}
      {who ? <Room key={who.userId} documentId={documentId} who={who} /> : <SignIn />}
    </main>
  )
}

function Room ({ documentId, who }: { documentId: string, who: SignedIn }) {
  const { doc, provider, status, synced, loaded, readOnly, expiresAt, problem } =
    usePartyKitProvider({ documentId, token: who.token, partyKitHost, onTokenWanted: refreshToken })

  return (
    <>
      <header>
        <p role="status" data-expires={expiresAt ?? ''}>
          {status}{synced && ', up to date'}{readOnly && ', read only'}
        </p>
        {provider && <People awareness={provider.awareness} name={who.name} />}
      </header>
      {problem && <p role="alert">{problem.message} <small>({problem.code})</small></p>}
      {/* Nothing to type into before the document is here: an empty editor looks like a lost document. */}
      {doc && loaded && <Editor text={doc.getText('content')} readOnly={readOnly} />}
    </>
  )
}
