package auth

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// libraryClaims lets the library's parser fill a claimSet.
type libraryClaims struct{ claimSet }

func (c *libraryClaims) UnmarshalJSON(data []byte) (err error) {
	c.raw = bytes.Clone(data)
	c.list, err = readObject(c.raw, nil)
	return err
}

// byLibrary judges a token as judge does, with the library's parser.
func byLibrary(parser *jwt.Parser, token string, key any) (*libraryClaims, error) {
	claims := &libraryClaims{}
	_, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil })
	switch {
	case err == nil:
		return claims, nil
	case errors.Is(err, jwt.ErrTokenMalformed), errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable), errors.Is(err, errTwice):
		return nil, unsigned("form", "refused by the library")
	}
	return nil, explain(err, &claims.claimSet, time.Now())
}

// A signer can write any header and any claims; everybody else can still cut and paste. In either case judge comes to the same
// verdict as the library's parser does on the whole token, and names the same check of the claims.
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
		fmt.Sprintf(`{"exp":%d,"aud":"authenticated","iss":"https://id.example","nbf":%d}`, now+1e6, now+200),
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
			first, err := formOf(token)
			if err != nil {
				continue
			}
			h, err := readHeader(first)
			if err != nil || h.alg != c.k.alg || len(token) > maxToken {
				continue
			}
			w := &workspace{token: []byte(token)}
			gotErr := v.judge(w, token, h, c.key)
			want, wantErr := byLibrary(parser, token, c.key)
			switch {
			case (gotErr == nil) != (wantErr == nil) || gotErr != nil && Reason(gotErr) != Reason(wantErr):
				t.Errorf("%s %q %q: got %v, the library says %v", h.alg, head, claims, gotErr, wantErr)
			case gotErr == nil && !reflect.DeepEqual(w.claims.list, want.list):
				t.Errorf("%s: got claims %q, the library reads %q", h.alg, w.claims.raw, want.raw)
			case gotErr != nil && !gotErr.(*TokenError).Unsigned && checkOf(gotErr) != checkOf(wantErr):
				t.Errorf("%s %q %q: got %v, the library says %v", h.alg, head, claims, gotErr, wantErr)
			}
		}
	})
}
