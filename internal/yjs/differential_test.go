package yjs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
)

var (
	diffSeed  = flag.Uint64("diff.seed", 1, "first seed of tests against yjs")
	diffCount = flag.Int("diff.count", 0, "number of seeds of tests against yjs; 0: all in CI, elsewhere a tenth")
)

const (
	nodeDir         = "testdata" // where the packages are installed
	differentialDir = "testdata/differential"
)

// diffSeeds is how many sessions a test should compare, of which there are most in CI.
func diffSeeds(most int) int {
	switch {
	case *diffCount > 0:
		return *diffCount
	case raceEnabled:
		return most / 100
	case os.Getenv("CI") == "true":
		return most
	}
	return most / 10
}

// needNode finds Node and installs the pinned packages, once, whoever comes first. Without Node the test is skipped; in CI,
// where it must not be, it fails.
func needNode(t testing.TB) string {
	t.Helper()
	without := t.Skipf
	if os.Getenv("CI") == "true" {
		without = t.Fatalf
	}
	node, err := exec.LookPath("node")
	if err != nil {
		without("NOT COMPARED WITH YJS: no node here (%v)", err)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		without("NOT COMPARED WITH YJS: no npm here (%v)", err)
	}
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "yjet-differential.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := lockFile(lock); err != nil {
		t.Fatal(err)
	}
	// What was installed is known by the lockfile it was installed from.
	want, err := os.ReadFile(filepath.Join(nodeDir, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	stamp := filepath.Join(nodeDir, "node_modules", ".installed-lock.json")
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, want) {
		return node
	}
	cmd := exec.Command(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = nodeDir
	if out, err := cmd.CombinedOutput(); err != nil {
		without("NOT COMPARED WITH YJS: npm ci: %v\n%s", err, out)
	}
	if err := os.WriteFile(stamp, want, 0o600); err != nil {
		t.Fatal(err)
	}
	return node
}

// judge is a Node process with npm yjs. Requests are written by a goroutine of their own, so that a full pipe stops nobody.
type judge struct {
	t        testing.TB
	requests chan []byte
	out      *bufio.Reader
}

func newJudge(t testing.TB) *judge {
	t.Helper()
	cmd := exec.Command(needNode(t), "driver.mjs")
	cmd.Dir = differentialDir
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j := &judge{t, make(chan []byte, 1024), bufio.NewReaderSize(out, 1<<20)}
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer in.Close()
		for p := range j.requests {
			if _, err := in.Write(p); err != nil {
				for range j.requests {
				}
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(j.requests)
		if t.Failed() {
			cmd.Process.Kill()
		}
		io.Copy(io.Discard, out)
		<-written
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("node: %v", err)
		}
	})
	return j
}

func (j *judge) ask(request any) {
	j.t.Helper()
	p, err := json.Marshal(request)
	if err != nil {
		j.t.Fatal(err)
	}
	j.requests <- append(p, '\n')
}

func (j *judge) answer(into any) {
	j.t.Helper()
	line, err := j.out.ReadBytes('\n')
	if err != nil {
		j.t.Fatalf("node: %v", err)
	}
	if bytes.HasPrefix(line, []byte(`{"seed":`)) && bytes.Contains(line[:min(len(line), 40)], []byte(`"error":`)) {
		j.t.Fatalf("node: %s", line)
	}
	if err := json.Unmarshal(line, into); err != nil {
		j.t.Fatalf("node: %v: %.200s", err, line)
	}
}

// yjsView is what yjs makes of a document.
type yjsView struct {
	Roots    any
	JSON     any
	Text     string
	Delta    any
	XML      string
	Snapshot []byte
	Size     int
	Pending  bool
	Full     bool // all of it, not only roots, snapshot and pending
}

type yjsSession struct {
	Seed        uint64
	Log         [][]byte
	V2          []byte
	Middle      int
	Final, Then yjsView
}

type yjsDocument struct {
	Updates [][]byte `json:"updates"`
	Merge   bool     `json:"merge"`
	Edits   []object `json:"edits,omitempty"` // of the text t
}

var sessionKinds = map[string]string{"t": "text", "m": "map", "a": "array", "x": "xmlfragment"}

var sessionReadKinds = map[string]Kind{"t": KindText, "m": KindMap, "a": KindArray, "x": KindXMLFragment}

// differs says in what a document differs from what yjs made of it; "" if in nothing.
func (v *yjsView) differs(t testing.TB, d *Document) string {
	t.Helper()
	if err := d.check(); err != nil {
		return err.Error()
	}
	tree := func(p []byte, err error) any {
		if err != nil {
			t.Fatal(err)
		}
		var x any
		if err := json.Unmarshal(p, &x); err != nil {
			t.Fatalf("our JSON: %v: %s", err, p)
		}
		return x
	}
	roots, err := json.Marshal(normRoots(d, sessionKinds))
	if got := tree(roots, err); !reflect.DeepEqual(got, v.Roots) {
		return fmt.Sprintf("roots (pending in yjs: %v): %s", v.Pending, firstDifference(got, v.Roots))
	}
	if v.Full {
		if got := tree(d.JSON(sessionReadKinds, nil)); !reflect.DeepEqual(got, v.JSON) {
			return "JSON: " + firstDifference(got, v.JSON)
		}
		if got := tree(d.Delta("t", nil)); !reflect.DeepEqual(got, v.Delta) {
			return "delta: " + firstDifference(got, v.Delta)
		}
		if got := textOf(d, "t"); got != v.Text {
			return fmt.Sprintf("text: got %q, want %q", got, v.Text)
		}
		if got, err := d.XML("x", KindAuto, nil); err != nil || got != v.XML {
			return fmt.Sprintf("markup: got %q, %v, want %q", got, err, v.XML)
		}
	}
	deletes := d.Deletes()
	if got := AppendSnapshot(nil, d.Vector(), &deletes); !bytes.Equal(got, v.Snapshot) {
		wv, wd, err := DecodeSnapshot(v.Snapshot)
		return fmt.Sprintf("snapshot: got %v %x, want %v %x, %v", d.Vector(), deletes.Append(nil), wv, wd.Append(nil), err)
	}
	p := d.Pending()
	if got := p.Structs > 0 || !p.Deletes.Empty(); got != v.Pending {
		return fmt.Sprintf("pending: got %+v, want %v", p, v.Pending)
	}
	return ""
}

// TestDocumentAgainstYjs compares documents with those of npm yjs over random sessions of several clients, with all types,
// marks, undo and redo. To see one seed again: go test -run TestDocumentAgainstYjs ./internal/yjs -diff.seed N -diff.count 1
func TestDocumentAgainstYjs(t *testing.T) {
	count := diffSeeds(2000)
	j := newJudge(t)
	const ahead = 4 // sessions asked for, so that neither side waits for the other
	var queue []func()
	updates, asked := 0, 0
	var more func()
	more = func() {
		if asked == count {
			return
		}
		seed := *diffSeed + uint64(asked)
		asked++
		j.ask(object{"op": "generate", "seed": seed})
		queue = append(queue, func() {
			var s yjsSession
			j.answer(&s)
			more()
			updates += len(s.Log)
			c := comparison{t: t, s: &s, r: rand.New(rand.NewPCG(s.Seed, 7))}
			c.run()
			j.ask(object{"op": "check", "seed": s.Seed, "documents": c.documents})
			queue = append(queue, func() {
				var answer struct{ Views []yjsView }
				j.answer(&answer)
				for i, check := range c.checks {
					check(&answer.Views[i])
				}
			})
			if t.Failed() {
				t.FailNow()
			}
		})
	}
	for range ahead {
		more()
	}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		next()
	}
	t.Logf("seeds %d to %d, %d updates", *diffSeed, *diffSeed+uint64(count)-1, updates)
}

// comparison is one session: documents made of it, and questions about them.
type comparison struct {
	t         *testing.T
	s         *yjsSession
	r         *rand.Rand
	documents []yjsDocument
	checks    []func(*yjsView)
}

func (c *comparison) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("seed %d: %s\nagain: go test -run TestDocumentAgainstYjs ./internal/yjs -diff.seed %d -diff.count 1",
		c.s.Seed, fmt.Sprintf(format, args...), c.s.Seed)
}

// theirs asks yjs for the document of some updates.
func (c *comparison) theirs(d yjsDocument, check func(*yjsView)) {
	c.documents = append(c.documents, d)
	c.checks = append(c.checks, check)
}

// equal compares a document of ours with a view of theirs.
func (c *comparison) equal(what string, d *Document, v *yjsView) {
	c.t.Helper()
	if diff := v.differs(c.t, d); diff != "" {
		c.fail("%s: %s", what, diff)
	}
}

// shows compares what shows in a document of ours, but not its ids.
func (c *comparison) shows(what string, d *Document, v *yjsView) {
	c.t.Helper()
	w := *v
	deletes := d.Deletes()
	w.Snapshot = AppendSnapshot(nil, d.Vector(), &deletes)
	c.equal(what, d, &w)
}

func (c *comparison) open(o DocumentOptions, updates ...[]byte) *Document {
	c.t.Helper()
	d := NewDocument(o)
	for i, u := range updates {
		if err := d.Apply(u); err != nil {
			c.fail("update %d: %v", i, err)
			c.t.FailNow()
		}
	}
	return d
}

// disturbed is the updates in another order, some of them twice, some merged.
func (c *comparison) disturbed(updates [][]byte) [][]byte {
	var out [][]byte
	list := slices.Clone(updates)
	c.r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for len(list) > 0 {
		n := 1
		if c.r.IntN(6) == 0 {
			n = min(len(list), 2+c.r.IntN(6))
		}
		u, err := Merge(list[:n]...)
		if err != nil {
			c.fail("merge: %v", err)
		}
		out = append(out, u)
		list = list[n:]
		if c.r.IntN(10) == 0 {
			out = append(out, updates[c.r.IntN(len(updates))])
		}
	}
	return out
}

func (c *comparison) run() {
	s, log := c.s, c.s.Log
	d := c.open(DocumentOptions{}, log...)
	c.equal("in order", d, &s.Final)
	kept := c.open(DocumentOptions{KeepDeleted: true}, log...)
	c.equal("in order, keeping", kept, &s.Final)
	disturbed := NewDocument(DocumentOptions{KeepDeleted: c.r.IntN(2) == 0})
	disturbed.walk = 1<<31 - 20 // soon to begin anew
	apply(c.t, disturbed, c.disturbed(log)...)
	c.equal("disturbed", disturbed, &s.Final)
	v2 := NewDocument(DocumentOptions{})
	if err := applyV2(v2, s.V2); err != nil {
		c.fail("V2: %v", err)
	}
	c.equal("V2", v2, &s.Final)

	// What we encode.
	state := d.Encode(nil)
	if got, want := len(state), s.Final.Size; float64(got) > 1.05*float64(want)+4 || float64(want) > 1.05*float64(got)+4 {
		c.fail("size of the state: got %d, want within 5 %% of %d", got, want)
	}
	c.theirs(yjsDocument{Updates: [][]byte{state}}, func(v *yjsView) { c.equal("our state in yjs", d, v) })
	then := c.open(DocumentOptions{}, log[:s.Middle]...)
	c.equal("the middle", then, &s.Then)
	rest := d.Encode(then.Vector())
	c.theirs(yjsDocument{Updates: [][]byte{then.Encode(nil), rest}}, func(v *yjsView) { c.equal("our difference in yjs", d, v) })

	// With parts missing: what can't be used yet waits, and is used when it can be.
	var some, others [][]byte
	for _, u := range log {
		if c.r.IntN(12) > 0 {
			some = append(some, u)
		} else {
			others = append(others, u)
		}
	}
	if len(some) > 0 {
		part := c.open(DocumentOptions{}, c.disturbed(some)...)
		c.theirs(yjsDocument{Updates: some, Merge: true}, func(v *yjsView) { c.equal("with parts missing", part, v) })
		// Merged first: one by one yjs may keep waiting for what it has.
		c.theirs(yjsDocument{Updates: append([][]byte{part.Encode(nil)}, others...), Merge: true}, func(v *yjsView) { c.equal("our state with parts missing, and the rest, in yjs", d, v) })
		whole := c.open(DocumentOptions{}, append([][]byte{part.Encode(nil)}, c.disturbed(log)...)...)
		c.equal("with what was missing", whole, &s.Final)
	}

	c.past(kept, then)
	c.sameEdits(state)

	// Edits of ours.
	edited := c.open(DocumentOptions{KeepDeleted: c.r.IntN(2) == 0}, state)
	client := c.r.Uint64N(1 << 32)
	ours := [][]byte{state}
	for range 1 + c.r.IntN(4) {
		u, err := edited.Edit(client, func(tx *Tx) error {
			for range 1 + c.r.IntN(5) {
				if err := randomEdit(c.r, tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			c.fail("edit: %v", err)
			return
		}
		if u != nil {
			ours = append(ours, u)
		}
		if err := edited.check(); err != nil {
			c.fail("edit: %v", err)
			return
		}
	}
	c.theirs(yjsDocument{Updates: ours}, func(v *yjsView) { c.equal("our edits in yjs", edited, v) })
	again := c.open(DocumentOptions{}, c.disturbed(ours)...)
	c.theirs(yjsDocument{Updates: ours}, func(v *yjsView) { c.equal("our edits in another document", again, v) })
}

// sameEdits makes edits of a text here and in yjs: what shows must be the same, marks and their ends too.
func (c *comparison) sameEdits(state []byte) {
	d := c.open(DocumentOptions{}, state)
	var edits []object
	for range 1 + c.r.IntN(8) {
		_, err := d.Edit(77, func(tx *Tx) error {
			t := tx.Text("t")
			i := c.r.IntN(t.Len() + 1)
			n := c.r.IntN(min(12, t.Len()-i+1))
			var attributes map[string]any
			for _, key := range []string{"bold", "color", "link"} {
				switch c.r.IntN(6) {
				case 0:
					attributes = map[string]any{key: nil}
				case 1:
					attributes = map[string]any{key: "#" + strconv.Itoa(c.r.IntN(3))}
				case 2:
					attributes = map[string]any{key: []any{
						map[string]any{"href": "https://example.org/1"}, map[string]any{"a": map[string]any{"b": 1}}, []any{1, "x"},
					}[c.r.IntN(3)]}
				}
			}
			e := object{"index": i, "length": n, "attributes": attributes}
			var err error
			switch c.r.IntN(5) {
			case 0, 1:
				e["op"], e["text"] = "insert", "new😀"
				err = t.Insert(i, "new😀", attributes)
			case 2:
				e["op"] = "delete"
				err = t.Delete(i, n)
			case 3:
				if attributes == nil {
					attributes = map[string]any{"bold": true}
					e["attributes"] = attributes
				}
				e["op"] = "format"
				err = t.Format(i, n, attributes)
			default:
				e["op"], e["text"] = "embed", "x"
				err = t.InsertEmbed(i, map[string]any{"image": "x"}, attributes)
			}
			if err == nil {
				edits = append(edits, e)
			} else if errors.Is(err, ErrHalf) {
				err = nil
			}
			return err
		})
		if err != nil {
			c.fail("edit: %v", err)
		}
	}
	ours := joinedDelta(jsonTree(c.t, normRoots(d, sessionKinds)))
	c.theirs(yjsDocument{Updates: [][]byte{state}, Edits: edits}, func(v *yjsView) {
		if theirs := joinedDelta(v.Roots); !reflect.DeepEqual(ours, theirs) {
			c.fail("the same edits in yjs %s: %s", mustJSON(edits), firstDifference(ours, theirs))
		}
	})
}

// joinedDelta is the delta of the text t, with neighbours of equal attributes joined: where attributes are objects, yjs may
// leave formats standing that change nothing.
func joinedDelta(roots any) []any {
	var out []any
	for _, op := range roots.(object)["t"].(object)["value"].(object)["delta"].([]any) {
		op := op.(object)
		if n := len(out); n > 0 {
			last := out[n-1].(object)
			a, isText := last["insert"].(string)
			b, too := op["insert"].(string)
			if isText && too && reflect.DeepEqual(last["attributes"], op["attributes"]) {
				out[n-1] = object{"insert": a + b, "attributes": op["attributes"]}
				continue
			}
		}
		out = append(out, object{"insert": op["insert"], "attributes": op["attributes"]})
	}
	return out
}

// past compares what is read from and made of states of the past. kept holds the whole session, with what was deleted.
func (c *comparison) past(kept, then *Document) {
	s, log := c.s, c.s.Log
	v, deletes, err := DecodeSnapshot(s.Then.Snapshot)
	if err != nil {
		c.fail("snapshot: %v", err)
	}
	at, err := kept.At(v, &deletes)
	if err != nil {
		c.fail("at a snapshot: %v", err)
	} else {
		c.equal("at a snapshot", at, &s.Then)
	}

	var text, before []byte
	for _, x := range diffOf(kept, then, "t") {
		if x.Change != Deleted {
			text = append(text, x.Text...)
		}
		if x.Change != Inserted {
			before = append(before, x.Text...)
		}
	}
	if got := string(text); got != s.Final.Text {
		c.fail("text difference, after: got %q, want %q", got, s.Final.Text)
	}
	if got := string(before); got != s.Then.Text {
		c.fail("text difference, before: got %q, want %q", got, s.Then.Text)
	}
	// Runs go into nested types too; each must be what the store has at its clocks.
	for _, r := range runsOf(kept, "t") {
		if got := kept.client(r.Client).at(r.Clock); got.deleted() || !bytes.HasPrefix([]byte(r.Text), got.data) && got.clock == r.Clock {
			c.fail("run %+v: got %q", r, got.data)
		}
	}

	present := c.open(DocumentOptions{KeepDeleted: c.r.IntN(2) == 0}, log...)
	client := uint64(1<<32) + c.r.Uint64N(1<<20)
	back, err := present.Restore(then, client)
	if err != nil {
		c.fail("restore: %v", err)
		return
	}
	c.shows("restored", present, &s.Then)
	updates := [][]byte{kept.Encode(nil)}
	if back != nil {
		updates = append(updates, back)
	}
	restored := c.open(DocumentOptions{}, updates...)
	c.theirs(yjsDocument{Updates: updates}, func(v *yjsView) {
		c.equal("restored, in yjs", restored, v)
		c.shows("restored, in yjs", restored, &s.Then)
	})
	if _, err := present.Restore(kept, client+2); err != nil {
		c.fail("restore of the present: %v", err)
	}
	c.shows("restored forth and back", present, &s.Final)
}

var editWords = []string{"go ", "é", "😀", "日本", "\n", "x", "", "long enough to be joined"}

// randomEdit makes one edit of any kind somewhere.
func randomEdit(r *rand.Rand, tx *Tx) error {
	word := func() string { return editWords[r.IntN(len(editWords))] }
	marks := func() map[string]any {
		switch r.IntN(6) {
		case 0:
			return map[string]any{"bold": true}
		case 1:
			return map[string]any{"bold": nil}
		case 2:
			return map[string]any{"link": map[string]any{"href": "https://example.org/1"}, "color": "#1"}
		}
		return nil
	}
	var value func(depth int) any
	value = func(depth int) any {
		switch r.IntN(14) {
		case 0:
			return r.IntN(1000) - 500
		case 1:
			return r.Float64()
		case 2:
			return []any{nil, true, word()}
		case 3:
			return map[string]any{"a": word(), "b": map[string]any{"c": 1 << 40}}
		case 4:
			return []byte(word())
		case 5:
			return SubDoc{GUID: fmt.Sprint("go-", r.Uint64()), AutoLoad: true, Meta: word()}
		case 6:
			return json.RawMessage(`{"x":[1.5,null,"y"]}`)
		case 7, 8, 9:
			if depth > 2 {
				return nil
			}
			switch r.IntN(4) {
			case 0:
				return NewMap(map[string]any{"k": value(depth + 1), "j": word()})
			case 1:
				return NewArray(value(depth+1), value(depth+1))
			case 2:
				return NewText(word(), marks())
			default:
				return NewXMLElement("p", map[string]any{"id": word()}, NewXMLText(word(), marks()), NewXMLHook("h", map[string]any{"k": 1}))
			}
		}
		return word()
	}
	onText := func(t Text) error {
		i := r.IntN(t.Len() + 1)
		n := r.IntN(min(9, t.Len()-i+1))
		var err error
		switch r.IntN(6) {
		case 0, 1:
			err = t.Insert(i, word(), marks())
		case 2, 3:
			err = t.Delete(i, n)
		case 4:
			m := marks()
			err = t.Format(i, n, m)
		default:
			if r.IntN(3) == 0 {
				err = t.InsertEmbed(i, NewMap(map[string]any{"e": 1}), marks())
			} else {
				err = t.InsertEmbed(i, map[string]any{"image": "i.png"}, marks())
			}
		}
		if errors.Is(err, ErrHalf) {
			err = nil
		}
		return err
	}
	onArray := func(a Array) error {
		if a.Len() > 0 && r.IntN(3) == 0 {
			i := r.IntN(a.Len())
			return a.Delete(i, 1+r.IntN(min(3, a.Len()-i)))
		}
		return a.Insert(r.IntN(a.Len()+1), value(0), value(0))
	}
	onMap := func(m Map) error {
		key := fmt.Sprint("k", r.IntN(5))
		if r.IntN(4) == 0 {
			m.Delete(key)
			return nil
		}
		return m.Set(key, value(0))
	}
	onXML := func(x XML) error {
		if x.Len() > 0 && r.IntN(4) == 0 {
			return x.Delete(r.IntN(x.Len()), 1)
		}
		return x.Insert(r.IntN(x.Len()+1), NewXMLElement("Para", map[string]any{"n": r.IntN(9)}, NewXMLText(word()+word(), nil)))
	}
	var on func(s Shared, kind Kind) error
	on = func(s Shared, kind Kind) error {
		switch kind {
		case KindText, KindXMLText:
			return onText(s.Text())
		case KindArray:
			if n := s.Len(); n > 0 && r.IntN(2) == 0 {
				if child, ok := s.Array().At(r.IntN(n)); ok {
					return on(child, child.Kind())
				}
			}
			return onArray(s.Array())
		case KindMap, KindXMLHook:
			if child, ok := s.Map().Get(fmt.Sprint("k", r.IntN(5))); ok && r.IntN(2) == 0 {
				return on(child, child.Kind())
			}
			return onMap(s.Map())
		}
		if n := s.Len(); n > 0 && r.IntN(2) == 0 {
			if child, ok := s.XML().Child(r.IntN(n)); ok {
				return on(child, child.Kind())
			}
		}
		if kind == KindXMLElement && r.IntN(3) == 0 {
			if r.IntN(3) == 0 {
				s.XML().RemoveAttribute("level")
				return nil
			}
			return s.XML().SetAttribute("level", r.IntN(4))
		}
		return onXML(s.XML())
	}
	switch r.IntN(5) {
	case 0, 1:
		return on(tx.Root("t"), KindText)
	case 2:
		return on(tx.Root("m"), KindMap)
	case 3:
		return on(tx.Root("a"), KindArray)
	}
	return on(tx.Root("x"), KindXMLFragment)
}

func applyV2(d *Document, update []byte) error {
	v1, err := FromV2(update, Limits{})
	if err != nil {
		return err
	}
	return d.Apply(v1)
}
