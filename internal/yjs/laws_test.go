package yjs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomUpdates are the edits of three clients to one document of all types.
func randomUpdates(t testing.TB, seed uint64, n int) (updates [][]byte) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 11))
	d := NewDocument(DocumentOptions{})
	for range n {
		u, err := d.Edit(1+rnd.Uint64N(3), func(tx *Tx) error { return randomEdit(rnd, tx) })
		must1(t, err)
		if u != nil {
			updates = append(updates, u)
		}
	}
	return updates
}

func TestMergeJoinAndCompactAreAssociativeAndIdempotent(t *testing.T) {
	for seed := range uint64(30) {
		all := randomUpdates(t, seed, 45)
		k := len(all) / 3
		for name, f := range map[string]func(...[]byte) ([]byte, error){"Merge": Merge, "Join": Join, "Compact": Compact} {
			a, b, c := must2(t)(f(all[:k]...)), must2(t)(f(all[k:2*k]...)), must2(t)(f(all[2*k:]...))
			left := must2(t)(f(must2(t)(f(a, b)), c))
			right := must2(t)(f(a, must2(t)(f(b, c))))
			if name == "Merge" {
				sameIDs(t, name, left, right)
			} else if !bytes.Equal(left, right) {
				t.Errorf("seed %d, %s: (ab)c is %d bytes, a(bc) %d", seed, name, len(left), len(right))
			}
			for how, again := range map[string][]byte{"once more": must2(t)(f(left)), "with itself": must2(t)(f(left, left)), "with a part": must2(t)(f(left, b))} {
				if name == "Merge" || how != "with a part" {
					sameIDs(t, name+" "+how, left, again)
				}
				if name != "Merge" && how == "once more" && !bytes.Equal(again, left) {
					t.Errorf("seed %d, %s once more: %d bytes became %d", seed, name, len(left), len(again))
				}
			}
		}
	}
}

func TestADiffAgainstItselfIsEmptyAndAgainstNothingIsAll(t *testing.T) {
	for seed := range uint64(30) {
		all := randomUpdates(t, seed, 40)
		whole := must2(t)(Merge(all...))
		v, err := VectorOf(whole)
		must1(t, err)
		if u := parsed(t, must2(t)(Diff(whole, v))); u.Structs() != 0 {
			t.Errorf("seed %d: a diff against its own vector has %d structs", seed, u.Structs())
		}
		sameIDs(t, "against nothing", whole, must2(t)(Diff(whole, StateVector{})))
		// Whatever part another side has: the part and the diff against it give the same document.
		d, err := OpenDocument(DocumentOptions{}, whole)
		must1(t, err)
		want := d.Encode(nil)
		for k := 0; k <= len(all); k += 7 {
			other, err := OpenDocument(DocumentOptions{}, all[:k]...)
			must1(t, err)
			apply(t, other, must2(t)(Diff(whole, other.Vector())))
			if got := other.Encode(nil); !bytes.Equal(got, want) {
				t.Errorf("seed %d: %d updates and the rest give another document", seed, k)
			}
		}
	}
}

func TestPartsOfASplitGiveTheSameDocumentInTurn(t *testing.T) {
	for seed := range uint64(20) {
		whole := must2(t)(Merge(randomUpdates(t, seed, 60)...))
		want, err := OpenDocument(DocumentOptions{}, whole)
		must1(t, err)
		for _, most := range []int{200, 333, 1000, len(whole) - 1, len(whole)} {
			parts, err := Split(whole, most)
			if errors.Is(err, ErrUnsplittable) {
				continue
			}
			must1(t, err)
			d := NewDocument(DocumentOptions{})
			for i, p := range parts {
				if len(p) > most {
					t.Errorf("seed %d, split to %d: part %d has %d bytes", seed, most, i, len(p))
				}
				apply(t, d, p)
				if d.Pending().Structs > 0 {
					t.Errorf("seed %d, split to %d: part %d waits", seed, most, i)
				}
			}
			if !bytes.Equal(d.Encode(nil), want.Encode(nil)) {
				t.Errorf("seed %d, split to %d: %d parts give another document", seed, most, len(parts))
			}
		}
	}
}

// contentsOfEachKind is an update for each kind of struct that an update may hold.
func contentsOfEachKind() map[string][]byte {
	item := func(ref byte, n uint64, content []byte) []byte {
		return update([]Struct{{Client: 7, Len: n, Info: ref, Root: []byte("a"), Content: content}})
	}
	list := map[string][]byte{
		"nothing":   {0, 0},
		"deleted":   item(RefDeleted, 300, nil),
		"JSON":      item(RefJSON, 3, AppendVarString(AppendVarString(AppendVarString(nil, `{"a":[1,null]}`), "undefined"), `"é"`)),
		"binary":    item(RefBinary, 1, []byte{0, 1, 0xff}),
		"string":    item(RefString, 5, []byte("aé😀b")),
		"embed":     item(RefEmbed, 1, []byte(`{"image":"i.png"}`)),
		"format":    item(RefFormat, 1, AppendVarString(AppendVarString(nil, "bold"), "true")),
		"any":       item(RefAny, 4, []byte{anyNull, anyString, 1, 'x', anyArray, 1, anyNull, anyObject, 1, 1, 'k', anyNull}),
		"document":  item(RefDoc, 1, []byte{4, 'g', 'u', 'i', 'd', anyObject, 0}),
		"collected": update([]Struct{text(7, 0, "a"), {Client: 7, Clock: 1, Len: 1000, Info: RefGC}}),
		"deletes":   update(nil, Run{7, 0, 1}, Run{7, 5, 200}, Run{3, 128, 1}),
		"a key":     update([]Struct{{Client: 7, Len: 1, Info: RefAny | infoSub, Root: []byte("m"), Sub: []byte("k"), Content: []byte{anyNull}}}),
		"neighbours": update([]Struct{text(9, 0, "ab"), text(8, 0, "c").after(9, 0).before(9, 1), text(7, 0, "d").before(9, 0),
			text(7, 1, "e").after(8, 0)}, Run{8, 0, 1}),
	}
	for n, name := range []string{"array", "map", "text", "element", "fragment", "hook", "XML text"} {
		content := []byte{byte(n)}
		if n == TypeXMLElement || n == TypeXMLHook {
			content = AppendVarString(content, "para")
		}
		child := Struct{Client: 7, Clock: 1, Len: 1, Info: RefAny, Parent: ID{7, 0}, Content: []byte{anyNull}}
		list["a type, "+name] = update([]Struct{{Client: 7, Len: 1, Info: RefType, Root: []byte("a"), Content: content}, child})
	}
	return list
}

func TestEveryKindOfContentIsTheSameInYjsV2BothWays(t *testing.T) {
	var names []string
	var v1, v2 [][]byte
	for name, u := range contentsOfEachKind() {
		names = append(names, name)
		v1 = append(v1, u)
		v2 = append(v2, must2(t)(ToV2(u)))
	}
	j := newJudge(t)
	j.ask(object{"op": "convert", "seed": 0, "v1": v1, "v2": v2})
	var answer struct{ V1, V2 [][]byte }
	j.answer(&answer)
	for i, name := range names {
		if !bytes.Equal(v2[i], answer.V2[i]) {
			t.Errorf("%s to V2: got %x, yjs %x", name, v2[i], answer.V2[i])
		}
		if got, err := FromV2(answer.V2[i], Limits{}); err != nil || !bytes.Equal(got, answer.V1[i]) || !bytes.Equal(got, v1[i]) {
			t.Errorf("%s from V2: got %x %v, yjs %x, want %x", name, got, err, answer.V1[i], v1[i])
		}
	}
}

func TestExpandedIsTheSizeOfV1ToTheByte(t *testing.T) {
	for name, v1 := range contentsOfEachKind() {
		v2 := must2(t)(ToV2(v1))
		if got, err := FromV2(v2, Limits{Expanded: len(v1)}); err != nil || !bytes.Equal(got, v1) {
			t.Errorf("%s, as many bytes as it becomes: got %x, %v", name, got, err)
		}
		if got, err := FromV2(v2, Limits{Expanded: len(v1) - 1}); !errors.Is(err, ErrLimit) || got != nil {
			t.Errorf("%s, a byte less than it becomes: got %x, %v, want ErrLimit", name, got, err)
		}
		for k := range v2 {
			if got, err := FromV2(v2[:k], Limits{}); err == nil {
				t.Errorf("%s cut at %d of %d: got %x", name, k, len(v2), got)
			}
		}
	}
}

func TestEachRendererStopsAtTheExactBoundOfItsBudget(t *testing.T) {
	d := NewDocument(DocumentOptions{})
	edit(t, d, 7, func(tx *Tx) {
		for i := range 40 {
			must1(t, tx.Text("t").Insert(0, fmt.Sprint("piece ", i, " "), bold(i%3)))
			must1(t, tx.XML("x").Insert(0, NewXMLElement("p", map[string]any{"n": i}, NewXMLText("text", bold(true)))))
			must1(t, tx.Map("m").Set(fmt.Sprint("k", i), []any{i, "v"}))
		}
	})
	old := NewDocument(DocumentOptions{})
	for name, way := range map[string]func(b *Budget) error{
		"json":  func(b *Budget) error { _, err := d.JSON(nil, b); return err },
		"xml":   func(b *Budget) error { _, err := d.XML("x", KindXMLFragment, b); return err },
		"delta": func(b *Budget) error { _, err := d.Delta("t", b); return err },
		"text":  func(b *Budget) error { _, _, err := d.Text("m", KindMap, b); return err },
		"diff":  func(b *Budget) error { _, err := d.TextDiff(old, "t", b); return err },
		"runs":  func(b *Budget) error { _, err := d.Runs("t", b); return err },
	} {
		measured := Budget{Work: 1 << 40}
		must1(t, way(&measured))
		if measured.work == 0 {
			t.Errorf("%s: no work was counted", name)
		}
		if err := way(&Budget{Work: measured.work}); err != nil {
			t.Errorf("%s, as much work as it takes: got %v", name, err)
		}
		if err := way(&Budget{Work: measured.work - 1}); !errors.Is(err, ErrOutput) {
			t.Errorf("%s, one less than it takes: got %v, want ErrOutput", name, err)
		}
		stop := errors.New("stop")
		if err := way(&Budget{Check: func() error { return stop }}); err != stop {
			t.Errorf("%s, given up: got %v, want the error of the callback", name, err)
		}
	}
}

func TestRestoreGoesBackToEveryStateOfARandomHistory(t *testing.T) {
	for seed := range uint64(8) {
		all := randomUpdates(t, seed, 30)
		for k := 0; k <= len(all); k += 6 {
			now, err := OpenDocument(DocumentOptions{}, all...)
			must1(t, err)
			then, err := OpenDocument(DocumentOptions{}, all[:k]...)
			must1(t, err)
			follower, err := OpenDocument(DocumentOptions{}, slices.Clone(all)...)
			must1(t, err)
			u, err := now.Restore(then, 99)
			must1(t, err)
			if u != nil {
				apply(t, follower, u)
			}
			want, err := then.JSON(sessionReadKinds, nil)
			must1(t, err)
			for name, d := range map[string]*Document{"the document": now, "a follower": follower} {
				must1(t, d.check())
				if got, err := d.JSON(sessionReadKinds, nil); err != nil || !bytes.Equal(got, want) {
					t.Errorf("seed %d, %s at %d of %d: got %s %v, want %s", seed, name, k, len(all), got, err, want)
				}
			}
		}
	}
}
