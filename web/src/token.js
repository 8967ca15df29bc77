// takeToken reads ?token= or #token= and takes it out of the address bar, so that it is not copied along with
// the link; it stays with this tab, under a name, for reloads.
export function takeToken (name) {
  const query = new URLSearchParams(location.search)
  const fragment = new URLSearchParams(location.hash.slice(1))
  const token = fragment.get('token') ?? query.get('token')
  try {
    if (token === null) return sessionStorage.getItem(key(name))
    keepToken(name, token)
    history.replaceState(null, '', location.pathname)
  } catch {}
  return token
}

export function keepToken (name, token) {
  try { sessionStorage.setItem(key(name), token) } catch {}
}

const key = name => `yjet.token.${name}`
