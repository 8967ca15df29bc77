package auth

import (
	"fmt"
	"testing"
	"time"
)

// What a connect costs for its token: verified anew (first time a token is seen) and known (reconnects, further documents).
func BenchmarkVerify(b *testing.B) {
	ec, rs, ed := ecKey(b, "ec"), rsaKey(b, "rsa"), edKey(b, "ed")
	srv := newIssuer(b, ec, rs, ed)
	a, _ := newTest(b, Options{SupabaseURL: srv.URL, SupabaseSecret: testSecret})
	for a.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	for _, k := range []key{hmacKey(testSecret), ec, rs, ed} {
		token := k.token(srv.name(), nil)
		b.Run(k.alg+"/new", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.verified.clear()
				if _, err := a.Grant(b.Context(), Request{Doc: "d", Token: token}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(k.alg+"/known", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Grant(b.Context(), Request{Doc: "d", Token: token}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What a stranger can make the server compute.
func BenchmarkRefuse(b *testing.B) {
	ec := ecKey(b, "ec")
	srv := newIssuer(b, ec)
	a, _ := newTest(b, Options{SupabaseURL: srv.URL})
	for a.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	for name, token := range map[string]string{
		"signature": ecKey(b, "ec").token(srv.name(), nil), "expired": ec.token(srv.name(), claims{"exp": 1}),
		"malformed": "not.a.token", "8KiB": ec.raw(ec.header(), fmt.Sprintf(`{"x":"%05800d"}`, 0)),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := a.Grant(b.Context(), Request{Doc: "d", Token: token}); err == nil {
					b.Fatal("granted")
				}
			}
		})
	}
}

func BenchmarkRules(b *testing.B) {
	text := "["
	for i := range 100 {
		text += fmt.Sprintf(`{"match":"team-%d/**/x*","access":"r"},`, i)
	}
	rules, err := parseRules([]byte(text + `{"match":"users/{sub}/**","access":"rw"}]`))
	if err != nil {
		b.Fatal(err)
	}
	id := &identity{Grant: Grant{User: "7f1c3a52-0000-4000-8000-000000000001"}, role: roleAuthenticated}
	doc := "users/7f1c3a52-0000-4000-8000-000000000001/notes/today"
	for b.Loop() {
		if matchRules(rules, id, doc) != ReadWrite {
			b.Fatal("no right")
		}
	}
}
