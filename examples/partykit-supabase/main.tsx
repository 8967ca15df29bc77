// The entry of the esbuild build. Next.js has no use for it: there app/layout.tsx and app/page.tsx are found by name.
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import Page from './app/page'
import './app/globals.css'

createRoot(document.getElementById('root')!).render(<StrictMode><Page /></StrictMode>)
