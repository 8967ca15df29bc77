package ingest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/auth"
	"yjet/stream"
)

func TestSignedInUsersDoNotShareTheAllowanceOfTheirAddress(t *testing.T) {
	g := newGate(Limits{PerIP: 3, PerUser: 2, UserDocuments: 2, NewDocuments: 2, NewPerIP: 1000}.withDefaults())
	now := time.Now()
	const school = "203.0.113.7"
	for i := range 30 {
		user := fmt.Sprint("pupil", i)
		if _, cs := g.enter(school, now); cs != nil {
			t.Fatalf("pupil %d: got %q, want a connection", i, cs.reason)
		}
		if !g.signIn(school, user, now) {
			t.Fatalf("pupil %d has no connection yet and was refused one", i)
		}
		if hold, ok := g.mayBegin(school, user, now); !ok || hold != 0 {
			t.Fatalf("pupil %d: first document: got %v, %v, want it at once", i, hold, ok)
		}
	}
	for i, want := range []*cause{nil, nil, nil, causeAddressFull} {
		if _, got := g.enter(school, now); got != want {
			t.Errorf("connection %d without a user: got %v, want %v", i, got, want)
		}
	}
	if !g.signIn(school, "pupil0", now) {
		t.Error("second connection of a user: refused, want it")
	}
	if g.signIn(school, "pupil0", now) {
		t.Error("third connection of a user: got it, want it refused")
	}
	g.leave(school, "pupil0")
	if !g.signIn(school, "pupil0", now) {
		t.Error("after one connection was left: refused, want it")
	}
}

func TestNewDocumentsAboveTheRateWaitAndAreRefusedOnlyFarAboveIt(t *testing.T) {
	g := newGate(Limits{NewDocuments: 60}.withDefaults())
	now := time.Now()
	for i := range 60 {
		if hold, ok := g.mayBegin("203.0.113.7", "ada", now); !ok || hold != 0 {
			t.Fatalf("document %d: got %v, %v, want it at once", i, hold, ok)
		}
	}
	if hold, ok := g.mayBegin("203.0.113.7", "ada", now); !ok || hold != time.Second {
		t.Errorf("one above the rate: got %v, %v, want a second's wait", hold, ok)
	}
	for range 4 {
		g.mayBegin("203.0.113.7", "ada", now)
	}
	if _, ok := g.mayBegin("203.0.113.7", "ada", now); ok {
		t.Error("six above the rate: allowed, want it refused")
	}
	if hold, ok := g.mayBegin("203.0.113.7", "bob", now); !ok || hold != 0 {
		t.Errorf("a neighbour behind the same address: got %v, %v, want it at once", hold, ok)
	}
	if hold, ok := g.mayBegin("203.0.113.7", "", now); !ok || hold != 0 {
		t.Errorf("a client without a user: got %v, %v, want it at once", hold, ok)
	}
	if hold, ok := g.mayBegin("203.0.113.7", "ada", now.Add(time.Minute)); !ok || hold != 0 {
		t.Errorf("a minute later: got %v, %v, want it at once", hold, ok)
	}
}

func TestGateForgetsAddressesAndUsersThatLeft(t *testing.T) {
	g := newGate(Limits{}.withDefaults())
	now := time.Now()
	g.enter("203.0.113.7", now)
	g.signIn("203.0.113.7", "ada", now)
	g.open("ada", "d")
	g.tick(now.Add(time.Hour))
	if len(g.byUser) != 1 {
		t.Error("a user who is connected was removed")
	}
	g.shut("ada", "d")
	g.leave("203.0.113.7", "ada")
	g.tick(now.Add(time.Hour))
	if g.total != 0 || len(g.byIP) != 0 || len(g.byUser) != 0 {
		t.Errorf("got %d connections, %d addresses, %d users, want none", g.total, len(g.byIP), len(g.byUser))
	}
}

func TestNewDocumentsAreCountedByUser(t *testing.T) {
	proxied := func(o *Options, _ *auth.Options, _ *stream.Config) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		o.Limits.NewDocuments = 3
	}
	w := start(t, quick, logins, proxied)
	from := func(ip, doc string, user string) *client {
		ws, _, err := websocket.DefaultDialer.Dial(w.url("/"+doc+"?token="+token(user, time.Hour)), http.Header{"X-Forwarded-For": {ip}})
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, ws)
		c.send(step1(nil), edit(insert(7, 0, "x")))
		return c
	}
	for i := range 3 {
		from("203.0.113.7", fmt.Sprint("d", i), "ada").has(7, 1)
	}
	if code := from("203.0.113.8", "d3", "ada").code(); code != 1013 {
		t.Errorf("a fourth document of the user, from elsewhere: got close code %d, want 1013", code)
	}
	from("203.0.113.7", "d1", "ada").has(7, 1) // one that is there
	from("203.0.113.7", "d3", "bob").has(7, 1) // a neighbour behind the same address
	if n := len(w.records("d3")); n != 1 {
		t.Errorf("got %d records of d3, want one", n)
	}
}

// Operators look the reasons up.
func TestReasonsOfLimitsAreInTheDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cs := range []*cause{causeTooLarge, causeFirstTooLarge, causeValueTooLarge, causeTooManyParts, causeNeverAuth, causeFull, causeTooManyOpen, causeLoadQueue, causeDocumentCrowded, causeServerFull,
		causeAddressFull, causeUserFull, causeUserDocuments, causeAddressRate, causeNewDocuments, causeVersions, causeSlow, causeExpired, causeToken,
		causeInboundFull, causeUnread, causeHeavy, causeAddressRequests, causeNoMemory, causePresenceLarge, causePresenceIDs, causePresenceFull,
		causeFullDepth, causeFullClients, causeFullRootWork, causeFullSubDocs, causeFullConflicts} {
		if !bytes.Contains(page, []byte("`"+cs.reason+"`")) {
			t.Errorf("docs/operate.md does not name the reason %q", cs.reason)
		}
		if _, ok := sentences[cs]; !ok {
			t.Errorf("the reason %q has no sentence for people", cs.reason)
		}
	}
}
