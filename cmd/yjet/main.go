// Command yjet is the Yjs collaboration server in which the log is the document.
//
// This package wires: flags, lifetimes, the embedded NATS server and the command line. What the server does is in package ingest and
// below; see the package comment of yjet.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// process is what a command may touch of the process it runs in, so that tests can call commands as values.
type process struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// command is one word after "yjet".
type command struct {
	name  string
	brief string
	run   func(ctx context.Context, p process, args []string) error
}

func commands() []command {
	return []command{
		{"dev", "everything in one process: NATS inside, a page to try, no login, loopback only", runDev},
		{"serve", "production: in front of a NATS cluster, or with NATS inside", runServe},
		{"doc", "documents from the shell: ls, show, log, get, export, import, versions, restore, copy, rm", runDoc},
		{"erase", "overwrite in a stopped server's files what its streams do not hold any more", runErase},
		{"verify", "hold every stored document against the law, offline or online", runVerify},
		{"decode", "one payload on stdin (update, awareness frame, snapshot) to readable text", runDecode},
		{"token", "mint a token or a ticket with the configured secret", runToken},
		{"check", "smoke test of a running server from outside", runCheck},
		{"bench", "load from outside: fanout, rooms, connect, open, awareness", runBench},
		{"version", "version, commit, Go and nats-server", runVersion},
	}
}

func main() {
	// The first signal drains; the second ends at once, because the handler is gone by then.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	p := process{os.Stdin, os.Stdout, os.Stderr, os.Environ()}
	os.Exit(run(ctx, p, os.Args[1:]))
}

// run is the whole program; it answers the exit code: 0, 1 failed, 2 called wrongly.
func run(ctx context.Context, p process, args []string) int {
	if len(args) == 0 {
		printCommands(p.stderr)
		return 2
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "--help":
		if len(args) == 0 {
			printCommands(p.stdout)
			return 0
		}
		name, args = args[0], []string{"--help"}
	case "--version", "-v":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return exitCode(p, name, c.run(ctx, p, args))
		}
	}
	fmt.Fprintf(p.stderr, "yjet: no command %q; 'yjet help' lists them\n", name)
	return 2
}

func exitCode(p process, name string, err error) int {
	var usage usageError
	switch {
	case err == nil, errors.Is(err, errPrinted):
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(p.stderr, "yjet %s: %s\n", name, strings.TrimPrefix(err.Error(), name+" "))
		return 2
	default:
		fmt.Fprintf(p.stderr, "yjet %s: %v\n", name, err)
		return 1
	}
}

func printCommands(w io.Writer) {
	fmt.Fprint(w, "yjet: the Yjs collaboration server in which the log is the document\n\nUsage: yjet COMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.brief)
	}
	fmt.Fprint(w, "\n'yjet COMMAND --help' tells a command's flags, with examples.\n\nBegin with:\n  yjet dev\n")
}
