package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"yjet/internal/natsd"
)

const devUsage = `
Usage: yjet dev [flags]

Runs everything in one process: NATS inside, a page to try at /, no login, loopback only. Documents are kept in .yjet.

Examples:
  yjet dev
  yjet dev --addr 127.0.0.1:0 --data /tmp/try
  yjet dev --durability process
`

func runDev(ctx context.Context, p process, args []string) error {
	var c config
	s := newSettings("dev")
	configFlags(s, &c, true)
	if err := s.load(args, p.environ, p.stdout, devUsage); err != nil {
		return err
	}
	if s.NArg() > 0 {
		return usagef("dev: unexpected %q; settings are flags, see 'yjet dev --help'", s.Arg(0))
	}
	if err := c.check(true); err != nil {
		return err
	}
	return serve(ctx, p, &c, true)
}

// printDevHelp prints the next steps below the ready line.
func printDevHelp(w io.Writer, url string, store *natsd.Server) {
	ws := "ws" + strings.TrimPrefix(url, "http")
	host := strings.TrimPrefix(url, "http://")
	fmt.Fprintf(w, `
  page         %s/
  inspect      %s/inspect
`, url, url)
	if n := store.URL(); n != "" {
		fmt.Fprintf(w, "  NATS         %s   (nats --server %s stream ls)\n", n, n)
	}
	fmt.Fprintf(w, `
  y-websocket  new WebsocketProvider(%q, "my-room", ydoc)
  y-partykit   new YPartyKitProvider(%q, "my-room", ydoc)
  y-partyserver new YProvider(%q, "my-room", ydoc)
  Hocuspocus   new HocuspocusProvider({ url: %q, name: "my-room", document: ydoc })

`, ws, host, host, ws)
}
