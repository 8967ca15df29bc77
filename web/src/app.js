import { applyTheme } from './theme.js'
import { home } from './home.js'
import { here } from './place.js'

applyTheme()
const root = document.getElementById('app')
const path = here()
if (path === '') home(root)
else if (path === 'inspect') import('./inspect.js').then(m => m.inspect(root))
else import('./room.js').then(m => m.room(root))
