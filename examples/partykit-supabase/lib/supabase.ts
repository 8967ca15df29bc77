import { createClient } from '@supabase/supabase-js'

const url = process.env.NEXT_PUBLIC_SUPABASE_URL
const key = process.env.NEXT_PUBLIC_SUPABASE_ANON_KEY // the browser's key, old (anon) or new (sb_publishable_…)

// null where no project is configured: the page then takes a token from its own address, see useSupabaseToken.
export const supabase = url && key ? createClient(url, key) : null
