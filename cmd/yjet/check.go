package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"yjet/internal/yjs"
)

const checkUsage = `
Usage: yjet check [flags]

Tests a running server from outside: health, connect, edit, echo, a second client, reconnect. It makes a document named yjet-check-… and
deletes it afterwards. If a step fails it prints the step and exits with code 1.

Examples:
  yjet check
  yjet check --url https://yjet.example.com --token "$TOKEN"
`

func runCheck(ctx context.Context, p process, args []string) error {
	var base, token string
	var timeout time.Duration
	s := newSettings("check")
	s.StringVar(&base, "url", "http://127.0.0.1:1999", "`URL` of the server")
	s.secretVar(&token, "token", "bearer `token`")
	s.DurationVar(&timeout, "timeout", 20*time.Second, "`time` for the whole check")
	if err := s.load(args, p.environ, p.stdout, checkUsage); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	c := &checker{base: base, token: token, room: fmt.Sprintf("yjet-check-%08x", rand.Uint32()), typist: newTypist()}
	defer c.cleanUp()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"health", c.health}, {"connect", c.connect}, {"edit and echo", c.echo}, {"second client", c.second}, {"reconnect", c.reconnect},
	} {
		began := time.Now()
		if err := step.run(ctx); err != nil {
			fmt.Fprintf(p.stdout, "FAIL  %-14s %v\n", step.name, err)
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintf(p.stdout, "ok    %-14s %.1f ms\n", step.name, float64(time.Since(began).Microseconds())/1000)
	}
	return nil
}

// checker carries the state from one step to the next.
type checker struct {
	base, token, room string
	typist            *typist
	first             *wsClient
	sent              []byte
	made              bool // a connection made the document
}

func (c *checker) health(ctx context.Context) error {
	var h struct{ Status string }
	status, err := c.call(ctx, http.MethodGet, "/health", &h)
	if err != nil {
		return err
	}
	if status != http.StatusOK || h.Status != "ok" {
		return fmt.Errorf("status %d, %q", status, h.Status)
	}
	return nil
}

func (c *checker) dial(ctx context.Context) (*wsClient, []byte, error) {
	ws, err := dialRoom(ctx, c.base, c.room, c.token)
	if err != nil {
		return nil, nil, err
	}
	deadline, _ := ctx.Deadline()
	ws.conn.SetReadDeadline(deadline)
	state, err := ws.sync()
	if err != nil {
		ws.close()
		return nil, nil, err
	}
	c.made = true
	return ws, state, nil
}

func (c *checker) connect(ctx context.Context) (err error) {
	c.first, _, err = c.dial(ctx)
	return err
}

// echo sends a letter and waits for it to come back: the receipt that it is stored.
func (c *checker) echo(context.Context) error {
	c.sent = c.typist.next()
	if err := c.first.send(yjs.AppendSync(nil, yjs.SyncUpdate, c.sent)); err != nil {
		return err
	}
	return c.awaitUpdate(c.first)
}

func (c *checker) awaitUpdate(ws *wsClient) error {
	for {
		step, payload, err := ws.readSync()
		if err != nil {
			return fmt.Errorf("the edit did not come back: %w", err)
		}
		if step == yjs.SyncUpdate && bytes.Equal(payload, c.sent) {
			return nil
		}
	}
}

func (c *checker) second(ctx context.Context) error {
	other, state, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer other.close()
	if err := c.holdsAll(state); err != nil {
		return err
	}
	if err := c.echo(ctx); err != nil {
		return err
	}
	return c.awaitUpdate(other)
}

func (c *checker) reconnect(ctx context.Context) error {
	c.first.close()
	var state []byte
	var err error
	if c.first, state, err = c.dial(ctx); err != nil {
		return err
	}
	return c.holdsAll(state)
}

func (c *checker) holdsAll(state []byte) error {
	v, err := yjs.VectorOf(state)
	if err != nil {
		return err
	}
	if got := v[c.typist.client]; got != c.typist.clock {
		return fmt.Errorf("the document holds %d of %d edits", got, c.typist.clock)
	}
	return nil
}

func (c *checker) cleanUp() {
	if c.first != nil {
		c.first.close()
	}
	if !c.made {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c.call(ctx, http.MethodDelete, "/api/docs/"+url.PathEscape(c.room), nil)
}

// call makes one HTTP request and decodes a JSON answer into v.
func (c *checker) call(ctx context.Context, method, path string, v any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return 0, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if v == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	return resp.StatusCode, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(v)
}
