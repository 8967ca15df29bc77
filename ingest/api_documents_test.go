package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
)

// as makes a request with a token and decodes the JSON answer into into, which may be nil.
func (w *world) as(bearer, method, path, body string, want int, into any) {
	w.t.Helper()
	code, out := w.request(method, path, bearer, body)
	if code != want {
		w.t.Fatalf("%s %s: got %d %s, want %d", method, path, code, out, want)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(out), into); err != nil {
			w.t.Fatalf("%s %s: %v in %s", method, path, err, out)
		}
	}
}

// A docPage is a page of GET /api/docs.
type docPage struct {
	Docs []struct {
		ID, Subject    string
		Bytes, Updates int
		Sessions       int
		Seq            uint64
		LastEdit       time.Time
	}
	Next string
}

// pages reads a list to its end and checks that no page holds more than it should.
func (w *world) pages(bearer, query string, limit int) (ids []string) {
	w.t.Helper()
	for after := ""; ; {
		var p docPage
		w.as(bearer, "GET", fmt.Sprintf("/api/docs?limit=%d&after=%s&%s", limit, url.QueryEscape(after), query), "", 200, &p)
		if len(p.Docs) > limit {
			w.t.Fatalf("a page of %d has %d documents", limit, len(p.Docs))
		}
		for _, d := range p.Docs {
			ids = append(ids, d.ID)
		}
		if p.Next == "" {
			return ids
		}
		if p.Next <= after {
			w.t.Fatalf("the page after %q goes on at %q", after, p.Next)
		}
		after = p.Next
	}
}

func TestAListShowsEachCallerTheirOwnDocumentsPageByPage(t *testing.T) {
	w := ruled(t)
	want := map[string][]string{}
	for i, user := range []string{"ada", "bob", "ada", "bob", "bob", "ada", "ada"} {
		doc := fmt.Sprintf("users/%s/%d", user, i)
		w.as(token(user, time.Hour), "POST", "/api/docs/"+url.PathEscape(doc), string(insert(1, 0, "x")), 204, nil)
		want[user] = append(want[user], doc)
	}
	w.as(w.admin(), "POST", "/api/docs/handbook", string(insert(1, 0, "x")), 204, nil)
	all := append(append([]string{"handbook"}, want["ada"]...), want["bob"]...)
	slices.Sort(all)
	for _, limit := range []int{1, 2, 3, 1000} {
		for _, c := range []struct {
			bearer, query string
			want          []string
		}{
			{token("ada", time.Hour), "", append([]string{"handbook"}, want["ada"]...)},
			{token("bob", time.Hour), "", append([]string{"handbook"}, want["bob"]...)},
			{token("eve", time.Hour), "", []string{"handbook"}},
			{token("eve", time.Hour), "prefix=users/", nil},
			{token("bob", time.Hour), "prefix=users/bob/3", []string{"users/bob/3"}},
			{w.admin(), "", all},
			{w.admin(), "prefix=users/", all[1:]},
			{w.admin(), "prefix=zzz", nil},
		} {
			got := w.pages(c.bearer, c.query, limit)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s by %d: got %v, want %v", c.query, limit, got, c.want)
			}
		}
	}
}

func TestAListedDocumentTellsItsSizeItsEditsAndItsSessions(t *testing.T) {
	w := start(t)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	for i := range 3 {
		w.writes("listed", d, 1, func(t yjs.Text) error { return t.Insert(i, "x", nil) })
	}
	look := func() docPage {
		t.Helper()
		var p docPage
		w.call("GET", "/api/docs?prefix=listed", "", 200, &p)
		if len(p.Docs) != 1 {
			t.Fatalf("got %+v, want the document", p)
		}
		return p
	}
	before := look().Docs[0]
	if before.Updates != 3 || before.Bytes < 10 || before.Sessions != 0 || time.Since(before.LastEdit) > time.Minute || before.Seq == 0 {
		t.Errorf("got %+v, want 3 updates and no session", before)
	}
	c := w.open("/listed")
	if got := look().Docs[0]; got.Sessions != 1 {
		t.Errorf("with a client: got %+v, want 1 session", got)
	}
	c.leave()
	eventually(t, waitLong, "nobody is counted", func() bool { return look().Docs[0].Sessions == 0 })
	// A fold takes records out of the log; the list goes on counting them.
	if _, err := w.snap.Fold(t.Context(), "listed"); err != nil {
		t.Fatal(err)
	}
	last := w.writes("listed", d, 1, func(t yjs.Text) error { return t.Insert(0, "y", nil) })
	if got := look().Docs[0]; got.Updates != 4 || got.Seq != uint64(last) {
		t.Errorf("after a fold and an edit: got %+v, want 4 updates up to %d", got, last)
	}
}

func TestHistoryIsReadPageByPageBetweenTwoMoments(t *testing.T) {
	w := start(t, logins)
	const path = "/api/docs/story"
	d := yjs.NewDocument(yjs.DocumentOptions{})
	var seqs []uint64
	for i := range 7 {
		user := []string{"ada", "bob"}[i/3%2]
		u, err := d.Edit(uint64(1+i/3%2), func(tx *yjs.Tx) error { return tx.Text("t").Insert(i, fmt.Sprint(i), nil) })
		if err != nil {
			t.Fatal(err)
		}
		w.as(token(user, time.Hour), "POST", path, string(u), 204, nil)
		records := w.records("story")
		seqs = append(seqs, uint64(records[len(records)-1].Seq))
	}
	ada := token("ada", time.Hour)
	type page struct {
		Entries []struct {
			First, Last uint64
			Records     int
			Users       []string
		}
		Next uint64
	}
	check := func() {
		t.Helper()
		var got []uint64
		before := ""
		for range 10 {
			var p page
			w.as(ada, "GET", path+"/history?group=none&limit=3"+before, "", 200, &p)
			for _, e := range p.Entries {
				if got = append(got, e.Last); e.First != e.Last || e.Records != 1 {
					t.Errorf("an entry of one record: got %+v", e)
				}
			}
			if p.Next == 0 {
				break
			}
			before = fmt.Sprint("&before=", p.Next)
		}
		want := slices.Clone(seqs)
		slices.Reverse(want)
		if !slices.Equal(got, want) {
			t.Errorf("page by page: got %v, want %v, newest first and each once", got, want)
		}
		var p page
		w.as(ada, "GET", path+"/history?group=author", "", 200, &p)
		if len(p.Entries) != 3 || !slices.Equal(p.Entries[1].Users, []string{"bob"}) || p.Entries[1].Records != 3 {
			t.Errorf("by author: got %+v, want ada, bob and ada", p.Entries)
		}
		w.as(ada, "GET", fmt.Sprintf("%s/history?group=none&from=%d&to=%d", path, seqs[1], seqs[3]), "", 200, &p)
		if len(p.Entries) != 3 || p.Entries[0].Last != seqs[3] || p.Entries[2].First != seqs[1] {
			t.Errorf("between two sequences: got %+v, want both ends", p.Entries)
		}
		code, lines := w.request("GET", fmt.Sprintf("%s/log?from=%d&to=%d", path, seqs[1], seqs[3]), ada, "")
		var users []string
		for line := range strings.Lines(lines) {
			var rec struct {
				User   string
				Seq    uint64
				Update []byte
			}
			if err := json.Unmarshal([]byte(line), &rec); err != nil || new(yjs.Update).Parse(rec.Update, recordLimits) != nil {
				t.Fatalf("a line of the log: got %s %v", line, err)
			}
			users = append(users, rec.User)
		}
		if code != 200 || !slices.Equal(users, []string{"ada", "ada", "bob"}) {
			t.Errorf("the log between two sequences: got %d %v, want ada, ada, bob", code, users)
		}
		if code, lines := w.request("GET", path+"/log?from=1h&to=1h", ada, ""); code != 200 || lines != "" {
			t.Errorf("the log of an hour ago: got %d %q, want nothing", code, lines)
		}
		var authors struct {
			Runs []struct{ Text, User string }
		}
		w.as(ada, "GET", fmt.Sprintf("%s/authors?type=t&at=%d", path, seqs[4]), "", 200, &authors)
		if len(authors.Runs) != 2 || authors.Runs[0].Text != "012" || authors.Runs[0].User != "ada" || authors.Runs[1].Text != "34" || authors.Runs[1].User != "bob" {
			t.Errorf("authors at a moment: got %+v, want 012 of ada and 34 of bob", authors.Runs)
		}
		var diff struct {
			From, To uint64
			Types    map[string][]struct{ Op, Text, User string }
		}
		w.as(ada, "GET", fmt.Sprintf("%s/diff?from=%d&to=%d", path, seqs[1], seqs[3]), "", 200, &diff)
		if got := fmt.Sprint(diff.Types["t"]); diff.From != seqs[1] || diff.To != seqs[3] || got != "[{keep 01 } {insert 2 ada} {insert 3 bob}]" {
			t.Errorf("the difference of two moments: got %d to %d %s", diff.From, diff.To, got)
		}
		w.as(ada, "GET", fmt.Sprintf("%s/diff?from=%d&to=%d", path, seqs[3], seqs[1]), "", 200, &diff)
		if got := fmt.Sprint(diff.Types["t"]); got != "[{keep 01 } {delete 2 ada} {delete 3 bob}]" {
			t.Errorf("the difference backwards: got %s, want what was added as deleted", got)
		}
	}
	check()
	if _, err := w.snap.Fold(t.Context(), "story"); err != nil {
		t.Fatal(err)
	}
	check()
}

func TestVersionsRestoreAndCopyTakeAnyMoment(t *testing.T) {
	w := start(t, logins)
	const path = "/api/docs/draft"
	ada, bob := token("ada", time.Hour), token("bob", time.Hour)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	write := func(bearer string, client uint64, at int, s string) uint64 {
		t.Helper()
		u, err := d.Edit(client, func(tx *yjs.Tx) error { return tx.Text("t").Insert(at, s, nil) })
		if err != nil {
			t.Fatal(err)
		}
		w.as(bearer, "POST", path, string(u), 204, nil)
		list := w.records("draft")
		return uint64(list[len(list)-1].Seq)
	}
	one := write(ada, 1, 0, "one")
	two := write(bob, 2, 3, " two")
	text := func(doc, query string) string {
		t.Helper()
		code, body := w.request("GET", "/api/docs/"+doc+"?format=text&type=t"+query, ada, "")
		if code != 200 {
			t.Fatalf("%s%s: got %d %s", doc, query, code, body)
		}
		return body
	}
	var v struct {
		Name, User string
		Seq        uint64
	}
	w.as(bob, "POST", path+"/versions", fmt.Sprintf(`{"name":"érste Fassung/1","at":"%d"}`, one), 201, &v)
	if v.Name != "érste Fassung/1" || v.Seq != one || v.User != "bob" {
		t.Errorf("a version: got %+v, want it at %d by bob", v, one)
	}
	w.as(ada, "POST", path+"/versions", `{"name":"now then"}`, 201, &v)
	if v.Seq != two || v.User != "ada" {
		t.Errorf("a version of the present: got %+v, want it at %d by ada", v, two)
	}
	if got := text("draft", "&at="+url.QueryEscape("érste Fassung/1")); got != "one" {
		t.Errorf("at the version: got %q, want one", got)
	}
	for moment, want := range map[string]string{fmt.Sprint(one): "one", fmt.Sprintf("%q", fmt.Sprint(one)): "one", `"érste Fassung/1"`: "one", `"now then"`: "one two", `"0001-01-01T00:00:00Z"`: ""} {
		to := fmt.Sprint("copy-", len(moment))
		var done struct {
			Doc string
			Seq uint64
		}
		w.as(bob, "POST", path+"/copy", fmt.Sprintf(`{"to":%q,"at":%s}`, to, moment), 201, &done)
		if got := text(to, ""); done.Doc != to || done.Seq == 0 || got != want {
			t.Errorf("a copy of %s: got %q %+v, want %q", moment, got, done, want)
		}
		w.as(bob, "DELETE", path+"/versions/none", "", 404, nil)
		w.as(w.admin(), "DELETE", "/api/docs/"+to, "", 204, nil)
	}
	var done struct {
		Seq     uint64
		Changed bool
	}
	for _, c := range []struct{ at, want string }{{fmt.Sprint(one), "one"}, {`"now then"`, "one two"}, {`"0001-01-01T00:00:00Z"`, ""}, {fmt.Sprint(two), "one two"}} {
		w.as(bob, "POST", path+"/restore", `{"at":`+c.at+`}`, 200, &done)
		if got := text("draft", ""); !done.Changed || got != c.want {
			t.Errorf("restored to %s: got %q %+v, want %q", c.at, got, done, c.want)
		}
	}
	// The past stays as it was, under its own sequences.
	if got := text("draft", fmt.Sprint("&at=", one)); got != "one" {
		t.Errorf("the first moment after four restores: got %q, want one", got)
	}
	w.as(ada, "DELETE", path+"/versions/"+url.PathEscape("érste Fassung/1"), "", 204, nil)
	var list struct{ Versions []struct{ Name string } }
	w.as(ada, "GET", path+"/versions", "", 200, &list)
	if len(list.Versions) != 1 || list.Versions[0].Name != "now then" {
		t.Errorf("versions after a deletion: got %+v, want the other one", list.Versions)
	}
}

func TestAnExportedFileBringsEverythingToAnotherServer(t *testing.T) {
	from, to := start(t, logins), start(t, logins)
	d := yjs.NewDocument(yjs.DocumentOptions{})
	for i, user := range []string{"ada", "bob", "ada"} {
		u, err := d.Edit(uint64(1+i%2), func(tx *yjs.Tx) error { return tx.Text("t").Insert(i, fmt.Sprint(i), nil) })
		if err != nil {
			t.Fatal(err)
		}
		from.as(token(user, time.Hour), "POST", "/api/docs/a%2Fb", string(u), 204, nil)
		if i == 1 {
			from.as(token("bob", time.Hour), "POST", "/api/docs/a%2Fb/versions", `{"name":"half"}`, 201, nil)
			if _, err := from.snap.Fold(t.Context(), "a/b"); err != nil {
				t.Fatal(err)
			}
		}
	}
	req, _ := http.NewRequest("GET", from.http.URL+"/api/docs/a%2Fb/export", nil)
	req.Header.Set("Authorization", "Bearer "+from.admin())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	file.ReadFrom(resp.Body)
	resp.Body.Close()
	if h := resp.Header; h.Get("Content-Type") != "application/x-ndjson" || h.Get("Content-Disposition") != `attachment; filename=a-b.yjet.jsonl` || h.Get("Cache-Control") != "no-store" {
		t.Errorf("the headers of an export: got %v", h)
	}
	var done struct{ Records, Versions, LeftOut int }
	to.as(to.admin(), "POST", "/api/docs/moved/import", file.String(), 201, &done)
	if done.Records != 3 || done.Versions != 1 || done.LeftOut != 0 {
		t.Errorf("imported: got %+v, want 3 records and 1 version", done)
	}
	var authors struct {
		Runs []struct{ Text, User string }
	}
	to.as(to.admin(), "GET", "/api/docs/moved/authors?type=t", "", 200, &authors)
	if got := fmt.Sprint(authors.Runs); got != "[{0 ada} {1 bob} {2 ada}]" {
		t.Errorf("authors on the other server: got %s, want who wrote it here", got)
	}
	if code, body := to.request("GET", "/api/docs/moved?format=text&type=t&at=half", to.admin(), ""); code != 200 || body != "01" {
		t.Errorf("the version on the other server: got %d %q, want 01", code, body)
	}
	// Merged in again it changes nothing, and a file that is cut changes nothing either.
	before := len(to.records("moved"))
	to.as(to.admin(), "POST", "/api/docs/moved/import?merge=yes", file.String(), 201, &done)
	for _, n := range []int{file.Len() / 3, file.Len() - 10} {
		to.as(to.admin(), "POST", fmt.Sprintf("/api/docs/cut-%d/import", n), file.String()[:n], 422, nil)
		if n := len(to.records(fmt.Sprintf("cut-%d", n))); n != 0 {
			t.Errorf("a file that is cut left %d records", n)
		}
	}
	if after := len(to.records("moved")); after != before {
		t.Errorf("a second import: got %d records, want still %d", after, before)
	}
}

func TestYSweetsSDKFindsItsRoutes(t *testing.T) {
	w := ruled(t)
	ada := token("ada", time.Hour)
	var store struct{ OK bool }
	w.as(ada, "POST", "/check_store", "", 200, &store)
	w.as("", "POST", "/check_store", "", 401, nil)
	var made struct{ DocID string }
	if w.as(ada, "POST", "/doc/new", `{"docId":"users/ada//x/"}`, 200, &made); !store.OK || made.DocID != "users/ada/x" {
		t.Errorf("a new document: got %+v, want its one name", made)
	}
	named := map[string]bool{}
	for range 3 {
		if w.as(ada, "POST", "/doc/new", "", 200, &made); len(made.DocID) < 20 || named[made.DocID] || strings.ToLower(made.DocID) != made.DocID {
			t.Errorf("a new document without a name: got %q, want one of its own", made.DocID)
		}
		named[made.DocID] = true
	}
	w.as("", "POST", "/doc/new", "", 401, nil)
	var full, reads clientToken
	w.as(ada, "POST", "/doc/users%2Fada%2Fx/auth", `{"validForSeconds":60}`, 200, &full)
	w.as(ada, "POST", "/d/users/ada/x/auth", `{"authorization":"read-only"}`, 200, &reads)
	if full.Authorization != "full" || reads.Authorization != "read-only" || full.DocID != "users/ada/x" || reads.DocID != full.DocID ||
		full.BaseURL != w.http.URL+"/d/users%2Fada%2Fx" || full.URL != "ws"+strings.TrimPrefix(full.BaseURL, "http")+"/ws" {
		t.Errorf("client tokens: got %+v and %+v", full, reads)
	}
	for _, body := range []string{`{"validForSeconds":-1}`, `{"validForSeconds":864000}`, `{"validForSeconds":"soon"}`} {
		w.as(ada, "POST", "/doc/users%2Fada%2Fx/auth", body, 400, nil)
	}
	var handbook clientToken
	if w.as(ada, "POST", "/doc/handbook/auth", `{"authorization":"full"}`, 200, &handbook); handbook.Authorization != "read-only" {
		t.Errorf("full rights on what may only be read: got %q, want read-only", handbook.Authorization)
	}
	// A document that was named and not edited yet is empty; what is written through a token of its own comes back.
	sdk := func(c clientToken, method, action string, body []byte, want int) string {
		t.Helper()
		code, out := w.request(method, strings.TrimPrefix(c.BaseURL, w.http.URL)+"/"+action, c.Token, string(body))
		if code != want {
			t.Errorf("%s %s as %s: got %d %s, want %d", method, action, c.Authorization, code, out, want)
		}
		return out
	}
	if got := sdk(full, "GET", "as-update", nil, 200); got != string(emptyUpdate) {
		t.Errorf("a new document: got %x, want an empty update", got)
	}
	sdk(reads, "POST", "update", insert(1, 0, "no"), 403)
	sdk(full, "POST", "update", insert(1, 0, "yes"), 204)
	if v, err := yjs.VectorOf([]byte(sdk(reads, "GET", "as-update", nil, 200))); err != nil || v[1] != 3 {
		t.Errorf("the state: got %v %v, want the 3 units", v, err)
	}
	c := w.open(strings.TrimPrefix(full.URL, w.url("")) + "/" + full.DocID + "?token=" + full.Token)
	c.has(1, 3)
	c.send(edit(insert(1, 3, "!")))
	c.has(1, 4)
	// An administrator's backend hands tokens out to users.
	var given clientToken
	w.as(w.admin(), "POST", "/doc/users%2Fada%2Fx/auth", `{"userId":"carol"}`, 200, &given)
	sdk(given, "POST", "update", insert(3, 0, "by carol"), 204)
	list := w.records("users/ada/x")
	if last := list[len(list)-1]; last.User != "carol" {
		t.Errorf("the record through carol's token is by %q", last.User)
	}
	w.as(given.Token, "POST", "/doc/users%2Fada%2Fx/auth", "", 403, nil) // a token makes no tokens
}

func TestPresenceOverHTTPIsTheSameAtEveryServer(t *testing.T) {
	w1 := start(t)
	w2 := join(t, w1.nats)
	a, b := w1.open("/met"), w1.open("/met")
	a.send(aware(1, 1, `{"user":{"name":"Ann","color":"#f00"}}`))
	b.wait("Ann", func() bool { return b.present()[1] != "" })
	b.send(aware(2, 1, `{"cursor":3}`))
	a.wait("the other", func() bool { return a.present()[2] != "" })
	type entry struct {
		Client, Clock     uint64
		Name, Color, Node string
		State             json.RawMessage
		Since             time.Time
	}
	for _, w := range []*world{w1, w2} { // the second has the document not open, and reads the bucket
		eventually(t, waitLong, "both are listed", func() bool {
			var p struct{ Presence []entry }
			w.call("GET", "/api/docs/met/presence", "", 200, &p)
			if len(p.Presence) != 2 {
				return false
			}
			first, second := p.Presence[0], p.Presence[1]
			if first.Client != 1 || first.Name != "Ann" || first.Color != "#f00" || first.Node != w1.srv.node || second.Client != 2 ||
				string(second.State) != `{"cursor":3}` || second.Since.Before(first.Since) {
				t.Errorf("got %+v, want Ann and then the other, both at the first server", p.Presence)
			}
			return true
		})
	}
	if n := w2.srv.rooms.count(); n != 0 {
		t.Errorf("asking for presence opened %d documents", n)
	}
	a.leave()
	b.leave()
	eventually(t, waitLong, "nobody is listed", func() bool {
		var p struct{ Presence []entry }
		w2.call("GET", "/api/docs/met/presence", "", 200, &p)
		return len(p.Presence) == 0
	})
}
