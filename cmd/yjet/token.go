package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"yjet/auth"
	"yjet/stream"
)

const tokenUsage = `
Usage: yjet token [flags]

Mints a token with the configured secret and prints it: a user's token, or with --doc a ticket for that document alone. Tickets are what
belongs in a URL. --admin makes an administrator's token, for scripts: it may do everything, and end other people's sessions.

Examples:
  yjet token --jwt-secret-file secret --user alice
  yjet token --jwt-secret-file secret --user alice --doc notes/todo --access r --ttl 5m
  SUPABASE_JWT_SECRET=… yjet token --user 7b2c… --ttl 1h
  yjet token --jwt-secret-file secret --admin --ttl 720h
`

func runToken(_ context.Context, p process, args []string) error {
	var c authConfig
	var user, doc, access string
	var ttl time.Duration
	var admin bool
	s := newSettings("token")
	s.files()
	s.sharesFile = true
	authFlags(s, &c, "jwt")
	s.StringVar(&user, "user", "", "`id` of the user: the token's sub")
	s.StringVar(&doc, "doc", "", "`document` of a ticket; without it a user's token is made")
	s.StringVar(&access, "access", "rw", "what a ticket allows: r or rw")
	s.BoolVar(&admin, "admin", false, "make an administrator's token")
	s.DurationVar(&ttl, "ttl", time.Hour, "how long it is good")
	if err := s.load(args, p.environ, p.stdout, tokenUsage); err != nil {
		return err
	}
	mode, ok := map[string]auth.Mode{"r": auth.Read, "rw": auth.ReadWrite}[access]
	switch {
	case !ok:
		return usagef("token: --access %q: want r or rw", access)
	case ttl <= 0:
		return usagef("token: --ttl must be above zero")
	case admin && doc != "":
		return usagef("token: --admin is for all documents, --doc for one")
	case user == "" && doc == "" && !admin:
		return usagef("token: --user is needed, or --doc for a ticket, or --admin")
	}
	if doc != "" {
		d, err := stream.ParseDoc(doc)
		if err != nil {
			return usagef("token: --doc: %v", err)
		}
		doc = string(d)
	}
	o := c.options()
	o.Log = slog.New(slog.DiscardHandler)
	a, err := auth.New(o)
	if err != nil {
		return err
	}
	defer a.Close()
	var token string
	if admin {
		token, err = a.AdminTicket(user, ttl)
	} else if doc != "" {
		token, err = a.Ticket(doc, mode, user, ttl)
	} else {
		token, err = a.Token(user, ttl, nil)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, token)
	return err
}
