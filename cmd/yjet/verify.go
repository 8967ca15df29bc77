package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"yjet/internal/natsd"
	"yjet/snapshot"
	"yjet/stream"
)

const verifyUsage = `
Usage: yjet verify [flags]

Checks every stored document: replaying its records from zero must give the same values, state vector and delete set as snapshot, history and
tail together, and all checksums and writers' counters must hold. It prints counts. If it finds a fault, it prints it and exits with code 1.

With the server stopped it opens the data directory itself (--data), and first compares every message in the store's files with its checksum.
If one is damaged, it stops, since NATS may drop everything after it; --repair corrects single flipped bits and continues. While a
server runs, verify through its NATS (--nats).

Examples:
  yjet verify
  yjet verify --repair --data /var/lib/yjet
  yjet verify --data /var/lib/yjet
  yjet verify --nats nats://127.0.0.1:4222 --prefix notes/
  yjet verify --json
`

func runVerify(ctx context.Context, p process, args []string) error {
	c := config{natsAddr: "off", durability: "process"}
	var prefix string
	var asJSON, all, repair bool
	s := newSettings("verify")
	s.files()
	s.sharesFile = true
	s.StringVar(&c.data, "data", ".yjet", "`directory` of the embedded store; no server may be running on it")
	s.StringVar(&c.nats, "nats", "", "`URLs` of the NATS of a running server, comma-separated")
	s.StringVar(&c.natsCreds, "nats-creds", "", "credentials `file` for NATS")
	s.StringVar(&c.natsCA, "nats-ca", "", "certificate authority `file` for NATS")
	s.StringVar(&prefix, "prefix", "", "only documents whose names begin with `text`")
	s.BoolVar(&asJSON, "json", false, "one JSON object a line: each document with a fault, then the counts")
	s.BoolVar(&repair, "repair", false, "with --data: correct single flipped bits in the store's files; report other damage, and leave it to NATS")
	s.BoolVar(&all, "all", false, "print a line for every document, not only for those with a fault")
	s.StringVar(&c.logLevel, "log-level", "warn", "least severe `level` to log: debug, info, warn, error")
	if err := s.load(args, p.environ, p.stdout, verifyUsage); err != nil {
		return err
	}
	if s.NArg() > 0 {
		return usagef("verify: unexpected %q; see 'yjet verify --help'", s.Arg(0))
	}
	if c.nats != "" && repair {
		return usagef("--repair is for the files of a stopped server (--data), not for --nats")
	}
	log, err := newLogger(p.stderr, "text", c.logLevel)
	if err != nil {
		return err
	}
	if c.nats == "" {
		if err := holdsStore(c.data); err != nil {
			return fmt.Errorf("%w, or a running server's NATS with --nats", err)
		}
		if err := checkFiles(ctx, p, c.data, repair, asJSON); err != nil {
			return err
		}
	}
	var down stack
	defer down.run()
	nc, bulk, store, err := connectNATS(&c, false, log, &down)
	if err != nil {
		return fmt.Errorf("%w (to verify while a server runs, use its NATS: --nats nats://127.0.0.1:4222)", err)
	}
	docs, err := stream.Open(ctx, nc, bulk, stream.Config{Embedded: store != nil, Durability: durabilityInForce(&c), Log: log})
	if err != nil {
		return err
	}
	down.add(func() { docs.Close() })
	folds := snapshot.New(docs, snapshot.Options{Log: log})
	down.add(func() { folds.Close(context.Background()) })

	// Opening compares each stream's end with the mark it left; a store that lost records behind it looks whole otherwise.
	var lostEnds error
	for _, note := range docs.Health(ctx).LostEnds {
		lostEnds = errors.Join(lostEnds, fmt.Errorf("records are missing at the end of the log: %s", note))
	}

	return verifyAll(ctx, p, folds, prefix, asJSON, all, lostEnds)
}

// verifyAll checks the documents below prefix and prints the results. It returns the first fault, or lostEnds where there is none.
func verifyAll(ctx context.Context, p process, folds *snapshot.Store, prefix string, asJSON, all bool, lostEnds error) error {
	began := time.Now()
	out := json.NewEncoder(p.stdout)
	v, fault := folds.Verify(ctx, prefix, func(doc stream.Doc, one snapshot.Verified, err error) {
		switch {
		case asJSON && (all || err != nil):
			line := map[string]any{"document": doc, "ok": err == nil, "counts": one}
			if err != nil {
				line["fault"] = err.Error()
			}
			out.Encode(line)
		case err != nil:
			fmt.Fprintf(p.stdout, "FAULT %q: %v\n", doc, err)
		case all && !asJSON:
			fmt.Fprintf(p.stdout, "ok    %q: %d records, %d of them packed\n", doc, one.Records, one.Packed)
		}
	})
	if fault != nil && !errors.Is(fault, snapshot.ErrVerify) {
		return fault
	}
	if fault == nil {
		fault = lostEnds
	}
	if asJSON {
		out.Encode(map[string]any{"counts": v, "ok": fault == nil, "seconds": time.Since(began).Seconds()})
		return fault
	}
	printCounts(p.stdout, v)
	if fault == nil {
		fmt.Fprintf(p.stdout, "ok: replay from zero = snapshot + history + tail (%.1f s)\n", time.Since(began).Seconds())
	}
	return fault
}

func printCounts(w io.Writer, v snapshot.Verified) {
	for _, n := range []struct {
		name string
		n    int64
	}{
		{"documents", int64(v.Docs)}, {"records", int64(v.Records)}, {"  packed", int64(v.Packed)}, {"  in the tail", int64(v.Tail)},
		{"  by other programs", int64(v.Outside)}, {"  stored twice", int64(v.Duplicate)}, {"  quarantined", int64(v.Quarantined)},
		{"snapshots", int64(v.Snapshots)}, {"history segments", int64(v.Segments)}, {"other folds", int64(v.Folds)}, {"orphans", int64(v.Orphans)},
		{"known holes", int64(v.KnownHoles)}, {"bytes of updates", v.UpdateBytes}, {"bytes of snapshots", v.StateBytes}, {"damaged documents", int64(v.Damaged)},
	} {
		fmt.Fprintf(w, "%-20s %d\n", n.name, n.n)
	}
}

// checkFiles compares the messages in the store's files with their checksums before NATS opens them. Without repair, damage ends the
// command: NATS changes a damaged file when it opens it, after which a flipped bit can no longer be corrected.
func checkFiles(ctx context.Context, p process, data string, repair, asJSON bool) error {
	kinds := map[string]int{}
	out := json.NewEncoder(p.stdout)
	rep, err := natsd.Check(ctx, data, repair, func(f natsd.Finding) {
		kinds[f.Kind.String()]++
		if asJSON {
			out.Encode(map[string]any{"file": f.File, "offset": f.At, "stream": f.Stream, "after": f.Seq, "found": f.Kind.String()})
		} else {
			fmt.Fprintf(p.stdout, "%-7s %s, offset %d, after message %d of %s\n", f.Kind, f.File, f.At, f.Seq, f.Stream)
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w (to verify while a server runs, use its NATS: --nats nats://127.0.0.1:4222)", err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case kinds["broken"] > 0 && !repair:
		return fmt.Errorf("%d places in the store's files are damaged; make a copy of %s, then run 'yjet verify --repair --data %s'", kinds["broken"], data, data)
	}
	if rep.Sealed > 0 {
		fmt.Fprintf(p.stderr, "%d encrypted or compressed files were not compared with their checksums\n", rep.Sealed)
	}
	return nil
}
