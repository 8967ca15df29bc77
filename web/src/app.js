import { applyTheme } from './theme.js'
import { home } from './home.js'

applyTheme()
const root = document.getElementById('app')
if (location.pathname === '/') home(root)
else import('./room.js').then(m => m.room(root))
