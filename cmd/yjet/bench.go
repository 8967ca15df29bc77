package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"yjet/internal/yjs"
)

const benchUsage = `
Usage: yjet bench [flags] SCENARIO…

Puts load on a running server through real sockets. Every edit is a valid Yjs update. Times are from the writer's send to its arrival at each
client, the writer's own echo included. Prints a JSON line for each scenario, then a table.

Scenarios:
  keystroke  one room, one writer, one reader, 30 edits a second
  fanout     one room, --clients readers, one writer, 10 edits a second
  rooms      --rooms rooms of 4 clients, each writing --rate edits a second
  connect    --clients sockets opened one after the other, until each has the document
  open       a document of --records records, opened --clients times
  awareness  one room of 40 clients, each moving its cursor 10 times a second
  bulk       one client sends --updates updates as fast as they are read, and another reads them; the times are those of a pair that types
             50 letters a second in another room meanwhile

With --bare each scenario but open runs first against a plain broadcast in this process (no log, no checks, no fsync). Compare the two rows of
one run, never figures from two machines.

Examples:
  yjet bench keystroke --bare
  yjet bench --url https://yjet.example.com --token "$TOKEN" fanout rooms
  yjet bench --rooms 200 --rate 5 --for 20s rooms
  yjet bench --clean keystroke
  yjet bench --updates 26000 bulk
`

// benchConfig says how much load to make, and on which server.
type benchConfig struct {
	url, token     string
	bare, clean    bool
	clients, rooms int
	rate           float64
	records        int
	updates        int
	duration       time.Duration
}

// benchPrefix begins the names of all documents that a run writes to.
const benchPrefix = "bench-"

// benchResult is one JSON line. Times are milliseconds.
type benchResult struct {
	Scenario   string  `json:"scenario"`
	Server     string  `json:"server"` // "yjet" or "bare"
	Clients    int     `json:"clients"`
	Sent       int     `json:"sent,omitempty"`
	Deliveries int     `json:"deliveries,omitempty"`
	Missing    int     `json:"missing"`
	PerSecond  float64 `json:"per_second"`
	P50        float64 `json:"p50_ms"`
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	Bytes      int     `json:"bytes,omitempty"`
}

func runBench(ctx context.Context, p process, args []string) error {
	var c benchConfig
	s := newSettings("bench")
	s.StringVar(&c.url, "url", "http://127.0.0.1:1999", "`URL` of the server")
	s.secretVar(&c.token, "token", "bearer `token`")
	s.BoolVar(&c.bare, "bare", false, "run each scenario but open against a plain broadcast first")
	s.IntVar(&c.clients, "clients", 100, "`number` of readers in fanout, of sockets in connect, of openings in open")
	s.IntVar(&c.rooms, "rooms", 100, "`number` of rooms in rooms")
	s.Float64Var(&c.rate, "rate", 2, "`edits` a second of each client in rooms")
	s.IntVar(&c.records, "records", 10000, "`number` of records of the document in open")
	s.IntVar(&c.updates, "updates", 26000, "`number` of updates of the one client in bulk")
	s.BoolVar(&c.clean, "clean", false, "delete the documents of this and earlier runs at the end, half a second each")
	s.DurationVar(&c.duration, "for", 5*time.Second, "`time` that each load runs")
	flags, scenarios := interleaved(s.FlagSet, args)
	if err := s.load(flags, p.environ, p.stdout, benchUsage); err != nil {
		return err
	}
	if c.clients < 1 || c.rooms < 1 || c.rate <= 0 || c.records < 1 || c.updates < 1 || c.duration <= 0 {
		return usagef("bench: --clients, --rooms, --rate, --records, --updates and --for must be above zero")
	}
	if len(scenarios) == 0 {
		scenarios = allScenarios
	}
	if i := slices.IndexFunc(scenarios, func(s string) bool { return !slices.Contains(allScenarios, s) }); i >= 0 {
		return usagef("bench: no scenario %q; see 'yjet bench --help'", scenarios[i])
	}
	var results []benchResult
	for _, name := range scenarios {
		if c.bare && name != "open" {
			bare, err := startBare()
			if err != nil {
				return err
			}
			r, err := scenario(ctx, c, name, bare.url, "")
			bare.stop()
			if err != nil {
				return fmt.Errorf("%s against the plain broadcast: %w", name, err)
			}
			r.Server = "bare"
			results = append(results, printResult(p, r))
		}
		r, err := scenario(ctx, c, name, c.url, c.token)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.Server = "yjet"
		results = append(results, printResult(p, r))
	}
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nscenario\tserver\tclients\tper second\tp50 ms\tp95 ms\tp99 ms\tmax ms\tmissing\t")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t\n", r.Scenario, r.Server, r.Clients, r.PerSecond, r.P50, r.P95, r.P99, r.Max, r.Missing)
	}
	if err := w.Flush(); err != nil || !c.clean {
		fmt.Fprintf(p.stderr, "\nThe documents %s… are kept. 'yjet bench --clean SCENARIO' deletes them after its run.\n", benchPrefix)
		return err
	}
	return c.cleanUp(ctx, p)
}

// cleanUp deletes the documents of all runs.
func (c *benchConfig) cleanUp(ctx context.Context, p process) error {
	admin := checker{base: strings.TrimSuffix(c.url, "/"), token: c.token}
	for n := 0; ; {
		var page struct {
			Docs []struct{ ID string } `json:"docs"`
		}
		if code, err := admin.call(ctx, http.MethodGet, "/api/docs?limit=100&prefix="+benchPrefix, &page); err != nil || code != http.StatusOK {
			return fmt.Errorf("list the documents of the benchmark: status %d, %v", code, err)
		}
		if len(page.Docs) == 0 {
			fmt.Fprintf(p.stderr, "\n%d documents deleted\n", n)
			return nil
		}
		for _, d := range page.Docs {
			if code, err := admin.call(ctx, http.MethodDelete, "/api/docs/"+url.PathEscape(d.ID), nil); err != nil || code != http.StatusNoContent {
				return fmt.Errorf("delete %q: status %d, %v", d.ID, code, err)
			}
			n++
		}
	}
}

func printResult(p process, r benchResult) benchResult {
	line, _ := json.Marshal(r)
	fmt.Fprintln(p.stdout, string(line))
	return r
}

// allScenarios are in the order in which they run where none is named.
var allScenarios = []string{"keystroke", "fanout", "rooms", "connect", "open", "awareness", "bulk"}

func scenario(ctx context.Context, c benchConfig, name, url, token string) (benchResult, error) {
	base := load{url: url, token: token, room: fmt.Sprintf("%s%08x", benchPrefix, rand.Uint32()), duration: c.duration, step: letterFrame}
	switch name {
	case "keystroke":
		base.rooms, base.clients, base.writers, base.rate = 1, 2, 1, 30
	case "fanout":
		base.rooms, base.clients, base.writers, base.rate = 1, c.clients, 1, 10
	case "rooms":
		base.rooms, base.clients, base.writers, base.rate = c.rooms, 4, 4, c.rate
	case "awareness":
		base.rooms, base.clients, base.writers, base.rate, base.step = 1, 40, 40, 10, cursorFrame
	case "connect":
		return benchConnect(ctx, base, c.clients)
	case "open":
		return benchOpen(ctx, base, c.records, c.clients)
	case "bulk":
		return benchBulk(ctx, base, c.updates)
	}
	r, err := base.run(ctx)
	r.Scenario = name
	return r, err
}

// benchConnect opens sockets one after the other and times each from the dial to the document.
func benchConnect(ctx context.Context, l load, n int) (benchResult, error) {
	var took []time.Duration
	began := time.Now()
	for range n {
		one := time.Now()
		ws, err := dialRoom(ctx, l.url, l.room, l.token)
		if err != nil {
			return benchResult{}, err
		}
		if err := ws.open(); err != nil {
			return benchResult{}, err
		}
		took = append(took, time.Since(one))
		defer ws.close()
	}
	r := summarize(took, time.Since(began))
	r.Scenario, r.Clients = "connect", n
	return r, nil
}

// benchOpen writes a document of one-letter records, then times opening it.
func benchOpen(ctx context.Context, l load, records, n int) (benchResult, error) {
	ws, err := dialRoom(ctx, l.url, l.room, l.token)
	if err != nil {
		return benchResult{}, err
	}
	defer ws.close()
	if err := ws.open(); err != nil {
		return benchResult{}, err
	}
	// Each letter waits for the last one's echo, or letters that wait together would become one record.
	t := newTypist()
	for range records {
		if err := ws.send(yjs.AppendSync(nil, yjs.SyncUpdate, t.next())); err != nil {
			return benchResult{}, err
		}
		if _, _, err := ws.readSync(); err != nil {
			return benchResult{}, err
		}
	}
	var took []time.Duration
	var size int
	began := time.Now()
	for range n {
		one := time.Now()
		reader, err := dialRoom(ctx, l.url, l.room, l.token)
		if err != nil {
			return benchResult{}, err
		}
		state, err := reader.sync()
		if err != nil {
			return benchResult{}, err
		}
		took = append(took, time.Since(one))
		size = len(state)
		reader.close()
	}
	r := summarize(took, time.Since(began))
	r.Scenario, r.Clients, r.Sent, r.Bytes = "open", n, records, size
	return r, nil
}

func summarize(took []time.Duration, wall time.Duration) benchResult {
	if len(took) == 0 {
		return benchResult{}
	}
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Microseconds()) / 1000
	}
	return benchResult{
		Deliveries: len(took), PerSecond: float64(len(took)) / wall.Seconds(),
		P50: at(.5), P95: at(.95), P99: at(.99), Max: at(1),
	}
}
