// Package docs holds no code. Its test keeps the documents honest: what they name is there.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are all that people read, by path from the root of the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"../README.md", "*.md", "../examples/*/README.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found[path] = string(b)
		}
	}
	if len(found) < 5 {
		t.Fatalf("found %d documents, want the README, those of docs and of the examples", len(found))
	}
	return found
}

// sources is the program's Go code without its tests.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"auth", "cmd/yjet", "ingest", "internal/yjs", "snapshot", "stream"} {
		paths, _ := filepath.Glob(filepath.Join("..", dir, "*.go"))
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
	}
	return all.String()
}

func TestDocumentsNameOnlyMetricsThatExist(t *testing.T) {
	code := sources(t)
	for path, text := range documents(t) {
		for _, name := range regexp.MustCompile(`\byjet(_[a-z]+)+\b`).FindAllString(text, -1) {
			if !strings.Contains(code, `"`+name+`"`) && !strings.Contains(code, `"`+strings.TrimPrefix(name, "yjet_")+`"`) {
				t.Errorf("%s names the metric %s, which the program does not have", path, name)
			}
		}
	}
}

// Flags of other programs that running text names.
var others = map[string]bool{"--from-token": true, "--party": true, "--merge": true, "--keep-deleted": true}

// Whole commands are tried by the tests of cmd/yjet.
func TestDocumentsNameOnlyFlagsThatExist(t *testing.T) {
	code := sources(t)
	named := 0
	for path, text := range documents(t) {
		for _, m := range regexp.MustCompile("`--([a-z][a-z0-9-]*)").FindAllStringSubmatch(text, -1) {
			named++
			name := strings.TrimSuffix(m[1], "-file") // a secret's twin
			if !others["--"+m[1]] && !strings.Contains(code, `"`+m[1]+`"`) && !strings.Contains(code, `"`+name+`"`) {
				t.Errorf("%s names --%s, which no command has", path, m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("found %d flags in the documents, want dozens", named)
	}
}

func TestLinksOfDocumentsLeadSomewhere(t *testing.T) {
	for path, text := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			}
		}
	}
}
