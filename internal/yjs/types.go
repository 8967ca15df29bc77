package yjs

import "slices"

// Kind is the kind of a shared type. Updates carry the kind of nested types; the kind of a root depends on how it is read.
type Kind uint8

const (
	KindAuto Kind = iota // guessed from the content, see Document.Roots
	KindArray
	KindMap
	KindText
	KindXMLElement
	KindXMLFragment
	KindXMLHook
	KindXMLText
)

var kindNames = [...]string{"auto", "array", "map", "text", "xmlelement", "xmlfragment", "xmlhook", "xmltext"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// ParseKind reads a kind's name as String writes it, and "xml" for a fragment.
func ParseKind(s string) (Kind, bool) {
	if s == "xml" {
		return KindXMLFragment, true
	}
	i := slices.Index(kindNames[:], s)
	return Kind(max(i, 0)), i >= 0
}

// wire returns the type number of a kind.
func (k Kind) wire() uint64 { return uint64(k) - 1 }

func kindOf(number uint64) Kind { return Kind(number) + 1 }

// typeOf makes the type that a RefType content announces.
func typeOf(content []byte) *docType {
	c := cursor{b: content}
	t := &docType{kind: kindOf(c.uint())}
	if t.kind == KindXMLElement || t.kind == KindXMLHook {
		t.name = string(c.str())
	}
	return t
}

// Root is a root type.
type Root struct {
	Name string
	Kind Kind // as guessed; KindAuto if it never held anything
}

// Roots returns the root types that ever had content, by name. Their kinds are guesses: keys only make a map; text, formats
// and embeds a text; XML nodes a fragment, or an element if there are attributes too; other lists are arrays. Deleted
// content counts while it is kept; a list with nothing left has KindAuto.
func (d *Document) Roots() []Root {
	roots := make([]Root, 0, len(d.rootOrder))
	for _, t := range d.rootOrder {
		roots = append(roots, Root{t.name, t.guess()})
	}
	slices.SortFunc(roots, func(a, b Root) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return roots
}

// guess returns the kind of a root, guessed from its content.
func (t *docType) guess() Kind {
	if t.kind != KindAuto {
		return t.kind
	}
	kind := KindAuto
	for it := t.start; it != nil; it = it.right {
		k := KindArray
		switch it.ref {
		case RefDeleted:
			k = KindAuto // it may have been anything
		case RefString, RefFormat, RefEmbed:
			k = KindText
		case RefType:
			switch it.typ.kind {
			case KindXMLElement, KindXMLText, KindXMLHook:
				k = KindXMLFragment
			}
		}
		if !it.deleted() {
			kind = k
			break
		}
		if kind == KindAuto || it.ref != RefDeleted {
			kind = k
		}
	}
	if len(t.entries) > 0 {
		switch kind {
		case KindAuto:
			return KindMap
		case KindXMLFragment:
			return KindXMLElement
		case KindText:
			if t.length == 0 && !t.formats && slices.ContainsFunc(t.entries, func(e *docEntry) bool { return e.last != nil && !e.last.deleted() }) {
				return KindMap
			}
		}
	}
	return kind
}

// asKind returns the kind to read a type as: the kind of a nested type; for a root k, or a guess if k is KindAuto.
func (t *docType) asKind(k Kind) Kind {
	if t.item != nil {
		return t.kind
	}
	if k != KindAuto {
		return k
	}
	return t.guess()
}
