package ingest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
)

// grown is one map item each in so many roots, by as many clients: the shape that each bound of a document concerns.
func grown(n int) []byte {
	b := yjs.AppendUvarint(nil, uint64(n))
	for i := n; i > 0; i-- {
		b = yjs.AppendUvarint(append(b, 1), uint64(i))
		b = yjs.AppendVarString(append(b, 0, yjs.RefDoc, 1), fmt.Sprint("root", i))
		b = append(b, 1, 'g', 118, 0)
	}
	return append(b, 0)
}

func TestDocumentsNearABoundAreTold(t *testing.T) {
	size := len(grown(9))
	for _, c := range []struct {
		bound  string
		set    func(*Limits)
		update []byte
		more   []byte // over the bound
		reason string
	}{
		{"bytes", func(l *Limits) { l.Document = size }, grown(9), nil, ""},
		{"clients", func(l *Limits) { l.Shape.Clients = 10 }, grown(9), grown(11), "too-many-clients-ever"},
		{"root-work", func(l *Limits) { l.Shape.RootWork = 100 }, grown(9), grown(11), "too-many-roots"},
		{"sub-documents", func(l *Limits) { l.Shape.SubDocs = 10 }, grown(9), grown(11), "too-many-sub-documents"},
		{"depth", func(l *Limits) { l.Shape.Depth = 10 }, nested(1, 0, 10), nested(1, 10, 2), "document-too-deep"},
	} {
		t.Run(c.bound, func(t *testing.T) {
			w := start(t, limits(c.set))
			_, _, h := w.ask("POST", "/api/docs/near", c.update)
			if got := h.Get("Yjet-Warning"); !strings.HasPrefix(got, "near-bound; bound="+c.bound+"; used=") {
				t.Errorf("POST: got the warning %q, want that of %s", got, c.bound)
			}
			if _, _, h := w.ask("POST", "/api/docs/far", emptyUpdate); h.Get("Yjet-Warning") != "" {
				t.Errorf("another document: got the warning %q, want none", h.Get("Yjet-Warning"))
			}
			if _, _, h := w.ask("GET", "/api/docs/near", nil); !strings.Contains(h.Get("Yjet-Warning"), c.bound) {
				t.Errorf("GET: got the warning %q, want that of %s", h.Get("Yjet-Warning"), c.bound)
			}
			for i := range 3 {
				w.srv.rooms.tick(time.Now().Add(time.Duration(i) * time.Second))
			}
			line := "near a bound"
			if got := strings.Count(w.out.String(), line); got != 1 || !strings.Contains(w.out.String(), "bound="+c.bound) {
				t.Errorf("got %d log lines, want one of %s:\n%s", got, c.bound, w.out)
			}
			if code, body, _ := w.ask("GET", "/health", nil); code != 200 || !strings.Contains(body, `"documentsNearBound":{"`+c.bound+`":1}`) || !strings.Contains(body, `"nearBound":[{"doc":"near","bound":"`+c.bound+`"`) {
				t.Errorf("/health: got %d %s", code, body)
			}
			if c.more == nil {
				return
			}
			if code, body, _ := w.ask("POST", "/api/docs/near", c.more); code != 413 || !strings.Contains(body, `"`+c.reason+`"`) {
				t.Errorf("over the bound: got %d %s, want 413 %s", code, body, c.reason)
			}
			a := w.open("/near?json") // it reads, and may delete
			a.send(edit(c.more))
			a.wait("the reason", func() bool {
				for _, f := range a.frames {
					if f.text && strings.Contains(string(f.data), c.reason) {
						return true
					}
				}
				return false
			})
			b := w.open("/near")
			a.send(edit([]byte{0, 1, 1, 1, 0, 1}))
			b.wait("the delete", func() bool { return b.state().Deletes().Contains(1, 0, 1) })
		})
	}
}

func TestHealthNamesDocumentsToAdministratorsAlone(t *testing.T) {
	w := start(t, logins, limits(func(l *Limits) { l.Shape.Clients = 10 }))
	if code, body, _ := w.ask("POST", "/api/docs/secret", grown(9), "Authorization: Bearer "+token("ada", time.Hour)); code != 204 {
		t.Fatalf("got %d %s", code, body)
	}
	w.srv.rooms.tick(time.Now())
	for _, h := range [][]string{nil, {"Authorization: Bearer " + token("ada", time.Hour)}} {
		if _, body, _ := w.ask("GET", "/health", nil, h...); strings.Contains(body, "secret") || !strings.Contains(body, `"documentsNearBound":{"clients":1}`) {
			t.Errorf("got %s, want the count and no name", body)
		}
	}
}
