package ingest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"yjet/internal/yjs"
)

// Somebody with rights in NATS purges a stream, or a document's subject, under a server that has it open.
func TestPurgedDocumentIsStoredAgainFromItsRoom(t *testing.T) {
	for name, folded := range map[string]bool{"never folded": false, "folded": true} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			ctx := context.Background()
			a, b := w.open("/purged"), w.open("/purged")
			a.send(edit(insert(1, 0, "kept")))
			b.has(1, 4)
			if folded {
				if _, err := w.snap.Fold(ctx, "purged"); err != nil {
					t.Fatal(err)
				}
			}
			b.send(edit(insert(2, 0, "too")))
			a.has(2, 3)
			// Its writer goes, and does not bring it back.
			a.leave()

			js, err := jetstream.New(w.nats.Connect())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"YDOC_00", "YDOC_01"} {
				s, err := js.Stream(ctx, name)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Purge(ctx); err != nil {
					t.Fatal(err)
				}
			}
			// The next edit shows that nothing is before it.
			b.send(edit(insert(2, 3, "!")))
			if got := b.code(); got != 1013 {
				t.Errorf("close code: got %d, want 1013: nobody deleted the document", got)
			}
			// While the room that stored it again ends, others are asked to come again.
			var c *client
			eventually(t, 30*time.Second, "client let in", func() bool {
				c = w.dial("/purged")
				c.send(step1(nil))
				in := false
				c.wait("close", func() bool {
					in = c.count(yjs.MsgSync, yjs.SyncStep2) > 0
					return in || c.closed
				})
				return in || c.code() != 1013
			})
			c.has(1, 4)
			c.has(2, 4)
			if log := w.out.String(); !strings.Contains(log, "was not erased") {
				t.Errorf("nothing is said of it in the log:\n%s", log)
			}
		})
	}
}
