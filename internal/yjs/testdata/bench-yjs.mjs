// Measures npm yjs and this package on the same traces, in one run, on the same machine.
//
// usage: node bench-yjs.mjs [trace.v1.gz …]       without arguments: all traces that are here
// Needs npm ci in this directory, and Go. Times are the median of several rounds, in milliseconds.
import fs from 'node:fs'
import path from 'node:path'
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import * as Y from 'yjs'
import { plainDoc, unpackTrace } from './lib.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const places = [path.join(here, 'traces'), path.join(here, '../../../../shared/traces')]
const files = process.argv.length > 2
  ? process.argv.slice(2)
  : places.flatMap(dir => fs.existsSync(dir) ? fs.readdirSync(dir).filter(f => f.endsWith('.v1.gz')).map(f => path.join(dir, f)) : [])
const traces = [...new Map(files.map(f => [path.basename(f, '.v1.gz'), f]))]

const median = (rounds, f) => {
  const times = []
  for (let i = 0; i < rounds; i++) {
    const start = process.hrtime.bigint()
    f()
    times.push(Number(process.hrtime.bigint() - start) / 1e6)
  }
  return times.sort((a, b) => a - b)[rounds >> 1]
}
const chunks = updates => {
  const out = []
  for (let i = 0; i < updates.length; i += 1000) out.push(Y.mergeUpdates(updates.slice(i, i + 1000)))
  return out
}

// One Go process, so that both sides run one after the other and not beside each other.
const go = {}
const bench = 'MergeAll|MergeInChunks|CompactAll|MergeOne|VectorOf|DiffKnown|ToV2|FromV2|DocumentOneByOne|DocumentFrom'
const text = execFileSync('go', ['test', '-run', 'XXX', '-bench', bench, '-benchtime', '5x', '.'], { cwd: path.join(here, '..'), encoding: 'utf8', maxBuffer: 1 << 26 })
for (const line of text.split('\n')) {
  const m = /^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(\d+(?:\.\d+)?) ns\/op/.exec(line)
  if (m) go[m[1]] = Number(m[2]) / 1e6
}

const rows = []
for (const [name, file] of traces) {
  const updates = unpackTrace(file)
  const merged = Y.mergeUpdates(chunks(updates))
  const doc = plainDoc()
  for (const u of updates) Y.applyUpdate(doc, u)
  const sv = Y.encodeStateVector(doc)
  const last = updates[updates.length - 1]
  const v2 = Y.convertUpdateFormatV1ToV2(merged)
  const row = (what, rounds, f, ours) => rows.push([name, what, f && median(rounds, f), go[`${ours}/${name}`]])
  row('merge in chunks of 1000, then the chunks', 3, () => Y.mergeUpdates(chunks(updates)), 'MergeInChunks')
  row('merge all at once (yjs: in chunks, else quadratic)', 3, () => Y.mergeUpdates(chunks(updates)), 'MergeAll')
  row('merge, join, drop deleted (yjs: apply to a document, encode)', 1, () => { const d = plainDoc(); d.transact(() => { for (const u of updates) Y.applyUpdate(d, u) }); Y.encodeStateAsUpdate(d) }, 'CompactAll')
  row('merge one update into all', 3, () => Y.mergeUpdates([merged, last]), 'MergeOne')
  row('state vector of the merged update', 3, () => Y.encodeStateVectorFromUpdate(merged), 'VectorOf')
  row('diff against a full vector', 3, () => Y.diffUpdate(merged, sv), 'DiffKnown')
  row('V1 to V2', 3, () => Y.convertUpdateFormatV1ToV2(merged), 'ToV2')
  const state = Y.encodeStateAsUpdate(doc)
  row('document: all updates, one by one', 1, () => { const d = plainDoc(); for (const u of updates) Y.applyUpdate(d, u) }, 'DocumentOneByOne')
  row('document: from its own state (here: from the compacted update)', 3, () => Y.applyUpdate(plainDoc(), state), 'DocumentFromCompacted')
  row('document: from the merged update', 1, () => Y.applyUpdate(plainDoc(), merged), 'DocumentFromMerged')
  row('V2 to V1', 3, () => Y.convertUpdateFormatV2ToV1(v2), 'FromV2')
}

const cell = x => x === undefined ? '-' : x < 10 ? x.toFixed(2) : x.toFixed(0)
console.log('| trace | what | npm yjs, ms | this package, ms | ratio |\n|---|---|---|---|---|')
for (const [name, what, theirs, ours] of rows) {
  console.log(`| ${name} | ${what} | ${cell(theirs)} | ${cell(ours)} | ${theirs && ours ? (theirs / ours).toFixed(1) : '-'} |`)
}
