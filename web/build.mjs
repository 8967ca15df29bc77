// Builds dist/ from src/. The result depends on the sources and the lockfile only: no clock, no path,
// no hash in a file's name, so that an unchanged source leaves an unchanged dist/.
import * as esbuild from 'esbuild'
import { readFile, writeFile, rm, mkdir, readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import path from 'node:path'

const here = path.dirname(fileURLToPath(import.meta.url))
const dist = path.join(here, process.argv[2] ?? 'dist')

const result = await esbuild.build({
  absWorkingDir: here,
  entryPoints: { app: 'src/app.js', 'past-worker': 'src/past-worker.js' },
  outdir: dist,
  bundle: true,
  splitting: true,
  format: 'esm',
  target: ['chrome109', 'firefox115', 'safari16'],
  minify: true,
  legalComments: 'none',
  charset: 'utf8',
  chunkNames: 'chunk-[hash]',
  metafile: true,
  write: false
})

// A chunk takes the name of the largest source in it; a second one of the same name gets a number.
const outputs = Object.entries(result.metafile.outputs).map(([file, o]) => ({ base: path.basename(file), inputs: o.inputs, entry: o.entryPoint }))
outputs.sort((a, b) => label(a).localeCompare(label(b)) || Object.keys(a.inputs).sort().join().localeCompare(Object.keys(b.inputs).sort().join()))
const rename = new Map()
const taken = new Map()
for (const o of outputs) {
  if (!o.base.startsWith('chunk-')) continue
  const l = label(o)
  const n = (taken.get(l) ?? 0) + 1
  taken.set(l, n)
  rename.set(o.base, n === 1 ? `${l}.js` : `${l}-${n}.js`)
}
function label (o) {
  const largest = o.entry ?? Object.entries(o.inputs).sort((a, b) => b[1].bytesInOutput - a[1].bytesInOutput || (a[0] < b[0] ? -1 : 1))[0]?.[0] ?? 'empty'
  const m = largest.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)
  return m ? m[1].replace('@', '').replace('/', '-') : path.basename(largest, '.js')
}

await rm(dist, { recursive: true, force: true })
await mkdir(dist, { recursive: true })
for (const f of result.outputFiles) {
  let text = f.text
  for (const [from, to] of rename) text = text.replaceAll(from, to)
  const base = path.basename(f.path)
  await writeFile(path.join(dist, rename.get(base) ?? base), text)
}
for (const f of ['app.css', 'inspect.css']) {
  const css = await esbuild.transform(await readFile(path.join(here, 'src', f), 'utf8'), { loader: 'css', minify: true, charset: 'utf8', target: ['chrome109', 'firefox115', 'safari16'] })
  await writeFile(path.join(dist, f), css.code)
}
for (const f of ['index.html', 'icon.svg']) await writeFile(path.join(dist, f), await readFile(path.join(here, 'src', f)))
await writeFile(path.join(dist, 'LEGAL.txt'), await licences())

// licences lists every package whose code is in the bundle, with its licence text.
async function licences () {
  const packages = new Set()
  for (const f of Object.values(result.metafile.outputs)) {
    for (const input of Object.keys(f.inputs)) {
      const m = input.match(/^(node_modules\/(?:@[^/]+\/)?[^/]+)\//)
      if (m) packages.add(m[1])
    }
  }
  let out = 'The page of yjet contains code of these packages.\n'
  for (const p of [...packages].sort()) {
    const pkg = JSON.parse(await readFile(path.join(here, p, 'package.json'), 'utf8'))
    const file = (await readdir(path.join(here, p))).sort().find(f => /^(licen[sc]e|copying)/i.test(f))
    if (!file) throw new Error(`${p} has no licence file`)
    const text = (await readFile(path.join(here, p, file), 'utf8')).replace(/\r/g, '').trim()
    out += `\n${'-'.repeat(72)}\n${pkg.name} ${pkg.version} (${typeof pkg.license === 'string' ? pkg.license : 'see below'})\n\n${text}\n`
  }
  return out
}
