package e2e

import (
	"context"
	"encoding/json"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func connectNATS(t testing.TB, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// decode runs `yjet decode` on a payload, as the nats tool does with --translate.
func decode(t testing.TB, payload []byte, args ...string) string {
	t.Helper()
	cmd := exec.Command(yjetBinary(t), append([]string{"decode"}, args...)...)
	cmd.Stdin = strings.NewReader(string(payload))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("yjet decode of %x: %v\n%s", payload, err, out)
	}
	return string(out)
}

func TestNATSShowsDocumentsToStockTools(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	d.open(s, "a", "yws31", "notes/todo.md")
	d.edit("a", []any{"text", "append", "buy milk"}, []any{"map", "set", "k", "v"})
	d.do("saved", M{"client": "a"})
	_, js := connectNATS(t, s.nats)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	var names []string
	for n := range js.StreamNames(ctx).Name() {
		names = append(names, n)
	}
	for _, want := range []string{"YDOC_00", "YDOC_01", "YSNAP_00", "YHIST_00", "KV_ypresence", "KV_ymeta"} {
		if !slices.Contains(names, want) {
			t.Errorf("streams are %v, want %s among them", names, want)
		}
	}
	subject := regexp.MustCompile(`^ydoc\.0[01]\.notes\.todo=2Emd$`)
	var found *jetstream.RawStreamMsg
	for _, name := range []string{"YDOC_00", "YDOC_01"} {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Config.Description == "" {
			t.Errorf("%s has no description for `nats stream ls`", name)
		}
		for subj := range info.State.Subjects {
			if !subject.MatchString(subj) {
				t.Errorf("%s holds subject %q, want ydoc.NN.notes.todo=2Emd", name, subj)
				continue
			}
			if found, err = stream.GetLastMsgForSubject(ctx, subj); err != nil {
				t.Fatal(err)
			}
		}
	}
	if found == nil {
		t.Fatal("no subject of the document in the log")
	}
	if sum := found.Header.Get("Yjet-Sum"); !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{16}-[0-9]+$`).MatchString(sum) {
		t.Errorf("Yjet-Sum is %q", sum)
	}
	if found.Header.Get("Yjet-Conn") == "" {
		t.Error("the record has no Yjet-Conn")
	}
	if text := decode(t, found.Data); !strings.Contains(text, "buy milk") {
		t.Errorf("yjet decode prints %q, want the text", text)
	}

	kv, err := js.KeyValue(ctx, "ypresence")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.ListKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for key := range keys.Keys() {
		seen++
		if !strings.HasPrefix(key, "notes.todo=2Emd.") {
			t.Errorf("presence key %q, want <doc>.<client>", key)
		}
		e, err := kv.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(e.Value(), &v); err != nil {
			t.Fatalf("presence value %q: %v", e.Value(), err)
		}
		for _, field := range []string{"user", "name", "color", "client", "clock", "node", "since", "state"} {
			if _, ok := v[field]; !ok {
				t.Errorf("presence value %s has no %q", e.Value(), field)
			}
		}
		if v["name"] != "a" || v["color"] != "#0f766e" {
			t.Errorf("presence value %s, want the name and colour of the client", e.Value())
		}
	}
	if seen != 1 {
		t.Errorf("%d presence keys, want 1", seen)
	}
}

// Whoever has rights on NATS may append a valid update: open clients receive it, marked as from outside.
func TestUpdateAppendedPastUsReachesEverybody(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	d.open(s, "a", "yws31", "outside")
	d.edit("a", []any{"text", "append", "inside "})
	d.do("saved", M{"client": "a"})
	// A document of its own makes the update, as any other Yjs program would.
	d.open(s, "maker", "yws31", "elsewhere")
	d.edit("maker", []any{"text", "append", "from outside"})
	update := ask[[]byte](d, "update", M{"client": "maker"})
	nc, js := connectNATS(t, s.nats)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	subject := ""
	for _, name := range []string{"YDOC_00", "YDOC_01"} {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter("ydoc.*.outside"))
		if err != nil {
			t.Fatal(err)
		}
		for subj := range info.State.Subjects {
			subject = subj
		}
	}
	if _, err := js.Publish(ctx, subject, update); err != nil {
		t.Fatal(err)
	}
	d.do("hasText", M{"client": "a", "part": "from outside"})
	// What does not decode is set aside; the document lives on.
	if _, err := nc.Request(subject, []byte{0xff, 0xff, 0xff, 0xff, 1}, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	d.edit("a", []any{"text", "append", " still alive"})
	d.do("saved", M{"client": "a"})
	d.open(s, "b", "yws31", "outside")
	d.do("hasText", M{"client": "b", "part": "still alive"})
	d.converge("a", "b")
}
