import { createClient } from '@supabase/supabase-js'
import { answer, type Database } from '../../../lib/yjetEvents'

// create table documents (id text primary key, state bytea not null, edited_at timestamptz, edited_by text[]);
const database: Database = {
  async load (document) {
    const { data, error } = await documents().select('state').eq('id', document).maybeSingle()
    if (error) throw error
    return data && new Uint8Array(Buffer.from(data.state.slice(2), 'hex')) // bytea comes as \x…
  },
  async save (document, state, { time, users }) {
    const { error } = await documents().upsert({
      id: document,
      state: '\\x' + Buffer.from(state).toString('hex'),
      edited_at: time,
      edited_by: users
    })
    if (error) throw error
  }
}

// The service role passes row level security, so it stays on the server. Made at each call: a build has no keys.
const documents = () =>
  createClient(process.env.SUPABASE_URL!, process.env.SUPABASE_SERVICE_ROLE_KEY!, { auth: { persistSession: false } }).from('documents')

export async function POST (request: Request) {
  return answer(request, process.env.YJET_WEBHOOK_SECRET!, database)
}
