import { Annotation, RangeSet } from '@codemirror/state'
import { Decoration, EditorView, ViewPlugin, WidgetType } from '@codemirror/view'
import * as Y from 'yjs'
import { person } from './people.js'

// The carets and selections of others. Positions travel as y-codemirror.next sends them
// (`cursor: { anchor, head }`, relative positions), so both understand each other. Ours differs in trusting
// nothing it receives, and in needing no inline style, which the page's content policy forbids.

const refresh = Annotation.define()
const showLabelFor = 2500 // ms after a caret moved

class Caret extends WidgetType {
  constructor (who, fresh) {
    super()
    this.who = who
    this.fresh = fresh
  }

  eq (other) {
    return other.who.id === this.who.id && other.who.name === this.who.name && other.who.colour === this.who.colour && other.fresh === this.fresh
  }

  toDOM () {
    const el = document.createElement('span')
    this.paint(el)
    const label = document.createElement('span')
    label.className = 'caret-label'
    label.textContent = this.who.name
    el.append('\u2060', label, '\u2060')
    return el
  }

  updateDOM (el) {
    const label = el.querySelector('.caret-label')
    if (!label) return false
    this.paint(el)
    label.textContent = this.who.name
    return true
  }

  paint (el) {
    el.className = this.fresh ? 'caret fresh' : 'caret'
    el.dataset.id = String(this.who.id)
    el.setAttribute('aria-hidden', 'true')
    el.style.setProperty('--who', this.who.colour)
  }

  get estimatedHeight () { return -1 }
  ignoreEvent () { return true }
}

const asPosition = json => {
  try { return Y.createRelativePositionFromJSON(json) } catch { return null }
}

// cursorOf answers where somebody is in text, or null: { anchor, head } as indices.
export function cursorOf (state, text) {
  const c = state && state.cursor
  if (!c || typeof c !== 'object' || !c.anchor || !c.head) return null
  try {
    const anchor = Y.createAbsolutePositionFromRelativePosition(asPosition(c.anchor), text.doc)
    const head = Y.createAbsolutePositionFromRelativePosition(asPosition(c.head), text.doc)
    if (!anchor || !head || anchor.type !== text || head.type !== text) return null
    return { anchor: anchor.index, head: head.index }
  } catch {
    return null // positions made by hand, or of a document we do not have
  }
}

export function cursors (text, awareness) {
  const moved = new Map() // client → when its caret last moved, and where it was

  const plugin = ViewPlugin.fromClass(class {
    constructor (view) {
      this.view = view
      this.decorations = RangeSet.empty
      this.timer = 0
      this.destroyed = false
      this.listen = ({ added, updated, removed }) => {
        if ([...added, ...updated, ...removed].some(id => id !== awareness.clientID)) this.schedule()
      }
      awareness.on('change', this.listen)
      this.draw(view.state.doc.length)
    }

    destroy () {
      this.destroyed = true
      clearTimeout(this.timer)
      awareness.off('change', this.listen)
    }

    schedule () {
      // Not synchronously: a change may arrive inside another transaction of this view.
      queueMicrotask(() => { if (!this.destroyed) this.view.dispatch({ annotations: refresh.of(true) }) })
    }

    update (u) {
      if (u.docChanged || u.selectionSet || u.focusChanged) this.announce(u)
      if (u.docChanged || u.transactions.some(t => t.annotation(refresh))) this.draw(u.state.doc.length)
    }

    // announce tells the others where we are.
    announce (u) {
      const local = awareness.getLocalState()
      if (!local) return
      if (!(u.view.hasFocus && document.hasFocus())) return
      const { anchor, head } = u.state.selection.main
      const a = Y.createRelativePositionFromTypeIndex(text, anchor)
      const b = Y.createRelativePositionFromTypeIndex(text, head)
      const old = local.cursor
      if (old && Y.compareRelativePositions(asPosition(old.anchor), a) && Y.compareRelativePositions(asPosition(old.head), b)) return
      awareness.setLocalStateField('cursor', { anchor: a, head: b })
    }

    draw (length) {
      const now = Date.now()
      const marks = []
      let next = Infinity
      awareness.getStates().forEach((state, id) => {
        if (id === awareness.clientID) return
        const at = cursorOf(state, text)
        if (!at || at.anchor > length || at.head > length) return
        const who = person(state, id)
        const key = JSON.stringify(state.cursor)
        const before = moved.get(id)
        if (!before || before.key !== key) moved.set(id, { key, at: now })
        const age = now - moved.get(id).at
        const fresh = age < showLabelFor
        if (fresh) next = Math.min(next, showLabelFor - age)
        const from = Math.min(at.anchor, at.head)
        const to = Math.max(at.anchor, at.head)
        if (to > from) {
          // CodeMirror sets a style attribute through CSSOM; the colour is one of ours or six hex digits.
          marks.push(Decoration.mark({ class: 'peer-selection', attributes: { style: `--who: ${who.colour}` } }).range(from, to))
        }
        marks.push(Decoration.widget({ widget: new Caret(who, fresh), side: at.head > at.anchor ? -1 : 1 }).range(at.head))
      })
      for (const id of moved.keys()) if (!awareness.getStates().has(id)) moved.delete(id)
      this.decorations = Decoration.set(marks, true)
      clearTimeout(this.timer)
      if (next < Infinity) this.timer = setTimeout(() => this.schedule(), next + 20)
    }
  }, { decorations: p => p.decorations })

  return [plugin, EditorView.focusChangeEffect.of(() => null)]
}
