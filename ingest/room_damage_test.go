package ingest

import (
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
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
			c := w.open("/purged")
			c.has(1, 4)
			c.has(2, 4)
			if log := w.out.String(); !strings.Contains(log, "was not erased") {
				t.Errorf("nothing is said of it in the log:\n%s", log)
			}
		})
	}
}
