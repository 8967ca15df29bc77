package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"yjet/internal/natsd"
)

// version is set by a release build: -ldflags "-X main.version=1.2.3".
var version = "dev"

// commit is the commit the binary was built from, "" when it is not known (go run knows none).
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var rev, dirty string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	if len(rev) > 12 {
		rev = rev[:12]
	}
	return rev + dirty
}

func runVersion(_ context.Context, p process, args []string) error {
	s := newSettings("version")
	if err := s.load(args, p.environ, p.stdout, "Usage: yjet version"); err != nil {
		return err
	}
	if len(s.Args()) > 0 {
		return usagef("version: unexpected %q", s.Args()[0])
	}
	c := commit()
	if c == "" {
		c = "unknown"
	}
	fmt.Fprintf(p.stdout, "yjet %s commit %s %s nats-server %s\n", version, c, runtime.Version(), natsd.Version)
	return nil
}
