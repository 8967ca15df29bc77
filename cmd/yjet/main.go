// Command yjet is the Yjs collaboration server in which the log is the document.
//
// This package connects the parts: flags, lifetimes, the embedded NATS server and the command line. Package ingest and those below it
// implement the server; see the package comment of yjet.
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

// process is the part of its process that a command may touch, so that tests can call commands as values.
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
		{"dev", "everything in one process: NATS, a page to try, no login, loopback only", runDev},
		{"serve", "run for production, with NATS inside or in front of a NATS cluster", runServe},
		{"doc", "documents from the shell: list, read, export, restore, delete and more", runDoc},
		{"erase", "overwrite deleted bytes in a stopped server's files", runErase},
		{"verify", "check every stored document, offline or online", runVerify},
		{"decode", "print one payload from stdin (update, awareness, snapshot) as text", runDecode},
		{"token", "make a token or a ticket with the configured secret", runToken},
		{"check", "smoke-test a running server from outside", runCheck},
		{"bench", "put load on a running server and measure it", runBench},
		{"version", "print the versions of yjet, Go and nats-server", runVersion},
	}
}

func main() {
	// The first signal drains; the second ends at once, because the handler is gone by then.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	p := process{os.Stdin, os.Stdout, os.Stderr, os.Environ()}
	os.Exit(run(ctx, p, os.Args[1:]))
}

// run is the whole program. It returns the exit code: 0 for success, 1 for a failure, 2 for a mistake in how it was called.
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
		text := strings.TrimPrefix(err.Error(), name)
		fmt.Fprintf(p.stderr, "yjet %s: %s\n", name, strings.TrimLeft(text, ": "))
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
	fmt.Fprint(w, "\n'yjet COMMAND --help' shows a command's flags, with examples.\n\nTo try it:\n  yjet dev\n")
}
