// Package docs holds no code. Its test keeps the documents honest: what they name is there.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents are all that people read, by path from the root of the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, pattern := range []string{"../*.md", "*.md", "decisions/*.md", "../examples/*/README.md"} {
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
	if len(found) < 15 {
		t.Fatalf("found %d documents, want those of the root, of docs and of the examples", len(found))
	}
	return found
}

// sources is the program's Go code without its tests.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"node_modules", ".git", "e2e", "web", "examples", "testdata"}, d.Name()):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all.Write(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
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

// quoted finds what a page sets in backquotes outside of its code blocks.
func quoted(text string) (names []string) {
	text = regexp.MustCompile("(?s)```.*?```").ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

var (
	aFile   = regexp.MustCompile(`^[\w.*-]+(/[\w.*-]*)*\.(go|mjs|js|conf|md|mod)$`)
	aFolder = regexp.MustCompile(`^(auth|cmd|docs|e2e|examples|ingest|internal|snapshot|stream|web|deploy|\.ci)(/[\w.-]+)*/?$`)
	inNATS  = regexp.MustCompile(`^(y[a-z]+)\b[\w.<>]*$|^(Y[A-Z]+)_NN$`)
	aGoName = regexp.MustCompile(`^([a-z]+\.)?([A-Z]\w*[a-z]\w*)$`)
)

// Files, folders, subjects, streams and Go names that the pages for engineers name are there. A family of files, as `room_*`, has members.
func TestPagesForEngineersNameOnlyWhatExists(t *testing.T) {
	code := sources(t)
	decisions, err := filepath.Glob("decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(decisions, "design.md", "security.md", "../CONTRIBUTING.md", "../SECURITY.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		looked := 0
		for _, name := range quoted(string(text)) {
			switch {
			case strings.HasPrefix(name, "Test"): // below
			case name == "doc.go" || name == "yjet" || strings.HasPrefix(name, "notes/"): // a kind of file, the program, an example
			case aFile.MatchString(name), aFolder.MatchString(name):
				looked++
				if found, _ := filepath.Glob(filepath.Join("..", name)); len(found) == 0 {
					t.Errorf("%s names %s, which is not there", page, name)
				}
			case strings.HasSuffix(name, "_*"):
				looked++
				if found, _ := filepath.Glob("../ingest/" + name + ".go"); len(found) == 0 {
					t.Errorf("%s names the files %s of ingest, of which there is none", page, name)
				}
			case inNATS.MatchString(name):
				looked++
				m := inNATS.FindStringSubmatch(name)
				if word := m[1] + m[2]; !regexp.MustCompile(`"[^"\n]*\b` + word + `(\b|_)`).MatchString(code) {
					t.Errorf("%s names %s, which is in no subject, stream or bucket of the program", page, name)
				}
			case aGoName.MatchString(name):
				looked++
				word := aGoName.FindStringSubmatch(name)[2]
				if !regexp.MustCompile(`(?m)^\s*(func (\([^)]*\) )?|type |var |const )?` + word + `\b`).MatchString(code) {
					t.Errorf("%s names %s, which no package declares", page, name)
				}
			}
		}
		if page == "design.md" && looked < 80 {
			t.Errorf("%s: %d names looked up, want all of its files", page, looked)
		}
	}
}

// The page of attacks names tests that are there, and each of them is run by a command in its own package.
func TestSecurityPageNamesAndRunsTestsThatExist(t *testing.T) {
	folders := map[string][]string{} // of each test, in which folders it stands
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"node_modules", ".git", "testdata"}, d.Name()):
			return fs.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(b, -1) {
				folders[string(m[1])] = append(folders[string(m[1])], strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../"))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\bTest[A-Z]\w*`)
	text, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	named, run := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(string(text)) {
		command := regexp.MustCompile(`^go test .*-run '?([\w|]+)'? \./(\S+)`).FindStringSubmatch(line)
		for _, test := range name.FindAllString(line, -1) {
			switch {
			case folders[test] == nil:
				t.Errorf("security.md names %s, which is not there", test)
			case command == nil:
				named[test] = true
			case !slices.Contains(folders[test], command[2]):
				t.Errorf("security.md runs %s in %s, which is in %v", test, command[2], folders[test])
			default:
				run[test] = true
			}
		}
	}
	if len(named) < 30 {
		t.Errorf("security.md names %d tests, want one for each row", len(named))
	}
	for test := range named {
		if !run[test] {
			t.Errorf("security.md has no command that runs %s", test)
		}
	}
}

// A decision is read in a minute or not at all.
func TestDecisionsAreShort(t *testing.T) {
	pages, err := filepath.Glob("decisions/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("found %d decisions, %v", len(pages), err)
	}
	for i, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(text), "\n"); lines > 25 {
			t.Errorf("%s has %d lines, want 25 at most", page, lines)
		}
		if want := fmt.Sprintf("# %d. ", i+1); !strings.HasPrefix(string(text), want) {
			t.Errorf("%s does not begin with %q", page, want)
		}
		if !strings.Contains(string(text), "**Would change it:**") {
			t.Errorf("%s does not say what would change it", page)
		}
	}
}
