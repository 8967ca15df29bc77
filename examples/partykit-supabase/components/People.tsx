'use client'

import { useEffect, useState } from 'react'
import type { Awareness } from 'y-protocols/awareness'

type Person = { client: number, name: string, color: string }

// People is who has the document open. Names come from the browsers, so they are text, never markup, and a
// color counts only if it looks like one.
export function People ({ awareness, name }: { awareness: Awareness, name: string }) {
  const [people, setPeople] = useState<Person[]>([])
  useEffect(() => {
    const list = () => setPeople([...awareness.getStates()].flatMap(([client, { user }]) => {
      if (typeof user?.name !== 'string') return []
      return [{ client, name: user.name, color: /^#[0-9a-f]{6}$/i.test(user.color) ? user.color : '#808080' }]
    }))
    awareness.on('change', list)
    awareness.setLocalStateField('user', { name, color: colorOf(awareness.clientID) })
    return () => awareness.off('change', list)
  }, [awareness, name])
  return (
    <ul aria-label="People" className="people">
      {people.map(p => (
        <li key={p.client}>
          <span className="dot" style={{ background: p.color }} />
          {p.name}{p.client === awareness.clientID && ' (you)'}
        </li>
      ))}
    </ul>
  )
}

const colors = ['#0f766e', '#b45309', '#7c3aed', '#be123c', '#1d4ed8', '#4d7c0f']
const colorOf = (client: number) => colors[client % colors.length]
