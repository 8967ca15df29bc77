package patch

import (
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"yjet/internal/yjs"
)

// Markdown becomes the nodes that y-prosemirror writes: of Tiptap's StarterKit, table and task list, or, where the document
// has names such as bullet_list, of ProseMirror's basic schema and list.

// schema is how an editor names nodes and marks.
type schema struct{ bulletList, orderedList, listItem, codeBlock, rule, hardBreak, bold, italic, start, language string }

var (
	tiptap      = schema{"bulletList", "orderedList", "listItem", "codeBlock", "horizontalRule", "hardBreak", "bold", "italic", "start", "language"}
	prosemirror = schema{"bullet_list", "ordered_list", "list_item", "code_block", "horizontal_rule", "hard_break", "strong", "em", "order", "params"}
)

var markdown = goldmark.New(goldmark.WithExtensions(extension.Table, extension.Strikethrough, extension.TaskList))

// maxMarkdown bounds the depth of blocks and marks that are taken over; what is deeper is left out.
const maxMarkdown = 100

// insertMarkdown puts the nodes of a text in Markdown before index.
func (o *Op) insertMarkdown(s yjs.Shared, index int) *Error {
	names := s.XML().NodeNames()
	if names["blockGroup"] || names["blockContainer"] {
		return &Error{Field: "markdown", Code: "wrong-kind", Message: "BlockNote's blocks are not written from Markdown: use replace", Length: -1}
	}
	c := converter{source: []byte(o.markdown), schema: tiptap}
	for _, n := range []string{"bullet_list", "ordered_list", "list_item", "code_block", "horizontal_rule", "hard_break"} {
		if names[n] {
			c.schema = prosemirror
		}
	}
	root := markdown.Parser().Parse(text.NewReader(c.source))
	nodes := c.blocks(root, 0)
	if len(nodes) == 0 {
		return o.failed(s, "index", s.XML().Delete(index, 0)) // the range is checked all the same
	}
	return o.failed(s, "index", s.XML().Insert(index, nodes...))
}

type converter struct {
	source []byte
	schema schema
}

// blocks converts the blocks inside of n.
func (c *converter) blocks(n ast.Node, depth int) (nodes []*yjs.NewType) {
	if depth > maxMarkdown {
		return nil
	}
	for b := n.FirstChild(); b != nil; b = b.NextSibling() {
		if node := c.block(b, depth); node != nil {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

func (c *converter) block(b ast.Node, depth int) *yjs.NewType {
	switch b := b.(type) {
	case *ast.Heading:
		return yjs.NewXMLElement("heading", map[string]any{"level": b.Level}, c.inline(b)...)
	case *ast.Blockquote:
		return yjs.NewXMLElement("blockquote", nil, c.blocks(b, depth+1)...)
	case *ast.ThematicBreak:
		return yjs.NewXMLElement(c.schema.rule, nil)
	case *ast.FencedCodeBlock:
		var attributes map[string]any
		if lang := string(b.Language(c.source)); lang != "" {
			attributes = map[string]any{c.schema.language: lang}
		}
		return yjs.NewXMLElement(c.schema.codeBlock, attributes, c.code(b)...)
	case *ast.CodeBlock:
		return yjs.NewXMLElement(c.schema.codeBlock, nil, c.code(b)...)
	case *ast.HTMLBlock:
		return yjs.NewXMLElement("paragraph", nil, c.code(b)...)
	case *ast.List:
		return c.list(b, depth)
	case *east.Table:
		var rows []*yjs.NewType
		for r := b.FirstChild(); r != nil; r = r.NextSibling() {
			cell := "tableCell"
			if _, head := r.(*east.TableHeader); head {
				cell = "tableHeader"
			}
			var cells []*yjs.NewType
			for x := r.FirstChild(); x != nil; x = x.NextSibling() {
				cells = append(cells, yjs.NewXMLElement(cell, nil, yjs.NewXMLElement("paragraph", nil, c.inline(x)...)))
			}
			rows = append(rows, yjs.NewXMLElement("tableRow", nil, cells...))
		}
		return yjs.NewXMLElement("table", nil, rows...)
	case *ast.LinkReferenceDefinition:
		return nil
	}
	return yjs.NewXMLElement("paragraph", nil, c.inline(b)...)
}

func (c *converter) list(l *ast.List, depth int) *yjs.NewType {
	name, item := c.schema.bulletList, c.schema.listItem
	var attributes map[string]any
	if l.IsOrdered() {
		name = c.schema.orderedList
		if l.Start != 1 {
			attributes = map[string]any{c.schema.start: l.Start}
		}
	}
	task := func(n ast.Node) *east.TaskCheckBox {
		if p := n.FirstChild(); p != nil {
			if box, ok := p.FirstChild().(*east.TaskCheckBox); ok {
				return box
			}
		}
		return nil
	}
	tasks := c.schema == tiptap && l.FirstChild() != nil && task(l.FirstChild()) != nil
	if tasks {
		name, item = "taskList", "taskItem"
	}
	var items []*yjs.NewType
	for i := l.FirstChild(); i != nil; i = i.NextSibling() {
		var of map[string]any
		if tasks {
			box := task(i)
			of = map[string]any{"checked": box != nil && box.IsChecked}
		}
		inside := c.blocks(i, depth+1)
		if len(inside) == 0 { // both schemas want a paragraph first
			inside = []*yjs.NewType{yjs.NewXMLElement("paragraph", nil)}
		}
		items = append(items, yjs.NewXMLElement(item, of, inside...))
	}
	return yjs.NewXMLElement(name, attributes, items...)
}

// code is the lines of a block as they are.
func (c *converter) code(b ast.Node) []*yjs.NewType {
	var s strings.Builder
	for i := range b.Lines().Len() {
		at := b.Lines().At(i)
		s.Write(at.Value(c.source))
	}
	if text := strings.TrimSuffix(s.String(), "\n"); text != "" {
		return []*yjs.NewType{yjs.NewXMLText(text, nil)}
	}
	return nil
}

// inline converts what a block holds: texts with marks, and breaks and images between them.
func (c *converter) inline(b ast.Node) []*yjs.NewType {
	w := inlineWriter{converter: c}
	w.children(b, nil, 0)
	w.flush()
	return w.nodes
}

type inlineWriter struct {
	*converter
	nodes []*yjs.NewType
	runs  []yjs.NewRun
}

func (w *inlineWriter) flush() {
	if len(w.runs) > 0 {
		w.nodes = append(w.nodes, yjs.NewXMLTextRuns(w.runs...))
		w.runs = nil
	}
}

func (w *inlineWriter) text(s string, marks map[string]any) {
	if s != "" {
		w.runs = append(w.runs, yjs.NewRun{Text: s, Attributes: marks})
	}
}

func (w *inlineWriter) node(n *yjs.NewType) {
	w.flush()
	w.nodes = append(w.nodes, n)
}

// with returns marks with one more.
func with(marks map[string]any, name string, value map[string]any) map[string]any {
	out := map[string]any{name: value}
	for k, v := range marks {
		if k != name {
			out[k] = v
		}
	}
	return out
}

func (w *inlineWriter) children(n ast.Node, marks map[string]any, depth int) {
	if depth > maxMarkdown {
		return
	}
	for x := n.FirstChild(); x != nil; x = x.NextSibling() {
		switch x := x.(type) {
		case *ast.Text:
			w.text(string(plain(x.Segment.Value(w.source), x.IsRaw())), marks)
			if x.HardLineBreak() {
				w.node(yjs.NewXMLElement(w.schema.hardBreak, nil))
			} else if x.SoftLineBreak() {
				w.text(" ", marks)
			}
		case *ast.String:
			w.text(string(x.Value), marks)
		case *ast.CodeSpan:
			w.children(x, with(marks, "code", map[string]any{}), depth+1)
		case *ast.Emphasis:
			name := w.schema.italic
			if x.Level == 2 {
				name = w.schema.bold
			}
			w.children(x, with(marks, name, map[string]any{}), depth+1)
		case *east.Strikethrough:
			w.children(x, with(marks, "strike", map[string]any{}), depth+1)
		case *ast.Link:
			w.children(x, linked(marks, x.Destination, x.Title), depth+1)
		case *ast.AutoLink:
			w.text(string(x.Label(w.source)), linked(marks, x.URL(w.source), nil))
		case *ast.Image:
			if html.IsDangerousURL(x.Destination) {
				continue
			}
			attributes := map[string]any{"src": string(plain(x.Destination, false))}
			if alt := alternative(x, w.source); alt != "" {
				attributes["alt"] = alt
			}
			if len(x.Title) > 0 {
				attributes["title"] = string(plain(x.Title, false))
			}
			w.node(yjs.NewXMLElement("image", attributes))
		case *ast.RawHTML:
			for i := range x.Segments.Len() {
				at := x.Segments.At(i)
				w.text(string(at.Value(w.source)), marks)
			}
		case *east.TaskCheckBox:
		default:
			w.children(x, marks, depth+1)
		}
	}
}

// linked returns marks with a link. An address that would run in the reader's page makes none: the text stays.
func linked(marks map[string]any, to, title []byte) map[string]any {
	if html.IsDangerousURL(to) {
		return marks
	}
	v := map[string]any{"href": string(plain(to, false))}
	if len(title) > 0 {
		v["title"] = string(plain(title, false))
	}
	return with(marks, "link", v)
}

func alternative(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(x ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := x.(*ast.Text); ok && entering {
			b.Write(plain(t.Segment.Value(source), t.IsRaw()))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// plain resolves a text's escapes and character references.
func plain(b []byte, raw bool) []byte {
	if raw {
		return b
	}
	return util.ResolveEntityNames(util.ResolveNumericReferences(util.UnescapePunctuations(b)))
}
