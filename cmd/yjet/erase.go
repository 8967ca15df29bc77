package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"yjet/internal/natsd"
)

const eraseUsage = `
Usage: yjet erase [flags]

Overwrites deleted bytes in the files of a stopped server: those of deleted documents (yjet doc rm), and of records that folds took out of the
log. Documents keep their content. At each start, a server overwrites what was deleted since its last start. This command also overwrites what
an earlier release left behind, and what a start had no time for.

Damaged files are reported and left alone. Run 'yjet verify --repair' first.

Examples:
  yjet erase --data /var/lib/yjet
  yjet erase --data /var/lib/yjet --json
`

func runErase(ctx context.Context, p process, args []string) error {
	var data, logLevel string
	var asJSON bool
	s := newSettings("erase")
	s.files()
	s.sharesFile = true
	s.StringVar(&data, "data", ".yjet", "`directory` of the embedded store; no server may be running on it")
	s.BoolVar(&asJSON, "json", false, "print the counts as one JSON object, without progress")
	s.StringVar(&logLevel, "log-level", "warn", "least severe `level` to log: debug, info, warn, error")
	if err := s.load(args, p.environ, p.stdout, eraseUsage); err != nil {
		return err
	}
	if s.NArg() > 0 {
		return usagef("erase: unexpected %q; see 'yjet erase --help'", s.Arg(0))
	}
	if err := holdsStore(data); err != nil {
		return err
	}
	log, err := newLogger(p.stderr, "text", logLevel)
	if err != nil {
		return err
	}
	began, told := time.Now(), time.Now()
	w, err := natsd.EraseDead(ctx, natsd.Options{Dir: data, Log: log}, func(stream string, files, all int) {
		if !asJSON && (files == all || time.Since(told) > time.Second) {
			told = time.Now()
			fmt.Fprintf(p.stderr, "%s: %d of %d files\n", stream, files, all)
		}
	})
	seconds := time.Since(began).Seconds()
	if asJSON {
		json.NewEncoder(p.stdout).Encode(map[string]any{"files": w.Files, "messages": w.Messages, "damaged": w.Unread, "sealed": w.Sealed,
			"left": w.Left, "ok": err == nil && w.Unread == 0 && w.Sealed == 0, "seconds": seconds})
	} else {
		fmt.Fprintf(p.stdout, "%-20s %d\n%-20s %d\n", "files", w.Files, "messages overwritten", w.Messages)
	}
	switch {
	case err != nil:
		return err
	case w.Unread > 0:
		return fmt.Errorf("%d damaged files were left alone and may hold deleted bytes; run 'yjet verify --repair --data %s', then erase again", w.Unread, data)
	case w.Sealed > 0:
		return fmt.Errorf("%d encrypted or compressed files were left alone and may hold deleted bytes; this command cannot read them", w.Sealed)
	}
	if !asJSON {
		fmt.Fprintf(p.stdout, "ok: no deleted bytes are left in the files (%.1f s)\n", seconds)
	}
	return nil
}

// holdsStore returns an error if a directory has no store: after a typing mistake, NATS would make an empty one.
func holdsStore(data string) error {
	if _, err := os.Stat(filepath.Join(data, "jetstream")); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s holds no store; name the directory of the store with --data", data)
	}
	return nil
}
