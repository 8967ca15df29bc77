package e2e

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// frame is a y-websocket Update message.
func frame(update []byte) []byte {
	b := []byte{0, 2}
	n := uint64(len(update))
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(append(b, byte(n)), update...)
}

// The corpus of malformed updates, each sent by a stranger of its own into one document that people have open.
// Stock Yjs is the judge: no client throws, and a fresh one still gets the whole document. (What Yjs takes may be
// refused: numbers beyond 2^53-1 and items that are their own neighbours.)
func TestMalformedUpdatesHurtNobody(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../internal/yjs/testdata/vectors/malformed.json")
	if err != nil {
		t.Fatal(err)
	}
	var corpus struct {
		Cases []struct{ Name, Bytes, Want string }
	}
	unmarshal(t, b, &corpus)
	s := startDev(t)
	d := newDriver(t)
	for _, kind := range []string{"yws31", "hp4", "ysw", "ypk"} {
		d.open(s, kind, kind, "hostile")
	}
	d.edit("yws31", []any{"text", "append", "what people wrote"}, []any{"map", "set", "k", "v"})
	d.do("saved", M{"client": "yws31"})
	d.converge("yws31", "hp4", "ysw", "ypk")

	// An update that names itself as its own neighbour, under a high client id: merges, and breaks every new client.
	corpus.Cases = append(corpus.Cases, struct{ Name, Bytes, Want string }{"own-neighbour-high-id", "AQH6////DwCE+v///w8AAXgA", "error"})
	if len(corpus.Cases) < 100 {
		t.Fatalf("the corpus holds %d cases", len(corpus.Cases))
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 24)
	for _, c := range corpus.Cases {
		update, err := base64.StdEncoding.DecodeString(c.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			code, err := sendFrame(s, "/hostile", frame(update))
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			if c.Want == "error" && code != 4400 {
				t.Errorf("%s: closed with %d, want 4400", c.Name, code)
			}
		})
	}
	wg.Wait()

	for _, kind := range []string{"yws31", "hp4", "ysw", "ypk"} {
		d.edit(kind, []any{"text", "append", " " + kind})
		d.do("saved", M{"client": kind})
	}
	d.open(s, "fresh", "yws31", "hostile")
	d.open(s, "fresh21", "yws21", "hostile")
	for _, c := range []string{"fresh", "fresh21"} {
		text := ask[string](d, "text", M{"client": c})
		for _, want := range []string{"what people wrote", "yws31", "hp4", "ysw", "ypk"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s holds %q, want %q in it", c, text, want)
			}
		}
	}
	rebuild(t, s.nats, "hostile")
}

// sendFrame connects as y-websocket does, sends one frame and answers the close code; 0 if the server kept the
// connection.
func sendFrame(s *server, path string, frame []byte) (int, error) {
	ws, _, err := websocket.DefaultDialer.Dial("ws://"+s.host+path, nil)
	if err != nil {
		return 0, err
	}
	defer ws.Close()
	if err := ws.WriteMessage(websocket.BinaryMessage, []byte{0, 0, 1, 0}); err != nil {
		return 0, err
	}
	if err := ws.WriteMessage(websocket.BinaryMessage, frame); err != nil {
		return 0, err
	}
	// A question behind it: its echo says that the frame was taken and is stored.
	if err := ws.WriteMessage(websocket.BinaryMessage, []byte{102, 1, 1}); err != nil {
		return 0, err
	}
	ws.SetReadDeadline(time.Now().Add(6 * time.Second))
	for {
		_, b, err := ws.ReadMessage()
		if err != nil {
			var closed *websocket.CloseError
			if errors.As(err, &closed) {
				return closed.Code, nil
			}
			if strings.Contains(err.Error(), "timeout") {
				return 0, nil
			}
			return 0, err
		}
		if len(b) == 3 && b[0] == 102 {
			return 0, nil
		}
	}
}

// Frames cut short at every byte, unknown types, a wrong first frame: the right code, and the process lives.
func TestBrokenFramesAreRefused(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	d := newDriver(t)
	d.open(s, "a", "yws31", "frames")
	d.edit("a", []any{"text", "append", "kept"})
	d.do("saved", M{"client": "a"})
	update, err := base64.StdEncoding.DecodeString(ask[string](d, "update", M{"client": "a"}))
	if err != nil {
		t.Fatal(err)
	}
	whole := frame(update)
	var wg sync.WaitGroup
	for n := 1; n < len(whole); n++ {
		wg.Go(func() {
			if code, err := sendFrame(s, "/frames", whole[:n]); err != nil || code != 4400 {
				t.Errorf("a frame cut to %d of %d bytes: closed with %d, %v; want 4400", n, len(whole), code, err)
			}
		})
	}
	wg.Wait()
	d.edit("a", []any{"text", "append", " alive"})
	d.do("saved", M{"client": "a"})
	d.open(s, "b", "yws31", "frames")
	if got := ask[string](d, "text", M{"client": "b"}); got != "kept alive" {
		t.Errorf("the document holds %q, want %q", got, "kept alive")
	}
	var health json.RawMessage
	s.getJSON("/health", &health)
}
