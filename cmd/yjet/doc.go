package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

const docUsage = `
Usage: yjet doc COMMAND [DOC] [flags]

Documents from the shell, through a running server. 'yjet doc COMMAND --help' shows the flags of one command.

%s
A moment is a sequence, an RFC 3339 time, an age such as 10m, or the name of a version.

Examples:
  yjet doc ls notes/
  yjet doc get notes/todo --at 2h --format text --type content:text
  yjet doc restore notes/todo "first draft"
  yjet doc ls --url https://yjet.example.com --token "$TOKEN"
`

// docFlags are the flags of all doc commands; each command declares its own.
type docFlags struct {
	url, token           string
	json, merge, v2, yes bool
	force                bool
	at, from, to, group  string
	format, typ          string
	out                  string
	add, remove          string
	find, with, key      string
	all                  bool
	ifSeq                int
	limit                int
}

// docCommand is one word after "yjet doc".
type docCommand struct {
	name, words string // words: the arguments after the name, as its usage shows them
	brief       string
	more        string // further sentences of its help
	examples    []string
	least, most int // words after the name
	flags       func(s *settings, f *docFlags)
	run         func(c *docClient, words []string) error
}

// docCommands returns the commands of yjet doc. It is longer than 80 lines because it is one table: a command's words, help and flags.
func docCommands() []docCommand {
	conditions := func(s *settings, f *docFlags) {
		s.IntVar(&f.ifSeq, "if-seq", 0, "edit only if this `sequence` is still its last (0: in any case)")
		s.StringVar(&f.key, "key", "", "idempotency `key`: within a day an edit with the same key is made once, however often it is sent")
	}
	at := func(s *settings, f *docFlags) { s.StringVar(&f.at, "at", "", "`moment` to read (default: now)") }
	return []docCommand{
		{
			name: "ls", words: "[PREFIX]", brief: "list documents", most: 1, run: (*docClient).ls,
			more:     `With --json it answers {"docs":[{"id":…,"bytes":…,"updates":…,"lastEdit":…,"sessions":…,"seq":…},…]}.`,
			examples: []string{"ls", "ls notes/ --limit 20", "ls notes/ --json"},
			flags: func(s *settings, f *docFlags) {
				s.IntVar(&f.limit, "limit", 0, "list at most this `number` of documents (0: all)")
			},
		}, {
			name: "show", words: "DOC", brief: "show its size, connected users, versions and latest edits", least: 1, most: 1, run: (*docClient).show,
			examples: []string{"show notes/todo", "show notes/todo --group author --limit 50"},
			flags: func(s *settings, f *docFlags) {
				s.StringVar(&f.group, "group", "5m", "what ends an entry of the history: a `pause`, another author, both (5m,author), or none")
				s.IntVar(&f.limit, "limit", 0, "show at most this `number` of entries (0: 10)")
			},
		}, {
			name: "log", words: "DOC", brief: "list its records: sequence, time, user, bytes", least: 1, most: 1, run: (*docClient).log,
			more:     "With --json each record is a line and carries its update in base64.",
			examples: []string{"log notes/todo", "log notes/todo --from 2h --json"},
			flags: func(s *settings, f *docFlags) {
				s.StringVar(&f.from, "from", "", "first `moment`")
				s.StringVar(&f.to, "to", "", "last `moment`")
			},
		}, {
			name: "get", words: "DOC", brief: "print its state, now or at a moment", least: 1, most: 1, run: (*docClient).get,
			more:     `With --json it answers {"doc":…,"format":…,"seq":…,"state":…}, in base64 for update and vector; with --out "file" and "bytes" instead of "state".`,
			examples: []string{"get notes/todo", "get notes/todo --at 2h --format text --type content:text", "get notes/todo --format update --out todo.bin"},
			flags: func(s *settings, f *docFlags) {
				at(s, f)
				s.StringVar(&f.format, "format", "json", "json, text, update or vector")
				s.StringVar(&f.typ, "type", "", "`name:kind` of a shared type to read, kinds map, array, text, xml; several are separated by commas")
				s.StringVar(&f.out, "out", "-", "`file` to write (-: stdout)")
			},
		}, {
			name: "export", words: "DOC", brief: "write it with its whole history to one file", least: 1, most: 1, run: (*docClient).export,
			more:     `An existing file is replaced only with --force. With --json it answers {"doc":…,"file":…,"bytes":…,"records":…,"seq":…}.`,
			examples: []string{"export notes/todo --out todo.yjet.gz", "export notes/todo --out todo.yjet.gz --force --json"},
			flags: func(s *settings, f *docFlags) {
				s.StringVar(&f.out, "out", "-", "`file` to write; it is compressed if its name ends in .gz (-: stdout)")
				s.BoolVar(&f.force, "force", false, "replace an existing file")
			},
		}, {
			name: "import", words: "DOC [FILE]", brief: "create it from an exported file or a raw Yjs update", least: 1, most: 2, run: (*docClient).imports,
			more: "A raw update is what Y.encodeStateAsUpdate returns. Without FILE the input is stdin. DOC must be new, unless --merge is given.\n" +
				`With --json it answers {"doc":…,"records":…,"versions":…,"seq":…}; for a raw update {"doc":…,"bytes":…,"seq":…}.`,
			examples: []string{"import notes/todo-2 todo.yjet.gz", "import notes/plan plan.bin --merge"},
			flags: func(s *settings, f *docFlags) {
				s.BoolVar(&f.merge, "merge", false, "merge into an existing document")
				s.BoolVar(&f.v2, "v2", false, "the raw update is in format V2")
			},
		}, {
			name: "edit", words: "DOC [FILE]", brief: "change it by edits in JSON, or replace a text in it", least: 1, most: 2, run: (*docClient).edit,
			more: "FILE, or stdin, has {\"ops\":[…]}, a list of edits, or one edit, as PATCH /api/docs takes them. All edits are made together or not at all, " +
				"and open editors see them at once. With --find the edit replaces a text, across formatting and paragraphs, as a person reads it.",
			examples: []string{
				"edit notes/todo --type content:text --find \"milk\" --with \"oat milk\"",
				"edit notes/todo edits.json --if-seq 42",
				"edit notes/todo --key nightly-2026-01-31 < edits.json",
			},
			flags: func(s *settings, f *docFlags) {
				s.StringVar(&f.typ, "type", "", "`name:kind` of the shared type in which --find looks, kinds text, xml")
				s.StringVar(&f.find, "find", "", "`text` to replace")
				s.StringVar(&f.with, "with", "", "`text` in its place")
				s.BoolVar(&f.all, "all", false, "replace all matches, not only the first")
				conditions(s, f)
			},
		}, {
			name: "append", words: "DOC [TEXT]", brief: "add text to its end", least: 1, most: 2, run: (*docClient).append,
			more:     "Without TEXT the text is stdin. A fragment of kind xml takes Markdown, an array one JSON value.",
			examples: []string{"append notes/todo --type content:text \"buy milk\"", "append notes/plan --type default:xml < section.md"},
			flags: func(s *settings, f *docFlags) {
				s.StringVar(&f.typ, "type", "", "`name:kind` of the shared type to add to, kinds text, xml, array")
				conditions(s, f)
			},
		}, {
			name: "versions", words: "DOC", brief: "list, add or remove its versions, which are named moments", least: 1, most: 1, run: (*docClient).versions,
			more:     `With --json, --remove answers {"doc":…,"removed":…}.`,
			examples: []string{"versions notes/todo", "versions notes/todo --add \"first draft\"", "versions notes/todo --remove \"first draft\""},
			flags: func(s *settings, f *docFlags) {
				s.StringVar(&f.at, "at", "", "`moment` that --add names (default: now)")
				s.StringVar(&f.add, "add", "", "`name` for a moment")
				s.StringVar(&f.remove, "remove", "", "`name` to remove; the document stays as it is")
			},
		}, {
			name: "restore", words: "DOC MOMENT", brief: "return it to a past moment, by a new edit", least: 1, most: 2, run: (*docClient).restore,
			more:     "Open editors receive the edit like any other. Restoring the moment before undoes it.",
			examples: []string{"restore notes/todo \"first draft\"", "restore notes/todo 10m"},
			flags: func(s *settings, f *docFlags) {
				s.StringVar(&f.at, "at", "", "the same as MOMENT")
			},
		}, {
			name: "copy", words: "DOC TO", brief: "create a document from the present or a past state of DOC", least: 2, most: 2, run: (*docClient).copy,
			examples: []string{"copy templates/plan notes/plan", "copy notes/todo notes/todo-old --at 24h"},
			flags:    at,
		}, {
			name: "rm", words: "DOC", brief: "delete it, with its whole history", least: 1, most: 1, run: (*docClient).rm,
			more: "On a terminal it asks for the name. Otherwise it requires --yes.\n" +
				`With --json it answers {"doc":…,"deleted":true,"left":…}; left says where its bytes may remain until the next start of the server.`,
			examples: []string{"rm notes/todo", "rm notes/todo --yes"},
			flags: func(s *settings, f *docFlags) {
				s.BoolVar(&f.yes, "yes", false, "do not ask")
			},
		},
	}
}

// usage is the help of one command.
func (c *docCommand) usage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: yjet doc %s %s [flags]\n\n%s%s.", c.name, c.words, strings.ToUpper(c.brief[:1]), c.brief[1:])
	if c.more != "" {
		b.WriteString(" " + c.more)
	}
	b.WriteString("\n\nExamples:\n")
	for _, e := range c.examples {
		fmt.Fprintf(&b, "  yjet doc %s\n", e)
	}
	return b.String()
}

// settings declares the flags of one command; of all commands where c is nil.
func (c *docCommand) settings(f *docFlags) *settings {
	s := newSettings("doc")
	s.StringVar(&f.url, "url", "http://127.0.0.1:1999", "`URL` of the server")
	s.secretVar(&f.token, "token", "bearer `token`")
	s.BoolVar(&f.json, "json", false, "answer in JSON")
	if c != nil {
		c.flags(s, f)
	}
	return s
}

// splitDoc finds the command among flags that may stand before it, and the words after it.
func splitDoc(args []string) (cmd *docCommand, flags, words []string, err error) {
	all := (*docCommand)(nil).settings(&docFlags{})
	list := docCommands()
	for i := range list {
		more := newSettings("doc")
		list[i].flags(more, &docFlags{})
		more.VisitAll(func(f *flag.Flag) {
			if all.Lookup(f.Name) == nil {
				all.Var(f.Value, f.Name, f.Usage)
			}
		})
	}
	flags, words = interleaved(all.FlagSet, args)
	if len(words) == 0 {
		return nil, flags, nil, nil
	}
	i := slices.IndexFunc(list, func(c docCommand) bool { return c.name == words[0] })
	if i < 0 {
		return nil, nil, nil, usagef("doc: no command %q; see 'yjet doc --help'", words[0])
	}
	return &list[i], flags, words[1:], nil
}

func runDoc(ctx context.Context, p process, args []string) error {
	cmd, flags, words, err := splitDoc(args)
	if err != nil {
		return err
	}
	var f docFlags
	s := cmd.settings(&f)
	if cmd == nil {
		var list strings.Builder
		for _, c := range docCommands() {
			fmt.Fprintf(&list, "  %-22s %s\n", c.name+" "+c.words, c.brief)
		}
		if err := s.load(flags, p.environ, p.stdout, fmt.Sprintf(docUsage, list.String())); err != nil {
			return err
		}
		return usagef("doc: name a command: ls, show, log, get, export, import, edit, append, versions, restore, copy or rm; see 'yjet doc --help'")
	}
	if err := s.load(flags, p.environ, p.stdout, cmd.usage()); err != nil {
		return err
	}
	switch {
	case len(words) < cmd.least:
		return usagef("doc %s: want %s; see 'yjet doc %s --help'", cmd.name, cmd.words, cmd.name)
	case cmd.least > 0 && words[0] == "": // an unset variable: without a name the path is that of the list
		return usagef("doc %s: the name of the document is empty", cmd.name)
	case len(words) > cmd.most:
		return usagef("doc %s: unexpected %q; see 'yjet doc %s --help'", cmd.name, words[cmd.most], cmd.name)
	}
	base, err := url.Parse(f.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return usagef("doc: --url %q: want an address such as http://127.0.0.1:1999", f.url)
	}
	return cmd.run(&docClient{ctx: ctx, p: p, f: f, base: strings.TrimSuffix(f.url, "/")}, words)
}

// interleaved separates flags from words, which may be mixed. Everything after -- is a word.
func interleaved(fs *flag.FlagSet, args []string) (flags, words []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return flags, append(words, args[i+1:]...)
		}
		if len(a) < 2 || a[0] != '-' {
			words = append(words, a)
			continue
		}
		flags = append(flags, a)
		name := strings.TrimLeft(a, "-")
		if strings.Contains(name, "=") {
			continue
		}
		if f := fs.Lookup(name); f != nil {
			if b, ok := f.Value.(interface{ IsBoolFlag() bool }); (!ok || !b.IsBoolFlag()) && i+1 < len(args) {
				i++
				flags = append(flags, args[i])
			}
		}
	}
	return flags, words
}

func (c *docClient) rm(words []string) error {
	if !c.f.yes {
		f, ok := c.p.stdin.(*os.File)
		if !ok || !isTerminal(f) {
			return usagef("doc rm: stdin is not a terminal, so it cannot ask; --yes deletes without asking")
		}
		fmt.Fprintf(c.p.stderr, "Delete %s with its whole history? Type its name to confirm: ", clean(words[0]))
		line, err := bufio.NewReader(f).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if strings.TrimSpace(line) != words[0] {
			return fmt.Errorf("%s is not deleted: the name did not match", clean(words[0]))
		}
	}
	resp, err := c.call(http.MethodDelete, docPath(words[0]), nil, nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	left := resp.Header.Get("Yjet-Erased")
	if c.f.json {
		return c.answer(map[string]any{"doc": words[0], "deleted": true, "left": left})
	}
	fmt.Fprintf(c.p.stdout, "%s deleted\n", clean(words[0]))
	if left != "" {
		fmt.Fprintf(c.p.stderr, "%s\n", clean(left))
	}
	return nil
}
