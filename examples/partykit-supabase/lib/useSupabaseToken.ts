'use client'

import { useEffect, useState } from 'react'
import { supabase } from './supabase'

export type SignedIn = { token: string, userId: string, name: string }

// undefined while it is not known yet, null when nobody is signed in. supabase-js renews the token before it
// ends and tells of the new one here.
function useSession (): SignedIn | null | undefined {
  const [who, setWho] = useState<SignedIn | null>()
  useEffect(() => {
    const { data } = supabase!.auth.onAuthStateChange((_event, session) => {
      setWho(session && {
        token: session.access_token,
        userId: session.user.id,
        name: session.user.email ?? session.user.id
      })
    })
    return () => data.subscription.unsubscribe()
  }, [])
  return who
}

// Without a Supabase project, for trying things out: open the page with #token=… as `yjet token` prints it.
// In the fragment, since that part of an address reaches no server and no log.
function useTokenOfTheAddress (): SignedIn | null | undefined {
  const [who, setWho] = useState<SignedIn | null>()
  useEffect(() => {
    const read = () => {
      const token = new URLSearchParams(location.hash.slice(1)).get('token')
      setWho(token ? { token, ...subject(token) } : null)
    }
    read()
    addEventListener('hashchange', read)
    return () => removeEventListener('hashchange', read)
  }, [])
  return who
}

function subject (token: string) {
  try {
    const { sub } = JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')))
    return { userId: sub, name: sub }
  } catch {
    return { userId: '?', name: '?' } // the server will say what is wrong with it
  }
}

export const useSupabaseToken = supabase ? useSession : useTokenOfTheAddress

// refreshToken gets a newer token; the hook above then tells of it.
export function refreshToken () {
  supabase?.auth.refreshSession()
}
