// What the server says in text frames, beside the binary Yjs protocol. PartyKit's provider ignores text, so
// an app listens on the socket itself (usePartyKitProvider does).

export type AuthPayload = {
  ok: boolean
  permissions: ('read' | 'write')[]
  document: string
  expiresAt?: number // Unix ms: when the token ends
  expiring?: boolean // it ends within a minute: time for a new one
}

export type ErrorPayload = {
  code: string // stable, kebab-case: 'token-expired', 'forbidden', 'read-only', …
  message: string
  fatal: boolean // the socket closes after this
}

export type CollaborationMessage =
  | { type: 'auth', payload: AuthPayload, userId?: string, timestamp: number }
  | { type: 'error', payload: ErrorPayload, userId?: string, timestamp: number }
  | { type: 'sync' | 'awareness', payload: unknown, userId?: string, timestamp: number }

// parseMessage answers null for whatever is no such message: other text of the app's own, or binary.
export function parseMessage (data: unknown): CollaborationMessage | null {
  if (typeof data !== 'string' || !data.startsWith('{')) return null
  try {
    const message = JSON.parse(data)
    return typeof message.type === 'string' && message.payload ? message : null
  } catch {
    return null
  }
}
