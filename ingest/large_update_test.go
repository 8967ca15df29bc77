package ingest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/yjs"
)

// send posts a body of any size and returns the status and the answer.
func (w *world) send(method, path string, body []byte) (int, []byte) {
	w.t.Helper()
	req, err := http.NewRequest(method, w.http.URL+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.http.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// A document that is larger than one message may be can be read, posted, copied and joined, and comes out as it went in.
func TestWhatTheServerHoldsCanBePostedBack(t *testing.T) {
	sizes, bounds := []int{3 << 20}, smallMessages
	if os.Getenv("YJET_LONG") != "" { // with the bounds that a server has by default
		sizes, bounds = []int{30 << 20, 50 << 20}, func(*Limits) {}
	}
	w := start(t, limits(bounds))
	for _, size := range sizes {
		t.Run(fmt.Sprint(size>>20, " MiB"), func(t *testing.T) {
			name := func(s string) string { return fmt.Sprint("/api/docs/", s, "-", size) }
			want := insert(7, 0, strings.Repeat("0123456789abcdef", size/16))
			if code, answer := w.send("POST", name("first"), want); code != http.StatusNoContent {
				t.Fatalf("the first POST: %d %s", code, answer)
			}
			_, got := w.send("GET", name("first"), nil)
			if code, answer := w.send("POST", name("second"), got); code != http.StatusNoContent {
				t.Fatalf("what GET answered, posted: %d %s", code, answer)
			}
			if code, answer := w.send("POST", name("second")+"/copy", fmt.Appendf(nil, `{"to":"third-%d"}`, size)); code != http.StatusCreated {
				t.Fatalf("the copy: %d %s", code, answer)
			}
			code, file := w.send("GET", name("third")+"/export", nil)
			if code != http.StatusOK {
				t.Fatalf("the export: %d", code)
			}
			if code, answer := w.send("POST", name("fourth")+"/import", file); code != http.StatusCreated {
				t.Fatalf("the import: %d %s", code, answer)
			}
			if _, got = w.send("GET", name("fourth"), nil); !bytes.Equal(got, want) {
				t.Errorf("after POST, copy, export and import there are %d bytes, want the %d that went in", len(got), len(want))
			}
			w.dial(fmt.Sprint("/fourth-", size)).joins(7, uint64(size))
		})
	}
}

// joins sends a step 1 and waits for the structs of a client.
func (c *client) joins(id, units uint64) {
	c.t.Helper()
	c.send(step1(nil))
	c.waitFor(time.Minute, "the document", func() bool { return c.state().Structs().Prefix(id) >= units })
}

// smallMessages has messages of 1 MiB and documents of 4.
func smallMessages(l *Limits) { l.Message, l.Document = 1<<20, 4<<20 }

// A stock client cannot cut what it sends: an offline day, or a document that it brings, is one step 2.
func TestALargeFirstSyncGetsInByEveryDialect(t *testing.T) {
	w := start(t, quick, limits(smallMessages))
	const size = 3 << 20
	update := insert(1, 0, strings.Repeat("x", size))
	for _, d := range []struct {
		name string
		send func(doc string)
	}{
		{"y-websocket", func(doc string) { w.open("/" + doc).send(yjs.AppendSync(nil, yjs.SyncStep2, update)) }},
		{"Y-Sweet", func(doc string) { w.open("/d/" + doc + "/ws/" + doc).send(edit(update)) }},
		{"Hocuspocus", func(doc string) {
			w.dial("/").send(hpAuth(doc, ""), hpSync(doc, yjs.SyncStep1, []byte{0}), hpSync(doc, yjs.SyncStep2, update))
		}},
		{"y-partykit", func(doc string) {
			c, message := w.open("/parties/main/"+doc+"?_pk=1"), edit(update)
			mark := func(kind string) {
				c.say(fmt.Sprintf(`y-pk-batch#{"id":"z","type":"%s","size":%d,"count":4}`, kind, len(message)))
			}
			mark("start")
			for piece := range slices.Chunk(message, 1_000_000) {
				c.send(piece)
			}
			mark("end")
		}},
	} {
		t.Run(d.name, func(t *testing.T) {
			doc := strings.ToLower(d.name)
			d.send(doc)
			other := w.open("/" + doc)
			other.waitFor(time.Minute, "the content", func() bool { return other.state().Structs().Prefix(1) == size })
		})
	}
	w.srv.inbound.mu.Lock()
	defer w.srv.inbound.mu.Unlock()
	if n := w.srv.inbound.held; n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

func TestWhatIsLargerThanADocumentMayBeIsRefusedWithTheFlagThatBoundsIt(t *testing.T) {
	w := start(t, quick, limits(smallMessages))
	most := w.srv.limits.largest()
	code, answer := w.send("POST", "/api/docs/large", make([]byte, most+1))
	if code != http.StatusRequestEntityTooLarge || !bytes.Contains(answer, []byte("message-too-large")) || !bytes.Contains(answer, []byte("--max-document")) {
		t.Errorf("POST: %d %s", code, answer)
	}
	if got := sendAndClose(w.open("/large"), edit(make([]byte, most))); got != 4413 {
		t.Errorf("an update over a socket: close code %d, want 4413", got)
	}
	presence := yjs.AppendVarBytes([]byte{yjs.MsgAwareness}, make([]byte, 1<<20))
	if got := sendAndClose(w.open("/large"), presence); got != 4413 {
		t.Errorf("presence above --max-message: close code %d, want 4413", got)
	}
	c := w.dial("/")
	c.send(hpAuth("a", ""), hpSync("a", yjs.SyncStep1, []byte{0}))
	c.hpHas("step 2", hpSync("a", yjs.SyncStep2, emptyUpdate))
	if got := sendAndClose(c, hpSync("unknown", yjs.SyncUpdate, make([]byte, 2<<20))); got != 1009 {
		t.Errorf("an update of a document that the socket has not opened: close code %d, want 1009", got)
	}
	if n := read(w.srv.metrics.refusals.WithLabelValues("message-too-large")); n != 4 {
		t.Errorf("%d refusals are counted, want 4", n)
	}
}

// sendAndClose sends a message while reading goes on, and answers the close code.
func sendAndClose(c *client, b []byte) int {
	go c.ws.WriteMessage(websocket.BinaryMessage, b) // the server may close before all of it is written
	return c.code()
}

// A document that is nearly full takes what a client sends of it again with little that is new, and not what makes it twice as large.
func TestALargeUpdateCountsByWhatIsNewInIt(t *testing.T) {
	w := start(t, quick, limits(smallMessages))
	if code, answer := w.send("POST", "/api/docs/near", insert(1, 0, strings.Repeat("x", 4<<20-100))); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, answer)
	}
	if code, answer := w.send("POST", "/api/docs/near", insert(1, 0, strings.Repeat("x", 4<<20))); code != http.StatusNoContent {
		t.Errorf("the same and 100 letters: %d %s", code, answer)
	}
	code, answer := w.send("POST", "/api/docs/near", insert(2, 0, strings.Repeat("y", 3<<20)))
	if code != http.StatusRequestEntityTooLarge || !bytes.Contains(answer, []byte("document-full")) {
		t.Errorf("as much again: %d %s", code, answer)
	}
}

// Memory is counted as bytes arrive: a header that announces many costs nothing.
func TestAnAnnouncedBodyTakesNoMemoryBeforeItArrives(t *testing.T) {
	w := start(t)
	conn, err := net.Dial("tcp", w.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	held := func() int64 { w.srv.inbound.mu.Lock(); defer w.srv.inbound.mu.Unlock(); return w.srv.inbound.held }
	fmt.Fprintf(conn, "POST /api/docs/announced HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 60<<20)
	conn.Write(make([]byte, 1<<20))
	eventually(t, 10*time.Second, "what has arrived to be counted", func() bool { return held() > 256<<10 })
	if n := held(); n > 4<<20 {
		t.Errorf("%d bytes are counted for the mebibyte that arrived", n)
	}
	conn.Close()
	eventually(t, 10*time.Second, "the count to be given back", func() bool { return held() == 0 })
}
