'use client'

import { useState, type FormEvent } from 'react'
import { supabase } from '../lib/supabase'

export function SignIn () {
  const [problem, setProblem] = useState('')
  if (!supabase) {
    return <p>No Supabase project is configured. Open this page with <code>#token=…</code>, a token as <code>yjet token</code> prints it.</p>
  }
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const form = new FormData(event.currentTarget)
    const { error } = await supabase!.auth.signInWithPassword({ email: String(form.get('email')), password: String(form.get('password')) })
    setProblem(error?.message ?? '')
  }
  return (
    <form onSubmit={submit} aria-label="Sign in">
      <input name="email" type="email" placeholder="Email" autoComplete="username" required />
      <input name="password" type="password" placeholder="Password" autoComplete="current-password" required />
      <button>Sign in</button>
      {problem && <p role="alert">{problem}</p>}
    </form>
  )
}
