package auth

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// byLibrary judges a token as judge does, with the library's parser.
func byLibrary(parser *jwt.Parser, token string, key any) (*claimSet, error) {
	claims := &claimSet{}
	if _, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
		return nil, explain(err)
	}
	return claims, nil
}

// Whoever can sign may write any header and any claims; whoever cannot may still cut and paste. In either case judge says, to the
// word, what the library's parser says of the whole token.
func FuzzTokensAreJudgedAsTheLibraryDoes(f *testing.F) {
	hs, ec := hmacKey(testSecret), ecKey(f, "k")
	ec.kid = ""
	methods := append([]string{"ES256"}, hmacMethods...)
	v := newVerifier("test", methods, "https://id.example", "authenticated")
	parser := jwt.NewParser(parserOptions(methods, "https://id.example", "authenticated")...)
	now := time.Now().Unix()
	ok := payload(hs.token("https://id.example", nil))
	for _, p := range []string{
		ok, `{}`, `null`, `[]`, `"x"`, `{"exp":1}`, ok + ok, ok[:len(ok)-1], ok + " ", `{"exp":1e999}`, `{"exp":"1"}`, `{"exp":null}`, "{\"a\":\"\xff\"}", `{"a":1,"a":2}`,
		fmt.Sprintf(`{"exp":%d,"aud":["x","authenticated"],"iss":"https://id.example"}`, now+1e6),
		fmt.Sprintf(`{"exp":%d.5,"aud":"authenticated","iss":"https://id.example","nbf":%d,"iat":1e3}`, now+1e6, now+1e6),
		fmt.Sprintf(`{"exp":%d,"aud":{},"iss":1}`, now+1e6),
	} {
		for _, h := range []string{`{"alg":"HS256"}`, `{"alg":"ES256","typ":"JWT"}`, `{"alg":"none"}`, `{"alg":"HS512"}`, ` {"alg":"HS256","kid":"x","x":{"y":[1,2.5,true,null]}} `} {
			for cut := range 3 {
				f.Add(h, p, cut, "")
			}
			f.Add(h, p, 0, "A")
			f.Add(h, p, 0, "A.A")
		}
	}
	f.Fuzz(func(t *testing.T, head, claims string, cut int, more string) {
		for _, c := range []struct {
			k   key
			key any
		}{{hs, []byte(testSecret)}, {ec, ec.pub}} {
			token := c.k.raw(head, claims)
			if cut > 0 && cut < len(token) {
				token = token[:len(token)-cut]
			}
			token += more
			h, err := inspect(token)
			if err != nil || h.alg != c.k.alg || len(token) > maxToken {
				continue
			}
			got, gotErr := v.judge(&workspace{token: []byte(token)}, token, h, c.key)
			want, wantErr := byLibrary(parser, token, c.key)
			switch {
			case (gotErr == nil) != (wantErr == nil) || gotErr != nil && Reason(gotErr) != Reason(wantErr):
				t.Errorf("%s %q %q: got %v, the library says %v", h.alg, head, claims, gotErr, wantErr)
			case gotErr == nil && !reflect.DeepEqual(got.list, want.list):
				t.Errorf("%s: got claims %q, the library reads %q", h.alg, got.raw, want.raw)
			case fmt.Sprint(gotErr) != fmt.Sprint(wantErr) && strings.TrimSpace(claims) != "null": // which it takes for no claims
				t.Errorf("%s %q %q: got %v, the library says %v", h.alg, head, claims, gotErr, wantErr)
			}
		}
	})
}
