package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

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
	if c.f.limit < 0 {
		return usagef("doc ls: --limit %d: want 0 or more", c.f.limit)
	}
	out := bufio.NewWriter(c.p.stdout)
	defer out.Flush()
	all := []json.RawMessage{} // for --json
	for n := 0; ; {
		q.Set("limit", "500")
		if c.f.limit > 0 {
			q.Set("limit", strconv.Itoa(min(500, c.f.limit-n)))
		}
		resp, err := c.call(http.MethodGet, "/api/docs", q, nil)
		if err != nil {
			return err
		}
		var page struct {
			Docs []json.RawMessage `json:"docs"`
			Next string            `json:"next"`
		}
		err = json.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil {
			return err
		}
		for _, raw := range page.Docs {
			n++
			if c.f.json {
				all = append(all, raw)
				continue
			}
			var d listedDoc
			if err := json.Unmarshal(raw, &d); err != nil {
				return err
			}
			if n == 1 {
				fmt.Fprintf(out, "%-20s %9s %12s %9s  %s\n", "LAST EDIT", "UPDATES", "BYTES", "SESSIONS", "DOCUMENT")
			}
			fmt.Fprintf(out, "%-20s %9d %12d %9d  %s\n", d.LastEdit.UTC().Format(time.RFC3339), d.Updates, d.Bytes, d.Sessions, clean(d.ID))
		}
		if page.Next == "" || c.f.limit > 0 && n >= c.f.limit {
			if c.f.json {
				return c.answer(map[string]any{"docs": all})
			}
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
