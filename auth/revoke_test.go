package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRevocationEndsWhatItNamesAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := New(Options{Mode: "jwt", Secret: testSecret})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		token := func(user, session string) string {
			return hmacKey(testSecret).token("x", claims{"sub": user, "session_id": session, "exp": time.Now().Unix() + 86400*30})
		}
		u1, u2, v := token("u", "s1"), token("u", "s2"), token("v", "s3")
		expect := func(when string, want map[[2]string]error) {
			t.Helper()
			for k, want := range want {
				if _, err := a.Grant(t.Context(), Request{Doc: k[1], Token: k[0]}); !errors.Is(err, want) {
					t.Errorf("%s: %q: got %v, want %v", when, k[1], err, want)
				}
			}
		}
		time.Sleep(time.Minute)
		a.Revoke(Revocation{Session: "s1"})
		expect("session", map[[2]string]error{{u1, "d"}: ErrRevoked, {u2, "d"}: nil, {v, "d"}: nil})
		time.Sleep(time.Minute)
		expect("its token refreshed", map[[2]string]error{{token("u", "s1"), "d"}: ErrRevoked})
		a.Revoke(Revocation{User: "v", Doc: "d"})
		expect("user on a document", map[[2]string]error{{v, "d"}: ErrRevoked, {v, "e"}: nil, {u2, "d"}: nil})
		a.Revoke(Revocation{User: "u"})
		expect("user", map[[2]string]error{{u2, "d"}: ErrRevoked, {v, "e"}: nil})
		time.Sleep(time.Minute)
		expect("signed in again", map[[2]string]error{{token("u", "s4"), "d"}: nil})
		a.Revoke(Revocation{Doc: "e"})
		expect("document", map[[2]string]error{{v, "e"}: ErrRevoked, {v, "f"}: nil})
		a.Revoke(Revocation{User: "v", Doc: "g", Leave: Read})
		if g, err := a.Grant(t.Context(), Request{Doc: "g", Token: v}); err != nil || g.Mode != Read {
			t.Errorf("leaving reading: got %v %v, want r", g.Mode, err)
		}
		a.Revoke(Revocation{User: "v", Doc: "g"})
		expect("none is less than reading", map[[2]string]error{{v, "g"}: ErrRevoked})
		if n := len(a.Revocations()); n != 6 {
			t.Errorf("got %d in force, want 6", n)
		}
		time.Sleep(RevocationTTL + time.Second)
		expect("lapsed", map[[2]string]error{{v, "g"}: nil, {u1, "d"}: nil})
		if n := len(a.Revocations()); n != 0 {
			t.Errorf("got %d in force, want 0", n)
		}
	})
}

func TestRevocationTravelsAsJSON(t *testing.T) {
	r := Revocation{User: "ü\"", Session: "s", Doc: "a/b", Leave: Read}.Complete()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got Revocation
	if err := json.Unmarshal(data, &got); err != nil || got.User != r.User || got.Doc != r.Doc || got.Leave != Read || got.Until.UnixMilli() != r.Until.UnixMilli() {
		t.Errorf("got %+v %v, want %+v", got, err, r)
	}
	for _, bad := range []string{`{"leave":"all"}`, `{}`, `[]`, `{"leave":"none","at":"x"}`} {
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s: read", bad)
		}
	}
	a, _ := newTest(t, Options{Secret: testSecret})
	for _, bad := range []Revocation{{}, {Leave: Read}, {User: "u", Leave: ReadWrite}} {
		if err := a.Revoke(bad); !errors.Is(err, ErrRevocation) {
			t.Errorf("%+v: got %v, want ErrRevocation", bad, err)
		}
	}
}

func TestRevocationsAreBoundedAndSaySo(t *testing.T) {
	a, _ := newTest(t, Options{Secret: testSecret})
	for i := range maxRevocations {
		if err := a.Revoke(Revocation{User: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Revoke(Revocation{User: "one more"}); !errors.Is(err, ErrRevocationsFull) {
		t.Errorf("got %v, want ErrRevocationsFull", err)
	}
}

func TestDocumentRevocationSparesAdministrators(t *testing.T) {
	a, _ := newTest(t, Options{Secret: testSecret})
	admin, _ := a.AdminTicket("ops", time.Hour)
	a.Revoke(Revocation{Doc: "d"})
	if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: admin}); err != nil {
		t.Errorf("got %v, want a grant", err)
	}
	a.Revoke(Revocation{User: "ops"})
	if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: admin}); !errors.Is(err, ErrRevoked) {
		t.Errorf("named: got %v, want ErrRevoked", err)
	}
}

// Nothing is granted after Revoke has returned, whatever the caches hold.
func TestRevokeIsNotOvertakenByAGrant(t *testing.T) {
	a, _ := newTest(t, Options{Secret: testSecret})
	token := hmacKey(testSecret).token("x", claims{"sub": "u", "iat": time.Now().Unix() - 1})
	var done sync.WaitGroup
	start := make(chan struct{})
	var mu sync.Mutex
	revoked := false
	for range 4 {
		done.Go(func() {
			<-start
			for range 2000 {
				mu.Lock()
				before := revoked
				mu.Unlock()
				if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: token}); err == nil && before {
					t.Error("granted after it was revoked")
					return
				}
			}
		})
	}
	close(start)
	a.Revoke(Revocation{User: "u"})
	mu.Lock()
	revoked = true
	mu.Unlock()
	done.Wait()
}

func TestStandingIsTheLongerOfTwoRevocations(t *testing.T) {
	a, err := New(Options{Mode: "jwt", Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	now := time.Now()
	long := Revocation{User: "ada", At: now.Add(-time.Minute), Until: now.Add(time.Hour)}
	short := Revocation{User: "ada", At: now, Until: now.Add(time.Minute)}
	if got := a.Standing(short); !got.Until.Equal(short.Until) {
		t.Errorf("of one that is not in force: until %v, want its own %v", got.Until, short.Until)
	}
	for _, r := range []Revocation{long, short} {
		if err := a.Revoke(r); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.Standing(short); !got.Until.Equal(long.Until) || !got.At.Equal(short.At) {
		t.Errorf("at %v until %v, want the later time %v and the later end %v", got.At, got.Until, short.At, long.Until)
	}
}

// Sign-ins around a revocation, with the clocks of issuer and server apart or not. A whole second is all that most issuers tell.
func TestTokenOfANewSignInWorksAtOnceAfterARevocation(t *testing.T) {
	for _, c := range []struct {
		name   string
		issued time.Duration // iat, from the moment of the revocation
		used   bool          // on this server, before it
		ok     bool
	}{
		{"issued an hour before", -time.Hour, false, false},
		{"issued the second before", -time.Second, false, false},
		{"issued in the same second, not used yet", 0, false, true},
		{"issued in the same second, used before", 0, true, false},
		{"by a clock a minute ahead, used before", time.Minute, true, false},
		{"by a clock an hour ahead, used before", time.Hour, true, false},
		{"issued after it", time.Second, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, err := New(Options{Mode: "jwt", Secret: testSecret})
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				time.Sleep(300 * time.Millisecond) // synctest begins on a whole second
				token := hmacKey(testSecret).token("x", claims{"sub": "u", "iat": time.Now().Add(c.issued).Unix(), "exp": time.Now().Add(30 * time.Hour).Unix()})
				grant := func() error {
					_, err := a.Grant(t.Context(), Request{Doc: "d", Token: token})
					return err
				}
				if c.used && grant() != nil {
					t.Fatal("refused before it was revoked")
				}
				time.Sleep(300 * time.Millisecond)
				if err := a.Revoke(Revocation{User: "u"}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(300 * time.Millisecond)
				for range 2 { // known the second time
					if err := grant(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRevoked) {
						t.Errorf("got %v, want ok %v", err, c.ok)
					}
				}
			})
		})
	}
}

func TestOurOwnTokensAreTimedWithinTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := New(Options{Mode: "jwt", Secret: testSecret})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		time.Sleep(100 * time.Millisecond)
		old, _ := a.Ticket("d", Read, "u", time.Hour)
		time.Sleep(100 * time.Millisecond)
		a.Revoke(Revocation{User: "u"})
		time.Sleep(100 * time.Millisecond)
		fresh, _ := a.Ticket("d", Read, "u", time.Hour)
		if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: old}); !errors.Is(err, ErrRevoked) {
			t.Errorf("a ticket made 0.1 s before: got %v, want ErrRevoked", err)
		}
		if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: fresh}); err != nil {
			t.Errorf("a ticket made 0.1 s after: got %v, want a grant", err)
		}
	})
}
