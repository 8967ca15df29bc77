package ingest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"yjet/auth"
	"yjet/stream"
)

// Every route of the HTTP API, asked with tickets of every right, on the ticket's document and on another. A ticket has the rights it
// names on the document it names; for the whole server it speaks for nobody, its user included.
func TestTicketHasTheRightsItNamesAndNoOthersAtEveryRoute(t *testing.T) {
	const never = auth.ReadWriteDelete + 1
	update := string(insert(7, 0, "x"))
	routes := []struct {
		method, path, body string // {doc} stands for the document
		need               auth.Mode
	}{
		{"GET", "/api/docs", "", never},
		{"GET", "/api/docs?prefix={doc}", "", never},
		{"DELETE", "/api/sessions?user=carol&for=8784h", "", never},
		{"DELETE", "/api/sessions?user=carol&doc={doc}", "", never},
		{"DELETE", "/api/sessions?session=session-of-carol", "", never},
		{"DELETE", "/api/sessions?doc={doc}", "", never},
		{"POST", "/api/sessions/recheck?user=carol", "", never},
		{"POST", "/api/docs/{doc}/token", `{"access":"r"}`, never},
		{"POST", "/api/docs/{doc}/token", `{"access":"rw","user":"carol"}`, never},
		{"POST", "/doc/{doc}/auth", `{}`, never},
		{"GET", "/api/docs/{doc}", "", auth.Read},
		{"HEAD", "/api/docs/{doc}", "", auth.Read},
		{"GET", "/api/docs/{doc}?format=json", "", auth.Read},
		{"GET", "/api/docs/{doc}/presence", "", auth.Read},
		{"GET", "/api/docs/{doc}/history", "", auth.Read},
		{"GET", "/api/docs/{doc}/log", "", auth.Read},
		{"GET", "/api/docs/{doc}/authors", "", auth.Read},
		{"GET", "/api/docs/{doc}/diff?from=0", "", auth.Read},
		{"GET", "/api/docs/{doc}/versions", "", auth.Read},
		{"GET", "/api/docs/{doc}/export", "", auth.Read},
		{"POST", "/api/docs/{doc}/copy", `{"to":"third"}`, never},
		{"POST", "/api/docs/{doc}", update, auth.ReadWrite},
		{"POST", "/api/docs/{doc}/versions", `{"name":"v"}`, auth.ReadWrite},
		{"DELETE", "/api/docs/{doc}/versions/nothing", "", auth.ReadWrite},
		{"POST", "/api/docs/{doc}/restore", `{"at":"v"}`, auth.ReadWrite},
		{"POST", "/api/docs/{doc}/import", "", auth.ReadWrite},
		{"DELETE", "/api/docs/{doc}", "", auth.ReadWriteDelete},
	}
	open := func(_ *Options, o *auth.Options, _ *stream.Config) { *o = auth.Options{Mode: "none"} }
	for name, setting := range map[string]setting{"with logins": logins, "without logins": open} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setting)
			carol := token("carol", time.Hour)
			for _, doc := range []string{"mine", "other"} {
				if code, body := w.request("POST", "/api/docs/"+doc, carol, string(insert(5, 0, "begun"))); code != 204 {
					t.Fatalf("begin %s: got %d %s", doc, code, body)
				}
			}
			for _, mode := range []auth.Mode{auth.Read, auth.ReadWrite, auth.ReadWriteDelete} {
				ticket, err := w.srv.o.Auth.TicketFor(auth.Grant{User: "carol", Session: "session-of-carol", Mode: mode}, "mine", time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range routes {
					for _, doc := range []string{"other", "mine"} {
						path := strings.ReplaceAll(r.path, "{doc}", doc)
						code, body := w.request(r.method, path, ticket, r.body)
						denied := code == http.StatusForbidden || code == http.StatusUnauthorized
						allowed := doc == "mine" && mode >= r.need
						if denied == allowed || code >= 500 {
							t.Errorf("ticket %s on mine: %s %s: got %d %s, want allowed %v", mode, r.method, path, code, body, allowed)
						}
					}
				}
				// None of it has ended a session of carol's.
				if code, body := w.request("GET", "/api/docs/other", carol, ""); code != 200 {
					t.Fatalf("carol's own token, after a ticket %s of hers went round: got %d %s", mode, code, body)
				}
			}
		})
	}
}

func TestDeletingTakesMoreThanWriting(t *testing.T) {
	w := start(t, func(_ *Options, o *auth.Options, _ *stream.Config) {
		*o = auth.Options{Mode: "jwt", Secret: rightsSecret}
	})
	docs := func(list ...string) string {
		return token("ada", time.Hour, "app_metadata", map[string]any{"docs": list})
	}
	writer, deleter := docs("doc:a:rw"), docs("doc:a:rwd")
	if code, body := w.request("POST", "/api/docs/a", writer, string(insert(5, 0, "text"))); code != 204 {
		t.Fatalf("write: got %d %s", code, body)
	}
	if code, body := w.request("DELETE", "/api/docs/a", writer, ""); code != 403 || !strings.Contains(body, "may-not-delete") {
		t.Errorf("a writer deletes: got %d %s, want 403 may-not-delete", code, body)
	}
	if code, body := w.request("POST", "/api/docs/a", deleter, string(insert(6, 0, "more"))); code != 204 {
		t.Errorf("a deleter writes: got %d %s, want 204", code, body)
	}
	if code, body := w.request("DELETE", "/api/docs/a", deleter, ""); code != 204 {
		t.Errorf("a deleter deletes: got %d %s, want 204", code, body)
	}
	w.request("POST", "/api/docs/b", w.admin(), string(insert(5, 0, "text")))
	if code, body := w.request("DELETE", "/api/docs/b", w.admin(), ""); code != 204 {
		t.Errorf("an administrator deletes: got %d %s, want 204", code, body)
	}
}
