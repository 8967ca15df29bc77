package snapshot

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// fileOf makes a file of the lines of an export, from the line after the first.
func fileOf(lines ...string) *strings.Reader {
	return strings.NewReader(`{"yjet":"document","v":1}` + "\n" + strings.Join(lines, "\n"))
}

func recordLine(seq int, update []byte, more string) string {
	return fmt.Sprintf(`{"seq":%d,"update":%q%s}`, seq, base64.StdEncoding.EncodeToString(update), more)
}

func endLine(records int) string { return fmt.Sprintf(`{"end":true,"records":%d}`, records) }

// A file is refused with the number of the line that is wrong, and nothing of it is left.
func TestAWrongLineOfAFileIsNamedAndNothingOfTheFileStays(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	good, next := insertion(5, 0, "one"), insertion(5, 3, " two")
	for i, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"records out of order", []string{recordLine(4, good, ""), recordLine(3, next, ""), endLine(2)}, "line 3: record 3 after record 4"},
		{"a record twice", []string{recordLine(4, good, ""), recordLine(4, good, ""), endLine(2)}, "line 3: record 4 after record 4"},
		{"fewer records than it says", []string{recordLine(4, good, ""), endLine(2)}, "line 3: 1 records, want 2"},
		{"more records than it says", []string{recordLine(4, good, ""), recordLine(5, next, ""), endLine(1)}, "line 4: 2 records, want 1"},
		{"no last line", []string{recordLine(4, good, "")}, "line 3: the file ends"},
		{"base64 that is none", []string{recordLine(4, good, ""), `{"seq":5,"update":"!"}`, endLine(2)}, "line 3: illegal base64"},
		{"a state that does not decode", []string{`{"base":true,"seq":1,"update":"AQEB"}`, endLine(0)}, "line 2: yjs: offset"},
		{"a version whose name is a moment", []string{recordLine(4, good, ""), `{"version":"812","seq":4}`, endLine(1)}, `line 3: "812" is a moment`},
		{"a version without a possible name", []string{recordLine(4, good, ""), `{"version":"a\u0000b","seq":4}`, endLine(1)}, "line 3: snapshot: bad version name"},
		{"a sequence below 0", []string{`{"seq":-1,"update":"AAA="}`, endLine(1)}, "line 2: json:"},
	} {
		doc := stream.Doc(fmt.Sprintf("file/%d", i))
		_, err := s.Import(h.ctx, doc, fileOf(c.lines...), ImportOptions{})
		if !errors.Is(err, ErrTransfer) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if got := inLog(t, h.log, doc); len(got) > 0 {
			t.Errorf("%s: records %v are left", c.name, got)
		}
		if done, err := s.Import(h.ctx, doc, fileOf(recordLine(4, good, ""), endLine(1)), ImportOptions{}); err != nil || done.Records != 1 {
			t.Errorf("%s: the right file after it: %+v, %v", c.name, done, err)
		}
	}
}

func TestAnImportTakesWhatAFileMayHoldAndMakesNamesPlain(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	at := time.Date(2025, 1, 2, 3, 4, 5, 6e6, time.UTC)
	done, err := s.Import(h.ctx, "odd", fileOf(
		recordLine(4, insertion(5, 0, "one"), `,"time":"2025-01-02T03:04:05.006Z","user":"a\nb\u0000","conn":"c1","merged":3`),
		recordLine(9, []byte("not an update"), ""), // quarantined where it was exported
		recordLine(12, insertion(5, 3, " two"), `,"time":"1950-01-01T00:00:00Z","merged":1000000`),
		`{"version":"old","seq":2}`, // of a moment before the history
		`{"version":"v","seq":12,"user":"bob"}`,
		`{"version":"v","seq":4}`, // the name is taken
		endLine(3)), ImportOptions{User: "eve", KeepUsers: true})
	if err != nil || done.Records != 2 {
		t.Fatalf("import = %+v, %v; want two records", done, err)
	}
	if got := h.text(s, "odd", Moment{}); got != "one two" {
		t.Errorf("the text is %q", got)
	}
	n := 0
	for r, err := range s.Records(h.ctx, "odd", 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch n++; n {
		case 1:
			if r.User != "a\ufffdb\ufffd" || r.Conn != "c1" || r.Merged != 3 || !r.Time.Equal(at) {
				t.Errorf("the first record is by %q on %q, %d updates at %v", r.User, r.Conn, r.Merged, r.Time)
			}
		case 2:
			if r.User != "" || r.Merged != 1 || time.Since(r.Time) > time.Hour {
				t.Errorf("the second record is by %q, %d updates at %v; want the time of the import", r.User, r.Merged, r.Time)
			}
		}
	}
	if list, err := s.Versions(h.ctx, "odd"); err != nil || len(list) != 1 || list[0].Name != "v" || list[0].User != "bob" || list[0].Seq != done.Last {
		t.Errorf("versions = %+v, %v; want v of bob at %d", list, err, done.Last)
	}
	// Without the right to speak for others everything is by the importer.
	if _, err := s.Import(h.ctx, "mine", fileOf(recordLine(1, insertion(6, 0, "x"), `,"user":"ada","conn":"c9"`), `{"version":"v","seq":1,"user":"ada"}`, endLine(1)), ImportOptions{User: "eve", Conn: "c1"}); err != nil {
		t.Fatal(err)
	}
	for r, err := range s.Records(h.ctx, "mine", 0, 0) {
		if err != nil || r.User != "eve" || r.Conn != "c1" {
			t.Errorf("by %q on %q, %v; want eve on c1", r.User, r.Conn, err)
		}
	}
	if v, err := s.Version(h.ctx, "mine", "v"); err != nil || v.User != "eve" {
		t.Errorf("version by %q, %v; want eve", v.User, err)
	}
}

// The door checks a file's updates as it checks live ones: it may store a part, leave one out, or end the import.
func TestAnImportStoresWhatItsCheckAllows(t *testing.T) {
	h := newHouse(t)
	s := h.store(Options{})
	file := func() *strings.Reader {
		return fileOf(recordLine(1, insertion(5, 0, "one"), ""), recordLine(2, insertion(6, 0, "bad"), ""), recordLine(3, insertion(5, 3, " two"), ""), endLine(3))
	}
	stop := errors.New("over the limit")
	for name, c := range map[string]struct {
		check func(u *yjs.Update) ([]byte, error)
		want  string
		out   int
		err   error
	}{
		"part": {func(u *yjs.Update) ([]byte, error) {
			if u.Runs()[0].Client == 6 {
				return nil, nil
			}
			return u.Bytes, nil
		}, "one two", 1, nil},
		"stop": {func(u *yjs.Update) ([]byte, error) {
			if u.Runs()[0].Client == 6 {
				return nil, stop
			}
			return u.Bytes, nil
		}, "", 0, stop},
		"none": {func(*yjs.Update) ([]byte, error) { return nil, nil }, "", 3, ErrTransfer},
	} {
		doc := stream.Doc("checked/" + name)
		done, err := s.Import(h.ctx, doc, file(), ImportOptions{Check: func(u *yjs.Update, _ *yjs.State) ([]byte, error) { return c.check(u) }})
		if c.err != nil {
			if !errors.Is(err, c.err) || len(inLog(t, h.log, doc)) > 0 {
				t.Errorf("%s: %v, %d records; want %v and nothing", name, err, len(inLog(t, h.log, doc)), c.err)
			}
			continue
		}
		if err != nil || done.LeftOut != c.out || done.Records != 3-c.out {
			t.Errorf("%s: %+v, %v; want %d left out", name, done, err, c.out)
		}
		if got := h.text(s, doc, Moment{}); got != c.want {
			t.Errorf("%s: the text is %q, want %q", name, got, c.want)
		}
	}
}
