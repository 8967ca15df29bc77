package main

import (
	"fmt"
	"net/http"
	"time"
)

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
		resp, err := c.call(http.MethodDelete, docPath(doc, "versions", c.f.remove), nil, nil)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if c.f.json {
			return c.answer(map[string]any{"doc": doc, "removed": c.f.remove})
		}
		return nil
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
		return usagef("doc restore: name the moment: a sequence, a time, an age or a version")
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
