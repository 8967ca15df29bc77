package main

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"yjet/ingest"
)

// A limit that operators cannot find or cannot set is one that they meet for the first time when it refuses somebody.
func TestEveryLimitHasAFlagAndALineInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "\n## Limits\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if !ok {
		t.Fatal("docs/operate.md has no section of limits")
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`--(max-[a-z-]+)`").FindAllStringSubmatch(table, -1) {
		told[m[1]] = true
	}
	s := newSettings("serve")
	limitFlags(s, &ingest.Limits{})
	n := 0
	for name := range told {
		if s.Lookup(name) == nil {
			t.Errorf("docs/operate.md has --%s, which serve does not take", name)
		}
		n++
	}
	s.VisitAll(func(f *flag.Flag) {
		if !told[f.Name] {
			t.Errorf("--%s has no line in the table of limits", f.Name)
		}
	})
	if n < 20 {
		t.Errorf("the table names %d flags, want at least 20", n)
	}
}
