import { Compartment, EditorState } from '@codemirror/state'
import { EditorView, keymap, lineNumbers, highlightActiveLine, highlightActiveLineGutter, drawSelection, dropCursor, highlightSpecialChars, rectangularSelection, crosshairCursor, placeholder } from '@codemirror/view'
import { defaultKeymap, indentWithTab } from '@codemirror/commands'
import { HighlightStyle, bracketMatching, foldGutter, foldKeymap, indentOnInput, indentUnit, syntaxHighlighting } from '@codemirror/language'
import { highlightSelectionMatches, searchKeymap, search } from '@codemirror/search'
import { tags as t } from '@lezer/highlight'
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next'
import { cursors } from './cursors.js'

export const nonce = document.querySelector('meta[name="style-nonce"]')?.content ?? ''

// Languages are fetched when first chosen. `prose` ones are set as a page to read, the others as code.
export const languages = [
  { id: 'text', name: 'Plain text', prose: true, load: async () => [] },
  { id: 'markdown', name: 'Markdown', prose: true, load: async () => (await import('@codemirror/lang-markdown')).markdown() },
  { id: 'javascript', name: 'JavaScript', load: async () => (await import('@codemirror/lang-javascript')).javascript({ jsx: true }) },
  { id: 'typescript', name: 'TypeScript', load: async () => (await import('@codemirror/lang-javascript')).javascript({ jsx: true, typescript: true }) },
  { id: 'python', name: 'Python', load: async () => (await import('@codemirror/lang-python')).python() },
  { id: 'go', name: 'Go', load: async () => (await import('@codemirror/lang-go')).go() },
  { id: 'html', name: 'HTML', load: async () => (await import('@codemirror/lang-html')).html() },
  { id: 'css', name: 'CSS', load: async () => (await import('@codemirror/lang-css')).css() },
  { id: 'json', name: 'JSON', load: async () => (await import('@codemirror/lang-json')).json() }
]

export const languageOf = id => languages.find(l => l.id === id) ?? languages[1]

// The colours themselves are in app.css, so that light and dark need no second theme here.
export const highlight = syntaxHighlighting(HighlightStyle.define([
  { tag: [t.keyword, t.modifier, t.controlKeyword, t.operatorKeyword], color: 'var(--code-keyword)' },
  { tag: [t.string, t.special(t.string), t.regexp], color: 'var(--code-string)' },
  { tag: [t.number, t.bool, t.null, t.atom], color: 'var(--code-number)' },
  { tag: [t.comment, t.meta, t.processingInstruction], color: 'var(--code-comment)' },
  { tag: [t.function(t.variableName), t.function(t.propertyName)], color: 'var(--code-function)' },
  { tag: [t.typeName, t.className, t.tagName, t.namespace], color: 'var(--code-type)' },
  { tag: [t.propertyName, t.attributeName], color: 'var(--code-property)' },
  { tag: t.heading1, fontSize: '1.6em', fontWeight: '700', letterSpacing: '-0.015em' },
  { tag: t.heading2, fontSize: '1.3em', fontWeight: '700', letterSpacing: '-0.01em' },
  { tag: [t.heading3, t.heading4, t.heading5, t.heading6], fontSize: '1.1em', fontWeight: '700' },
  { tag: t.strong, fontWeight: '700' },
  { tag: t.emphasis, fontStyle: 'italic' },
  { tag: t.strikethrough, textDecoration: 'line-through' },
  { tag: t.monospace, fontFamily: 'var(--mono)', fontSize: '0.92em' },
  { tag: t.quote, color: 'var(--dim)' },
  { tag: [t.link, t.url], color: 'var(--accent-text)' },
  { tag: t.invalid, color: 'var(--bad)' }
]))

const prose = [EditorView.lineWrapping, EditorView.editorAttributes.of({ class: 'prose' }), EditorView.contentAttributes.of({ spellcheck: 'true', autocorrect: 'on', autocapitalize: 'sentences' })]
const code = [lineNumbers(), foldGutter(), highlightActiveLine(), highlightActiveLineGutter(), bracketMatching(), indentOnInput(), rectangularSelection(), crosshairCursor(), EditorView.editorAttributes.of({ class: 'code' })]

const open = placeholder('Write something. Everybody with the link sees it.')
const shut = [EditorState.readOnly.of(true), EditorView.editable.of(false), EditorView.contentAttributes.of({ 'aria-readonly': 'true', tabindex: '0' })]

export const look = l => l.prose ? prose : code

// openEditor binds a view to text. language(id) switches, readOnly(bool) locks.
export function openEditor ({ parent, text, awareness, undoManager, onUpdate, extensions = [] }) {
  const lookSlot = new Compartment()
  const languageSlot = new Compartment()
  const lockSlot = new Compartment()
  let wanted = ''
  let isLocked = false

  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: text.toString(),
      extensions: [
        EditorView.cspNonce.of(nonce),
        // "\r" is a character like any other in a Y.Text; CodeMirror must count it as one too.
        EditorState.lineSeparator.of('\n'),
        EditorView.clipboardInputFilter.of(s => s.replace(/\r\n?/g, '\n')),
        EditorState.allowMultipleSelections.of(true),
        EditorState.tabSize.of(4),
        indentUnit.of('  '),
        highlightSpecialChars(),
        drawSelection(),
        dropCursor(),
        highlightSelectionMatches(),
        search({ top: true }),
        highlight,
        EditorView.contentAttributes.of({ 'aria-label': 'Document text', 'aria-multiline': 'true' }),
        keymap.of([...yUndoManagerKeymap, ...searchKeymap, ...foldKeymap, ...defaultKeymap, indentWithTab]),
        yCollab(text, null, { undoManager }),
        cursors(text, awareness),
        lookSlot.of(prose),
        languageSlot.of([]),
        lockSlot.of(open),
        EditorView.updateListener.of(onUpdate),
        extensions
      ]
    })
  })

  return {
    view,
    async language (id) {
      wanted = id
      const l = languageOf(id)
      view.dispatch({ effects: lookSlot.reconfigure(look(l)) })
      let support = []
      try { support = await l.load() } catch {} // offline: plain until it can be had
      if (wanted === id) view.dispatch({ effects: languageSlot.reconfigure(support) })
    },
    readOnly (locked) {
      if (locked === isLocked) return
      isLocked = locked
      view.dispatch({ effects: lockSlot.reconfigure(locked ? shut : open) })
    }
  }
}
