package auth

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestTicketOpensOneDocumentInOneMode(t *testing.T) {
	a, _ := newTest(t, Options{SupabaseSecret: testSecret})
	other, _ := newTest(t, Options{SupabaseSecret: testSecret})
	ticket, err := a.Ticket("notes/a", Read, "ada", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(ticket, ".") != 2 || len(ticket) > 600 {
		t.Errorf("got %q, want a token fit for a query", ticket)
	}
	for _, on := range []*Auth{a, other} { // any server with the same secret
		g, err := on.Grant(t.Context(), Request{Doc: "notes/a", Token: ticket})
		if err != nil || g.Mode != Read || g.User != "ada" || g.Admin || time.Until(g.Expires) > time.Minute {
			t.Errorf("got %+v %v", g, err)
		}
		for _, doc := range []string{"notes/b", "notes/a/b", "notes", "**", ""} {
			if _, err := on.Grant(t.Context(), Request{Doc: doc, Token: ticket}); !errors.Is(err, ErrForbidden) {
				t.Errorf("on %q: got %v, want ErrForbidden", doc, err)
			}
		}
	}
	// To anybody else who trusts the same secret it is no token.
	if _, err := jwt.Parse(ticket, func(*jwt.Token) (any, error) { return []byte(testSecret), nil }); err == nil {
		t.Error("the ticket is signed with the secret itself")
	}

	guest, _ := a.Ticket("d", ReadWrite, "", 0)
	if g, err := a.Grant(t.Context(), Request{Doc: "d", Token: guest}); err != nil || !strings.HasPrefix(g.User, "guest-") || g.Mode != ReadWrite {
		t.Errorf("guest: got %+v %v", g, err)
	}
	for name, err := range map[string]error{
		"too long":      second(a.Ticket("d", Read, "u", MaxTicketTTL+1)),
		"negative":      second(a.Ticket("d", Read, "u", -1)),
		"no mode":       second(a.Ticket("d", None, "u", 0)),
		"no document":   second(a.Ticket("", Read, "u", 0)),
		"line break":    second(a.Ticket("d", Read, "u\n", 0)),
		"endless admin": second(a.AdminTicket("u", 0)),
	} {
		if err == nil {
			t.Errorf("%s: minted", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestTicketLastsNoLongerThanItsOwnerAndEndsWithHim(t *testing.T) {
	a, _ := newTest(t, Options{SupabaseSecret: testSecret})
	g, err := a.Grant(t.Context(), Request{Doc: "d", Token: hmacKey(testSecret).token("x", claims{"sub": "u", "exp": time.Now().Unix() + 60})})
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := a.TicketFor(g, "d", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Grant(t.Context(), Request{Doc: "d", Token: ticket})
	if err != nil || !got.Expires.Equal(g.Expires) || got.Session != g.Session || got.Name != g.Name {
		t.Errorf("got %+v %v, want the owner's expiry, session and name: %+v", got, err, g)
	}
	if err := a.Revoke(Revocation{Session: g.Session}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: ticket}); !errors.Is(err, ErrRevoked) {
		t.Errorf("after the owner's session was revoked: got %v, want ErrRevoked", err)
	}
}

func TestTicketExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := New(Options{Mode: "jwt", Secret: testSecret})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		ticket, _ := a.Ticket("d", Read, "u", time.Minute)
		time.Sleep(time.Minute + Leeway - time.Second)
		if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: ticket}); err != nil {
			t.Errorf("within the leeway: got %v", err)
		}
		time.Sleep(2 * time.Second) // it is in the cache by now
		if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: ticket}); !errors.Is(err, ErrExpired) {
			t.Errorf("after: got %v, want ErrExpired", err)
		}
	})
}

func TestAdminTicketAndTokenOfOurOwn(t *testing.T) {
	a, _ := newTest(t, Options{Secret: testSecret, Issuer: "https://id.example", Audience: "yjet", Claim: "rights"})
	admin, err := a.AdminTicket("ci", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	g, err := a.Identity(t.Context(), Request{Token: admin})
	if err != nil || !g.Admin || g.User != "ci" || g.Mode != None {
		t.Errorf("got %+v %v", g, err)
	}
	if g, err := a.Grant(t.Context(), Request{Doc: "whatever", Token: admin}); err != nil || g.Mode != ReadWriteDelete {
		t.Errorf("got %+v %v", g, err)
	}
	token, err := a.Token("u", time.Hour, map[string]any{"rights": []string{"doc:a:r"}, "sub": "root", "iss": "https://evil.example"})
	if err != nil {
		t.Fatal(err)
	}
	if g, err := a.Grant(t.Context(), Request{Doc: "a", Token: token}); err != nil || g.Mode != Read || g.User != "u" || g.Admin {
		t.Errorf("got %+v %v", g, err)
	}
	srv := newIssuer(t)
	keys, _ := newTest(t, Options{SupabaseURL: srv.URL})
	if _, err := keys.Token("u", time.Hour, nil); !errors.Is(err, ErrNoKey) {
		t.Errorf("with public keys alone: got %v, want ErrNoKey", err)
	}
	if _, err := keys.Ticket("d", Read, "u", 0); !errors.Is(err, ErrNoKey) {
		t.Errorf("with public keys alone: got %v, want ErrNoKey", err)
	}
	own, _ := newTest(t, Options{SupabaseURL: srv.URL, TicketSecret: testSecret})
	if _, err := own.Ticket("d", Read, "u", 0); err != nil {
		t.Errorf("with a ticket secret: got %v", err)
	}
}
