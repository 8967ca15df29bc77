package ingest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// line is one record of an export, with the claims of its writer.
func line(seq int, claims string, update []byte) string {
	return fmt.Sprintf(`{"seq":%d,%s,"update":"%s"}`+"\n", seq, claims, base64.StdEncoding.EncodeToString(update))
}

func exportOf(lines ...string) string {
	return `{"yjet":"document","v":1}` + "\n" + strings.Join(lines, "") + `{"end":true}` + "\n"
}

func TestAnImportClaimsNothingForOthers(t *testing.T) {
	w := start(t, logins)
	ann := token("ann", time.Hour)
	file := exportOf(
		line(1, `"time":"1677-09-21T00:12:44Z","user":"CEO","conn":"c1"`, insert(1, 0, "a")),
		line(2, `"time":"2020-01-31T12:00:00Z","user":"CEO","merged":9223372036854775807`, insert(1, 1, "b")),
		line(3, `"merged":-5`, insert(1, 2, "c")),
		`{"version":"signed","seq":2,"user":"CEO","created":"2001-01-01T00:00:00Z"}`+"\n")
	before := time.Now().Add(-time.Second)
	if code, out := w.request("POST", "/api/docs/forged/import", ann, file); code != http.StatusCreated {
		t.Fatalf("import: %d %s", code, out)
	}
	var records []stream.Record
	for r, err := range w.snap.Records(t.Context(), "forged", 0, 0) { // the fold of the version has packed some
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if len(records) != 3 {
		t.Fatalf("%d records, want 3", len(records))
	}
	for i, r := range records {
		if r.User != "ann" || r.Merged != 1 {
			t.Errorf("record %d is by %q and merges %d updates, want ann and 1", i, r.User, r.Merged)
		}
	}
	if at := records[0].Time; at.Before(before) {
		t.Errorf("a record of 1677 is stored with the time %s", at)
	}
	if at := records[1].Time; at.Year() != 2020 {
		t.Errorf("a record of 2020 is stored with the time %s", at)
	}
	v, err := w.snap.Version(t.Context(), "forged", "signed")
	if err != nil || v.User != "ann" || v.Created.Before(before) {
		t.Errorf("the version is %+v, %v; want ann's, made now", v, err)
	}
}

func TestAVersionOfAnImportHasANameThatIsOne(t *testing.T) {
	w := start(t, logins)
	for i, name := range []string{`a\r\nb`, `\u001b[2J`, "10m", "5"} {
		doc := fmt.Sprint("named-", i)
		file := exportOf(line(1, `"user":"x"`, insert(1, 0, "a")), `{"version":"`+name+`","seq":1}`+"\n")
		if code, out := w.request("POST", "/api/docs/"+doc+"/import", w.admin(), file); code != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s, want 422", name, code, out)
		}
		if n := len(w.records(doc)); n != 0 {
			t.Errorf("%s: %d records stay", name, n)
		}
	}
}

func TestAnAdministratorsImportKeepsUsersAsTextOfOneLine(t *testing.T) {
	w := start(t, logins)
	file := exportOf(line(1, `"user":"b\r\no\u001bb","conn":"c\n1"`, insert(1, 0, "a")), `{"version":"one","seq":1,"user":"b\r\nob"}`+"\n")
	if code, out := w.request("POST", "/api/docs/kept/import", w.admin(), file); code != http.StatusCreated {
		t.Fatalf("import: %d %s", code, out)
	}
	if r := w.records("kept")[0]; r.User != "b\uFFFD\uFFFDo\uFFFDb" || r.Conn != "c\uFFFD1" {
		t.Errorf("the record is by %q of %q", r.User, r.Conn)
	}
	if v, err := w.snap.Version(t.Context(), "kept", "one"); err != nil || v.User != "b\uFFFD\uFFFDob" {
		t.Errorf("the version is %+v, %v", v, err)
	}
}

func TestCopyAndImportCountAsNewDocuments(t *testing.T) {
	w := start(t, logins, limits(func(l *Limits) { l.NewDocuments = 3 }))
	ann := token("ann", time.Hour)
	ways := map[string]func(doc string) (int, string){
		"copy": func(doc string) (int, string) {
			return w.request("POST", "/api/docs/from/copy", ann, `{"to":"`+doc+`"}`)
		},
		"import": func(doc string) (int, string) {
			return w.request("POST", "/api/docs/"+doc+"/import", token("bob", time.Hour), export(insert(1, 0, "a")))
		},
	}
	if code, out := w.request("POST", "/api/docs/from", w.admin(), string(insert(1, 0, "a"))); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, out)
	}
	for name, way := range ways {
		begun := 0
		for i := range 8 {
			code, out := way(fmt.Sprintf("%s-%d", name, i))
			if code == http.StatusCreated {
				begun++
			} else if code != http.StatusServiceUnavailable || !strings.Contains(out, "too-many-new-documents") {
				t.Errorf("%s: %d %s", name, code, out)
			}
		}
		if begun != 3 {
			t.Errorf("%s began %d documents at once, want 3", name, begun)
		}
	}
	if code, out := w.request("POST", "/api/docs/from/import?merge=1", ann, export(insert(1, 1, "b"))); code != http.StatusCreated {
		t.Errorf("an import into a document that exists: %d %s", code, out)
	}
}

func TestTooManyVersionsHaveAReasonOfTheirOwn(t *testing.T) {
	if cs := causeOf(fmt.Errorf("x: %w", snapshot.ErrVersions)); cs != causeVersions || cs.http != http.StatusConflict {
		t.Errorf("got %v %d", cs, cs.http)
	}
}
