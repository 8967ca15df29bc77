// The page stands below any path that a proxy puts before it. The server sees what is left of the address, so it says how many
// steps up the root is ("./", "../", …), and the browser finds the rest. All requests go to that root; links to be shared and
// snippets name --public-url where the operator has set one.
const meta = name => document.querySelector(`meta[name="${name}"]`)?.content ?? ''

// root ends with a slash.
export const root = new URL(meta('root') || '/', location.href)

export const publicURL = (meta('public-url') || root.origin + root.pathname).replace(/\/+$/, '')

// at answers the path of something below the root: at('api/docs').
export const at = path => root.pathname + path

// here is the path of the address below the root, as it stands there, without slashes at its ends.
export const here = () => location.pathname.slice(root.pathname.length).replace(/^\/+|\/+$/g, '')

// socketURL is where WebSockets go, without a slash at its end.
export const socketURL = () => (root.protocol === 'https:' ? 'wss://' : 'ws://') + root.host + root.pathname.replace(/\/+$/, '')
