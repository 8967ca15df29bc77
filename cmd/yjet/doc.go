package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const docUsage = `
Usage: yjet doc COMMAND [DOC] [flags]

Documents from the shell, through a running server.

  ls [PREFIX]                     list documents
  show DOC                        what it is, who is here, what happened last, its versions
  log DOC                         its records: sequence, time, user, bytes (--json: with their updates)
  get DOC                         its state as JSON, text, update or vector, now or at a moment
  export DOC                      one file with the whole history
  import DOC [FILE]               takes such a file in, or a raw Yjs update (Y.encodeStateAsUpdate)
  versions DOC                    named moments; --add NAME makes one, --remove NAME takes it away
  restore DOC MOMENT              makes it show again what it showed, by a forward edit
  copy DOC TO                     a new document that begins as DOC is, or was
  rm DOC                          removes it for good

A moment is a sequence, an RFC 3339 time, an age such as 10m, or the name of a version.

Examples:
  yjet doc ls notes/
  yjet doc get notes/todo --at 2h --format text --type content:text
  yjet doc export notes/todo --out todo.yjet.gz
  yjet doc import notes/todo-2 todo.yjet.gz
  yjet doc versions notes/todo --add "first draft"
  yjet doc restore notes/todo "first draft"
  yjet doc rm notes/todo --url https://yjet.example.com --token "$TOKEN"
`

// docFlags are the flags of all doc commands; each uses its own.
type docFlags struct {
	url, token           string
	json, merge, v2, yes bool
	at, from, to, group  string
	format, typ          string
	out                  string
	add, remove          string
	limit                int
}

func runDoc(ctx context.Context, p process, args []string) error {
	var f docFlags
	s := newSettings("doc")
	s.StringVar(&f.url, "url", "http://127.0.0.1:1999", "`URL` of the server")
	s.secretVar(&f.token, "token", "bearer `token`")
	s.BoolVar(&f.json, "json", false, "print the server's JSON as it came")
	s.StringVar(&f.at, "at", "", "get, versions --add, copy: `moment` (default: now)")
	s.StringVar(&f.from, "from", "", "log: first `moment`")
	s.StringVar(&f.to, "to", "", "log: last `moment`")
	s.StringVar(&f.group, "group", "5m", "show: what parts `entries` of the history: a pause, author, both (5m,author), or none")
	s.StringVar(&f.format, "format", "json", "get: json, text, update or vector")
	s.StringVar(&f.typ, "type", "", "get: `name:kind` of a type to read, kinds map, array, text, xml; several with commas")
	s.StringVar(&f.out, "out", "-", "get, export: `file` to write; .gz compresses an export")
	s.StringVar(&f.add, "add", "", "versions: `name` of a version to make")
	s.StringVar(&f.remove, "remove", "", "versions: `name` of a version to take away")
	s.BoolVar(&f.merge, "merge", false, "import: also into a document that exists")
	s.BoolVar(&f.v2, "v2", false, "import: the raw update is in format V2")
	s.BoolVar(&f.yes, "yes", false, "rm: do not ask")
	s.IntVar(&f.limit, "limit", 0, "ls, show: at most so many lines (0: ls all, show 10)")
	flags, words := interleaved(s.FlagSet, args)
	if err := s.load(flags, p.environ, p.stdout, docUsage); err != nil {
		return err
	}
	if len(words) == 0 {
		return usagef("doc: a command is needed: ls, show, log, get, export, import, versions, restore, copy or rm; see 'yjet doc --help'")
	}
	name, words := words[0], words[1:]
	type docCommand struct {
		least, most int // words after the command
		run         func(c *docClient, words []string) error
	}
	cmd, ok := map[string]docCommand{
		"ls": {0, 1, (*docClient).ls}, "show": {1, 1, (*docClient).show}, "log": {1, 1, (*docClient).log}, "get": {1, 1, (*docClient).get},
		"export": {1, 1, (*docClient).export}, "import": {1, 2, (*docClient).imports}, "versions": {1, 1, (*docClient).versions},
		"restore": {1, 2, (*docClient).restore}, "copy": {2, 2, (*docClient).copy}, "rm": {1, 1, (*docClient).rm},
	}[name]
	switch {
	case !ok:
		return usagef("doc: no command %q; see 'yjet doc --help'", name)
	case len(words) < cmd.least:
		return usagef("doc %s: the name of a document is needed; see 'yjet doc --help'", name)
	case cmd.least > 0 && words[0] == "": // an unset variable: without a name the path is that of the list
		return usagef("doc %s: the name of the document is empty", name)
	case len(words) > cmd.most:
		return usagef("doc %s: unexpected %q; see 'yjet doc --help'", name, words[cmd.most])
	}
	base, err := url.Parse(f.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return usagef("doc: --url %q: want an address such as http://127.0.0.1:1999", f.url)
	}
	return cmd.run(&docClient{ctx: ctx, p: p, f: f, base: strings.TrimSuffix(f.url, "/")}, words)
}

// interleaved parts flags from words, which may stand in any order; what follows -- are words.
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

type listedDoc struct {
	ID       string    `json:"id"`
	Bytes    int64     `json:"bytes"`
	Updates  uint64    `json:"updates"`
	LastEdit time.Time `json:"lastEdit"`
	Sessions int       `json:"sessions"`
	Seq      uint64    `json:"seq"`
}

func (c *docClient) ls(words []string) error {
	q := url.Values{}
	if len(words) > 0 {
		q.Set("prefix", words[0])
	}
	out := bufio.NewWriter(c.p.stdout)
	defer out.Flush()
	for n := 0; ; {
		q.Set("limit", "500")
		if c.f.limit > 0 {
			q.Set("limit", strconv.Itoa(min(500, c.f.limit-n)))
		}
		var page struct {
			Docs []listedDoc `json:"docs"`
			Next string      `json:"next"`
		}
		if done, err := c.read(http.MethodGet, "/api/docs", q, nil, &page); done || err != nil {
			return err
		}
		for _, d := range page.Docs {
			if n == 0 {
				fmt.Fprintf(out, "%-20s %9s %12s %9s  %s\n", "LAST EDIT", "UPDATES", "BYTES", "SESSIONS", "DOCUMENT")
			}
			fmt.Fprintf(out, "%-20s %9d %12d %9d  %s\n", d.LastEdit.UTC().Format(time.RFC3339), d.Updates, d.Bytes, d.Sessions, clean(d.ID))
			n++
		}
		if page.Next == "" || c.f.limit > 0 && n >= c.f.limit {
			return nil
		}
		q.Set("after", page.Next)
	}
}

type historyEntry struct {
	First, Last uint64
	From, To    time.Time
	Users       []string
	Updates     int
	Bytes       int
}

func (c *docClient) show(words []string) error {
	doc := words[0]
	limit := c.f.limit
	if limit <= 0 {
		limit = 10
	}
	var history struct {
		Entries    []historyEntry
		Oldest     uint64
		OldestTime time.Time
	}
	q := url.Values{"group": {c.f.group}, "limit": {strconv.Itoa(limit)}}
	if done, err := c.read(http.MethodGet, docPath(doc, "history"), q, nil, &history); done || err != nil {
		return err
	}
	state, err := c.call(http.MethodGet, docPath(doc), url.Values{"format": {"update"}}, nil)
	if err != nil {
		return err
	}
	defer state.Body.Close()
	size, err := io.Copy(io.Discard, state.Body)
	if err != nil {
		return err
	}
	var presence struct {
		Presence []struct {
			User, Name string
			Client     uint64
		}
	}
	if _, err := c.read(http.MethodGet, docPath(doc, "presence"), nil, nil, &presence); err != nil {
		return err
	}
	var versions struct {
		Versions []struct {
			Name string
			Seq  uint64
			Time time.Time
		}
	}
	if _, err := c.read(http.MethodGet, docPath(doc, "versions"), nil, nil, &versions); err != nil {
		return err
	}
	w := c.p.stdout
	fmt.Fprintf(w, "document  %s\nsequence  %s\nstate     %d bytes\n", clean(doc), state.Header.Get("Yjet-Seq"), size)
	if history.Oldest > 0 {
		fmt.Fprintf(w, "history   from sequence %d, %s\n", history.Oldest, history.OldestTime.UTC().Format(time.RFC3339))
	}
	for _, p := range presence.Presence {
		fmt.Fprintf(w, "here      %s\n", clean(strings.TrimSpace(p.Name+" "+p.User)))
	}
	for _, v := range versions.Versions {
		fmt.Fprintf(w, "version   %s at %d, %s\n", clean(v.Name), v.Seq, v.Time.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(w, "\n%-20s  %-20s %9s %9s %9s  %s\n", "FROM", "TO", "SEQUENCE", "UPDATES", "BYTES", "USERS")
	for _, e := range history.Entries {
		fmt.Fprintf(w, "%-20s  %-20s %9d %9d %9d  %s\n", e.From.UTC().Format(time.RFC3339), e.To.UTC().Format(time.RFC3339), e.Last, e.Updates, e.Bytes, cleanAll(e.Users))
	}
	return nil
}

func cleanAll(list []string) string {
	for i := range list {
		list[i] = clean(list[i])
	}
	return strings.Join(list, ", ")
}

func (c *docClient) log(words []string) error {
	q := url.Values{}
	for k, v := range map[string]string{"from": c.f.from, "to": c.f.to} {
		if v != "" {
			q.Set(k, v)
		}
	}
	resp, err := c.call(http.MethodGet, docPath(words[0], "log"), q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if c.f.json {
		_, err := io.Copy(c.p.stdout, resp.Body)
		return err
	}
	out := bufio.NewWriter(c.p.stdout)
	defer out.Flush()
	fmt.Fprintf(out, "%9s  %-24s %9s  %s\n", "SEQUENCE", "TIME", "BYTES", "USER")
	for dec := json.NewDecoder(resp.Body); ; {
		var r struct {
			Seq    uint64
			Time   time.Time
			User   string
			Merged int
			Bytes  int
			Error  *struct{ Message string }
		}
		if err := dec.Decode(&r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if r.Error != nil {
			return errors.New(r.Error.Message)
		}
		more := ""
		if r.Merged > 1 {
			more = fmt.Sprintf("  (%d updates)", r.Merged)
		}
		fmt.Fprintf(out, "%9d  %-24s %9d  %s%s\n", r.Seq, r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), r.Bytes, clean(r.User), more)
	}
}

func (c *docClient) versions(words []string) error {
	doc := words[0]
	switch {
	case c.f.add != "" && c.f.remove != "":
		return usagef("doc versions: --add or --remove, not both")
	case c.f.add != "":
		var v struct {
			Name string
			Seq  uint64
		}
		body := map[string]string{"name": c.f.add}
		if c.f.at != "" {
			body["at"] = c.f.at
		}
		if done, err := c.read(http.MethodPost, docPath(doc, "versions"), nil, body, &v); done || err != nil {
			return err
		}
		fmt.Fprintf(c.p.stdout, "version %s of %s at sequence %d\n", clean(v.Name), clean(doc), v.Seq)
		return nil
	case c.f.remove != "":
		_, err := c.read(http.MethodDelete, docPath(doc, "versions", c.f.remove), nil, nil, nil)
		return err
	}
	var list struct {
		Versions []struct {
			Name, User string
			Seq        uint64
			Time       time.Time
		}
	}
	if done, err := c.read(http.MethodGet, docPath(doc, "versions"), nil, nil, &list); done || err != nil {
		return err
	}
	for _, v := range list.Versions {
		fmt.Fprintf(c.p.stdout, "%9d  %-20s  %-12s %s\n", v.Seq, v.Time.UTC().Format(time.RFC3339), clean(v.User), clean(v.Name))
	}
	return nil
}

func (c *docClient) restore(words []string) error {
	at := c.f.at
	if len(words) == 2 {
		at = words[1]
	}
	if at == "" {
		return usagef("doc restore: to which moment? A sequence, a time, an age or a version")
	}
	var done struct {
		Seq     uint64
		Changed bool
	}
	if done, err := c.read(http.MethodPost, docPath(words[0], "restore"), nil, map[string]string{"at": at}, &done); done || err != nil {
		return err
	}
	if !done.Changed {
		fmt.Fprintf(c.p.stdout, "%s is as it was at %s\n", clean(words[0]), clean(at))
		return nil
	}
	fmt.Fprintf(c.p.stdout, "%s restored by sequence %d\n", clean(words[0]), done.Seq)
	return nil
}

func (c *docClient) copy(words []string) error {
	body := map[string]string{"to": words[1]}
	if c.f.at != "" {
		body["at"] = c.f.at
	}
	var done struct {
		Doc string
		Seq uint64
	}
	if done, err := c.read(http.MethodPost, docPath(words[0], "copy"), nil, body, &done); done || err != nil {
		return err
	}
	fmt.Fprintf(c.p.stdout, "%s begins at sequence %d\n", clean(done.Doc), done.Seq)
	return nil
}

func (c *docClient) rm(words []string) error {
	if f, ok := c.p.stdin.(*os.File); ok && isTerminal(f) && !c.f.yes {
		fmt.Fprintf(c.p.stdout, "Remove %s with its whole history, for good? Type its name: ", clean(words[0]))
		line, _ := bufio.NewReader(f).ReadString('\n')
		if strings.TrimSpace(line) != words[0] {
			return errors.New("not removed")
		}
	}
	resp, err := c.call(http.MethodDelete, docPath(words[0]), nil, nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	fmt.Fprintf(c.p.stdout, "%s removed\n", clean(words[0]))
	if left := resp.Header.Get("Yjet-Erased"); left != "" {
		fmt.Fprintf(c.p.stderr, "%s\n", clean(left))
	}
	return nil
}
