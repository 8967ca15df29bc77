package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"yjet/auth"
	"yjet/stream"
)

const tokenUsage = `
Usage: yjet token [flags]

Makes a token with the configured secret and prints it: a user's token, or with --doc a ticket for that document alone. Put tickets, not users'
tokens, into URLs. --admin makes an administrator's token for scripts: it may do everything, and end other users' sessions.

--explain TOKEN lists every check that a server with the same settings makes of a token, whether it passed, and what to do if it did not;
with --doc, also the rights on that document. It never prints the signature. --explain - reads the token from stdin. The exit code is 0 if the
token is accepted, 1 if not.

Examples:
  yjet token --jwt-secret-file secret --user alice
  yjet token --jwt-secret-file secret --user alice --doc notes/todo --access r --ttl 5m
  SUPABASE_JWT_SECRET=… yjet token --user 7b2c… --ttl 1h
  yjet token --jwt-secret-file secret --admin --ttl 720h
  pbpaste | yjet token --config yjet.conf --explain - --doc notes/todo
`

// tokenWish holds the flags of yjet token.
type tokenWish struct {
	user, doc, access string
	ttl               time.Duration
	admin             bool
	explain           string
}

func runToken(ctx context.Context, p process, args []string) error {
	var c authConfig
	var w tokenWish
	s := newSettings("token")
	s.files()
	s.sharesFile = true
	authFlags(s, &c, "jwt")
	s.StringVar(&w.user, "user", "", "`id` of the user: the token's sub")
	s.StringVar(&w.doc, "doc", "", "`document` of a ticket; without it a user's token is made")
	s.StringVar(&w.access, "access", "rw", "`rights` of a ticket: r, rw, or rwd (also delete)")
	s.BoolVar(&w.admin, "admin", false, "make an administrator's token")
	s.DurationVar(&w.ttl, "ttl", time.Hour, "`time` that it is valid")
	s.StringVar(&w.explain, "explain", "", "explain how a server with these settings judges `TOKEN`; - reads it from stdin")
	if err := s.load(args, p.environ, p.stdout, tokenUsage); err != nil {
		return err
	}
	if w.explain == "" {
		if err := w.check(); err != nil {
			return err
		}
	}
	if !c.keyed() {
		return usagef("token: no key; give the one the server has: --jwt-secret, --jwks-url, SUPABASE_URL, SUPABASE_JWT_SECRET or --auth-callback")
	}
	if w.doc != "" {
		d, err := stream.ParseDoc(w.doc)
		if err != nil {
			return usagef("token: --doc: %v", err)
		}
		w.doc = string(d)
	}
	o := c.options()
	o.Mode, o.Loopback = "jwt", true // a local stack's published secret is for the server to refuse
	o.Log = slog.New(slog.DiscardHandler)
	a, err := openAuth(o)
	if err != nil {
		return err
	}
	defer a.Close()
	if w.explain != "" {
		return explainToken(ctx, p, a, w)
	}
	token, err := w.mint(a)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, token)
	return err
}

// check finds mistakes that concern more than one flag.
func (w *tokenWish) check() error {
	mode, ok := auth.ParseMode(w.access)
	switch {
	case !ok || mode == auth.None:
		return usagef("token: --access %q: want r, rw or rwd", w.access)
	case w.ttl <= 0:
		return usagef("token: --ttl must be above zero")
	case w.admin && w.doc != "":
		return usagef("token: --admin is for all documents, --doc for one")
	case w.user == "" && w.doc == "" && !w.admin:
		return usagef("token: name the user with --user, or a document with --doc for a ticket, or give --admin")
	}
	return nil
}

func (w *tokenWish) mint(a *auth.Auth) (string, error) {
	switch mode, _ := auth.ParseMode(w.access); {
	case w.admin:
		return a.AdminTicket(w.user, w.ttl)
	case w.doc != "":
		return a.Ticket(w.doc, mode, w.user, w.ttl)
	}
	return a.Token(w.user, w.ttl, nil)
}

// explainToken prints the result of every check on a token. It returns an error where the token is refused.
func explainToken(ctx context.Context, p process, a *auth.Auth, w tokenWish) error {
	token := w.explain
	if token == "-" {
		b, err := io.ReadAll(io.LimitReader(p.stdin, 64<<10))
		if err != nil {
			return err
		}
		token = string(b)
	}
	token = strings.TrimSpace(token)
	if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(rest)
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	x := a.Explain(ctx, auth.Request{Doc: w.doc, Token: token})
	for _, c := range x.Checks {
		verdict := "ok    "
		if !c.Known {
			verdict = "?     "
		} else if !c.OK {
			verdict = "FAILED"
		}
		fmt.Fprintf(p.stdout, "%s  %-10s %s\n", verdict, c.Name, c.Detail)
	}
	if x.Err != nil {
		fmt.Fprintf(p.stdout, "\nrefused: %s\nto do: %s\n", refusedFor(x.Err), x.Advice)
		return errors.New("the token is refused")
	}
	fmt.Fprintf(p.stdout, "\naccepted: user %s, until %s", x.Grant.User, x.Grant.Expires.UTC().Format(time.RFC3339))
	switch {
	case x.Grant.Admin:
		fmt.Fprint(p.stdout, ", administrator")
	case w.doc != "":
		fmt.Fprintf(p.stdout, ", %s on %s", x.Grant.Mode, w.doc)
	}
	fmt.Fprintln(p.stdout)
	return nil
}

// refusedFor is the check that a token failed, and why; or the reason where all its checks passed.
func refusedFor(err error) string {
	var e *auth.TokenError
	if errors.As(err, &e) {
		return e.Check + ", " + strings.TrimPrefix(e.Error(), "auth: ")
	}
	return strings.TrimPrefix(err.Error(), "auth: ")
}
