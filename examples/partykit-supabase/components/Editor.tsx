'use client'

import { useEffect, useRef } from 'react'
import type * as Y from 'yjs'
import { bindTextarea } from '../lib/bindTextarea'

export function Editor ({ text, readOnly }: { text: Y.Text, readOnly: boolean }) {
  const area = useRef<HTMLTextAreaElement>(null)
  useEffect(() => bindTextarea(text, area.current!), [text])
  return <textarea ref={area} readOnly={readOnly} aria-label="Document" spellCheck={false} autoFocus />
}
