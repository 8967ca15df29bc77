// Builds the page into dist/ with esbuild alone. `node build.mjs --serve` also serves it, on http://127.0.0.1:3000.
import * as esbuild from 'esbuild'
import { mkdir, writeFile } from 'node:fs/promises'

// What Next.js does for NEXT_PUBLIC_…: the values at the time of the build become part of the page.
const names = ['NEXT_PUBLIC_PARTYKIT_HOST', 'NEXT_PUBLIC_SUPABASE_URL', 'NEXT_PUBLIC_SUPABASE_ANON_KEY']
const define = { 'process.env.NODE_ENV': JSON.stringify(process.env.NODE_ENV ?? 'production') }
for (const name of names) define[`process.env.${name}`] = JSON.stringify(process.env[name]) ?? 'undefined'

const outdir = process.env.OUT_DIR ?? 'dist'
await mkdir(outdir, { recursive: true })
await writeFile(`${outdir}/index.html`, `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Notes</title>
<link rel="stylesheet" href="/main.css">
<div id="root"></div>
<script type="module" src="/main.js"></script>
</html>
`)
const options = { entryPoints: ['main.tsx'], outdir, bundle: true, format: 'esm', jsx: 'automatic', minify: true, define }
if (process.argv.includes('--serve')) {
  const context = await esbuild.context(options)
  const { port } = await context.serve({ host: '127.0.0.1', port: 3000, servedir: outdir })
  console.log(`http://127.0.0.1:${port}`)
} else {
  await esbuild.build(options)
}
