package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"yjet/internal/natsd"
	"yjet/internal/natstest"
	"yjet/internal/testlog"
	"yjet/internal/yjs"
	"yjet/snapshot"
	"yjet/stream"
)

// TestKilledWhileItFoldsAndRestoresLosesNothing kills the server with -9 again and again, while documents are written, fall quiet
// and are folded, are restored, and others between them are erased. What was acknowledged must be there after each start; in the end
// the store is clean, and nothing erased is in its files.
func TestKilledWhileItFoldsAndRestoresLosesNothing(t *testing.T) {
	rounds := 6
	if os.Getenv("YJET_LONG") != "" {
		rounds = 100
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	bin := filepath.Join(t.TempDir(), "yjet")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	data := t.TempDir()
	var docs []*killDoc
	for i := range 6 {
		docs = append(docs, &killDoc{name: fmt.Sprintf("kill%d", i), client: uint64(100 + i), rnd: rand.New(rand.NewPCG(seed, uint64(i+1)))})
	}
	restores, acked := 0, uint64(0)
	gone := &eraser{rnd: rand.New(rand.NewPCG(seed, 100))}
	for round := range rounds {
		cmd := exec.Command(bin, "serve", "--auth", "none", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data", data,
			"--durability", "process", "--compact-after", "15ms", "--log-level", "warn")
		var logs testlog.Buffer
		cmd.Stderr = &logs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		url, ok := strings.CutPrefix(strings.TrimSpace(line), "yjet ready on ")
		if !ok {
			cmd.Process.Kill()
			cmd.Wait()
			t.Fatalf("round %d: no ready line but %q, %v\n%s", round, line, err, logs.String())
		}
		for _, d := range docs {
			if err := d.check(url); err != nil {
				t.Errorf("round %d: %v\n%s", round, err, logs.String())
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		if round == 0 && !gone.one(ctx, url) { // one at least comes to its end
			t.Errorf("nothing can be erased\n%s", logs.String())
		}
		var wg sync.WaitGroup
		for _, d := range docs {
			wg.Go(func() { d.work(ctx, url) })
		}
		wg.Go(func() { gone.work(ctx, url) })
		time.Sleep(time.Duration(100+rnd.IntN(700)) * time.Millisecond) // the moment of the kill is what is random here
		cmd.Process.Kill()
		cancel()
		wg.Wait()
		cmd.Wait()
		if t.Failed() {
			return
		}
	}
	for _, d := range docs {
		restores += d.restores
		acked += d.acked
	}
	t.Logf("%d rounds, %d characters acknowledged, %d restores", rounds, acked, restores)
	if acked == 0 || restores == 0 {
		t.Error("nothing was stored or restored: the test proves nothing")
	}

	log := slog.New(slog.DiscardHandler)
	var down stack
	defer down.run()
	nc, bulk, _, err := connectNATS(&config{data: data, natsAddr: "off", durability: "process"}, false, log, &down)
	if err != nil {
		t.Fatal(err)
	}
	l, err := stream.Open(t.Context(), nc, bulk, stream.Config{Embedded: true, Durability: "process", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	down.add(func() { l.Close() })
	s := snapshot.New(l, snapshot.Options{Log: log, OrphanAge: time.Nanosecond, EraseWait: time.Nanosecond})
	down.add(func() { s.Close(context.Background()) })
	for _, name := range gone.cut {
		if err := s.Erase(t.Context(), stream.Doc(name), ""); err != nil && !errors.Is(err, snapshot.ErrNotFound) {
			t.Errorf("erase %s: %v", name, err)
		}
	}
	v, err := s.Verify(t.Context(), "", nil)
	if err != nil {
		t.Errorf("verify: %v", err)
	}
	did, err := s.Sweep(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Verify(t.Context(), "", nil)
	if err != nil || again.Orphans != 0 {
		t.Errorf("after one sweep: %+v, %v; want no orphan", again, err)
	}
	t.Logf("%d records, %d packed, %d snapshots; %d orphans swept", v.Records, v.Packed, v.Snapshots, did.Orphans)
	if v.Snapshots == 0 {
		t.Error("nothing was folded: the test proves nothing")
	}
	t.Logf("%d documents erased, %d cut short by a kill", gone.erased, len(gone.cut))
	if gone.erased == 0 {
		t.Error("nothing was erased: the test proves nothing")
	}
	down.run()
	down = nil
	if w, err := natsd.EraseDead(t.Context(), natsd.Options{Dir: data}, func(string, int, int) {}); err != nil || w.Unread != 0 {
		t.Errorf("EraseDead = %+v, %v", w, err)
	}
	if files := natstest.FilesWith(t, filepath.Join(data, "jetstream"), "SECRET"); len(files) > 0 {
		t.Errorf("what was erased is still in %q", files)
	}
}

// eraser writes documents and has them erased.
type eraser struct {
	rnd    *rand.Rand
	n      int
	erased int
	cut    []string // a kill came before the answer
}

func (e *eraser) work(ctx context.Context, url string) {
	for ctx.Err() == nil && e.one(ctx, url) {
	}
}

// one writes a document and has it erased, unless the server dies.
func (e *eraser) one(ctx context.Context, url string) bool {
	e.n++
	d := &killDoc{name: fmt.Sprintf("gone%d", e.n), client: 1000 + uint64(e.n)}
	e.cut = append(e.cut, d.name)
	for range 1 + e.rnd.IntN(12) {
		text := strings.Repeat("SECRET ", 1+e.rnd.IntN(300))
		resp, err := post(ctx, url+"/api/docs/"+d.name, d.insertion(text))
		if err != nil || resp.StatusCode != http.StatusNoContent {
			return false
		}
		d.acked += uint64(len(text))
		if e.rnd.IntN(4) == 0 {
			time.Sleep(20 * time.Millisecond) // and is folded
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, url+"/api/docs/"+d.name, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusOK {
		return false
	}
	e.cut = e.cut[:len(e.cut)-1]
	e.erased++
	return true
}

// killDoc is one document that one client writes, and what of it was acknowledged. Its methods are not called at the same time.
type killDoc struct {
	name     string
	client   uint64
	acked    uint64 // characters
	sent     uint64 // perhaps stored: the answer did not come
	first    string // sequence of the first update
	restores int
	rnd      *rand.Rand
}

// work writes, pauses and restores until the server dies.
func (d *killDoc) work(ctx context.Context, url string) {
	for ctx.Err() == nil {
		for range 1 + d.rnd.IntN(8) {
			n := 1 + d.rnd.IntN(300)
			d.sent = d.acked + uint64(n)
			resp, err := post(ctx, url+"/api/docs/"+d.name, d.insertion(strings.Repeat("x", n)))
			if err != nil {
				return
			}
			if resp.StatusCode != http.StatusNoContent {
				return
			}
			d.acked = d.sent
			if d.first == "" {
				d.first = resp.Header.Get("Yjet-Seq")
			}
		}
		if d.rnd.IntN(6) == 0 && d.first != "" {
			resp, err := post(ctx, url+"/api/docs/"+d.name+"/restore", []byte(`{"at":`+d.first+`}`))
			if err != nil {
				return
			}
			if resp.StatusCode == http.StatusOK {
				d.restores++
			}
		}
		select { // long enough to fall quiet, now and then
		case <-ctx.Done():
		case <-time.After(time.Duration(d.rnd.IntN(60)) * time.Millisecond):
		}
	}
}

func (d *killDoc) insertion(text string) []byte {
	b := yjs.AppendUvarint([]byte{1, 1}, d.client)
	b = yjs.AppendUvarint(b, d.acked)
	if d.acked == 0 {
		b = yjs.AppendVarString(append(b, 4, 1), "text")
	} else {
		b = yjs.AppendUvarint(yjs.AppendUvarint(append(b, 0x84), d.client), d.acked-1)
	}
	return append(yjs.AppendVarString(b, text), 0)
}

// check: all that was acknowledged is there. What was sent and not acknowledged may be.
func (d *killDoc) check(url string) error {
	if d.acked == 0 && d.sent == 0 {
		return nil
	}
	resp, err := http.Get(url + "/api/docs/" + d.name + "?format=vector")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var have uint64
	if resp.StatusCode == http.StatusOK {
		v, err := yjs.DecodeStateVector(b)
		if err != nil {
			return err
		}
		have = v[d.client]
	} else if resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("%s: %s %s", d.name, resp.Status, b)
	}
	if have != d.acked && have != d.sent {
		return fmt.Errorf("%s has %d characters, %d were acknowledged and %d sent", d.name, have, d.acked, d.sent)
	}
	d.acked, d.sent = have, have
	return nil
}

func post(ctx context.Context, url string, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp, nil
}
