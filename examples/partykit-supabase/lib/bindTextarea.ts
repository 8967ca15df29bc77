import * as Y from 'yjs'

// bindTextarea keeps a textarea and a Y.Text equal, both ways, and the caret where the user left it.
// It answers a function that ends the binding. A real editor brings its own (y-prosemirror, y-codemirror.next).
export function bindTextarea (text: Y.Text, area: HTMLTextAreaElement): () => void {
  let shown = '' // what the textarea held when the two last agreed
  let composing = false // an input method is at work: what it is writing must not be touched
  let missed: Delta[] = [] // what others did meanwhile

  const show = (start: number, end: number) => {
    area.value = shown = text.toString()
    if (document.activeElement === area) area.setSelectionRange(start, end)
  }

  const onInput = () => {
    if (composing) return
    const { from, removed, inserted } = difference(shown, area.value)
    const [start, end] = [from, from + removed].map(at => missed.reduce(moved, at))
    shown = area.value
    text.doc!.transact(() => {
      if (end > start) text.delete(start, end - start)
      if (inserted) text.insert(start, inserted)
    }, area)
  }

  const onText = (event: Y.YTextEvent, transaction: Y.Transaction) => {
    if (transaction.origin === area) return
    if (composing) missed.push(event.delta)
    else show(moved(area.selectionStart, event.delta), moved(area.selectionEnd, event.delta))
  }

  const onCompositionStart = () => { composing = true }
  const onCompositionEnd = () => {
    composing = false
    onInput()
    const [start, end] = [area.selectionStart, area.selectionEnd].map(at => missed.reduce(moved, at))
    missed = []
    show(start, end)
  }

  show(0, 0)
  text.observe(onText)
  area.addEventListener('input', onInput)
  area.addEventListener('compositionstart', onCompositionStart)
  area.addEventListener('compositionend', onCompositionEnd)
  return () => {
    text.unobserve(onText)
    area.removeEventListener('input', onInput)
    area.removeEventListener('compositionstart', onCompositionStart)
    area.removeEventListener('compositionend', onCompositionEnd)
  }
}

type Delta = Y.YTextEvent['delta']

// moved is where a caret is after a change. An insertion right at the caret goes behind it.
function moved (caret: number, delta: Delta) {
  let at = 0
  for (const { retain = 0, insert, delete: deleted = 0 } of delta) {
    at += retain
    const inserted = typeof insert === 'string' ? insert.length : 0
    if (caret > at) caret = Math.max(at, caret - deleted) + inserted
    at += inserted
  }
  return caret
}

// difference is the one stretch in which two strings differ. It never cuts a character that takes two units
// (an emoji) in half: Yjs would make both halves unreadable.
export function difference (before: string, after: string) {
  const most = Math.min(before.length, after.length)
  let from = 0
  while (from < most && before[from] === after[from]) from++
  if (from > 0 && isHigh(before.charCodeAt(from - 1))) from--
  let tail = 0
  while (tail < most - from && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++
  if (tail > 0 && isLow(before.charCodeAt(before.length - tail))) tail--
  return { from, removed: before.length - tail - from, inserted: after.slice(from, after.length - tail) }
}

const isHigh = (unit: number) => unit >= 0xd800 && unit < 0xdc00
const isLow = (unit: number) => unit >= 0xdc00 && unit < 0xe000
