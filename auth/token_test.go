package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Every way in that anybody has thought of, against a server that knows both a shared secret and a key set, as a project does
// while it migrates. None may be let in, and none may be found in the log or in the error.
func TestForgedTokensAreRefusedAndNotLogged(t *testing.T) {
	ec, rs, ed := ecKey(t, "ec-1"), rsaKey(t, "rsa-1"), edKey(t, "ed-1")
	srv := newIssuer(t, ec, rs, ed)
	stolen := 0
	other := newIssuer(t, ecKey(t, "ec-1"))
	other.set(200, nil, func(w http.ResponseWriter, r *http.Request) { stolen++ })
	a, log := newTest(t, Options{keySetGap: quick, SupabaseURL: srv.URL, SupabaseSecret: testSecret})
	hs, iss := hmacKey(testSecret), srv.name()

	good := map[string]string{
		"the secret, no issuer":  hs.token("", claims{"iss": nil}),
		"the secret, its issuer": hs.token(iss, nil),
		"ES256":                  ec.token(iss, nil),
		"RS256":                  rs.token(iss, nil),
		"EdDSA":                  ed.token(iss, nil),
		"audience in a list":     ec.token(iss, claims{"aud": []string{"other", "authenticated"}}),
		"expired 50 s ago":       ec.token(iss, claims{"exp": time.Now().Unix() - 50}),
		"from 10 s ahead":        ec.token(iss, claims{"iat": time.Now().Unix() + 10, "nbf": time.Now().Unix() + 10}),
		"from 50 s ahead":        ec.token(iss, claims{"nbf": time.Now().Unix() + 50}),
		"issued far ahead":       ec.token(iss, claims{"iat": time.Now().Unix() + 600}),
		"sub is a number":        ec.token(iss, claims{"sub": 1}),
		"HS512":                  jwtSigned(t, jwt.SigningMethodHS512, []byte(testSecret), payload(hs.token(iss, nil))),
		"no type":                ec.raw(`{"alg":"ES256","kid":"ec-1"}`, payload(ec.token(iss, nil))),
		"an access token":        ec.raw(`{"alg":"ES256","kid":"ec-1","typ":"at+jwt"}`, payload(ec.token(iss, nil))),
		"fractions of a second":  ec.token(iss, claims{"exp": float64(time.Now().Unix()) + 600.5}),
		"a link, not followed":   ec.raw(`{"alg":"ES256","kid":"ec-1","jku":"`+other.URL+`/k","x5u":"`+other.URL+`/c"}`, payload(ec.token(iss, nil))),
	}
	for name, token := range good {
		if g, err := a.Grant(t.Context(), Request{Doc: "d", Token: token}); err != nil || g.Mode != ReadWrite || g.User == "" {
			t.Errorf("%s: got %+v %v, want a grant", name, g, err)
		}
	}

	p := payload(ec.token(iss, nil))
	now := time.Now().Unix()
	der, _ := x509.MarshalPKIXPublicKey(rs.pub)
	ecDER, _ := x509.MarshalPKIXPublicKey(ec.pub)
	publicPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	rsPublic := rs.pub.(*rsa.PublicKey)
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(rsPublic)}))
	jwkText, _ := json.Marshal(rs.jwk)
	ecText, _ := json.Marshal(ec.jwk)
	mine := ecKey(t, "ec-1") // an attacker's key under a known name
	stranger := ecKey(t, "stranger")
	mineText, _ := json.Marshal(mine.jwk)
	parts := strings.Split(ec.token(iss, nil), ".")
	hp := strings.Split(hs.token(iss, claims{"aal": "aal2"}), ".")
	header := func(s string) string { return `{"alg":"ES256","typ":"JWT","kid":"ec-1"` + s + `}` }
	with := func(s string) string { return strings.TrimSuffix(p, "}") + s + "}" }
	unsigned := func(alg string) string { return b64(`{"alg":"`+alg+`","typ":"JWT"}`) + "." + b64(p) + "." }
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ticket, err := a.Ticket("d", ReadWrite, "u", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := newTestQuiet(t, Options{SupabaseSecret: "another-secret-of-more-than-32-bytes!!"}).Ticket("d", ReadWrite, "u", time.Minute)

	forged := []struct {
		name  string
		token string
		want  error
	}{
		// No signature.
		{"none", unsigned("none"), ErrToken},
		{"None", unsigned("None"), ErrToken},
		{"NONE", unsigned("NONE"), ErrToken},
		{"nOnE", unsigned("nOnE"), ErrToken},
		{"empty algorithm", unsigned(""), ErrToken},
		{"none with a signature", b64(`{"alg":"none"}`) + "." + b64(p) + "." + parts[2], ErrToken},
		{"signature cut off", parts[0] + "." + parts[1] + ".", ErrToken},
		{"two parts", parts[0] + "." + parts[1], ErrToken},
		{"no algorithm", ec.raw(`{"kid":"ec-1"}`, p), ErrToken},
		{"algorithm is a number", ec.raw(`{"alg":256,"kid":"ec-1"}`, p), ErrToken},
		{"algorithm is a list", ec.raw(`{"alg":["ES256"],"kid":"ec-1"}`, p), ErrToken},
		{"null signature of ECDSA", parts[0] + "." + parts[1] + "." + b64(strings.Repeat("\x00", 64)), ErrToken},
		{"signature of one byte", parts[0] + "." + parts[1] + ".AA", ErrToken},

		// One kind of key taken for another.
		{"public RSA key in PEM as HMAC secret", hmacKey(publicPEM).token(iss, nil), ErrToken},
		{"public RSA key in PKCS1 PEM as HMAC secret", hmacKey(pkcs1).token(iss, nil), ErrToken},
		{"public RSA key in DER as HMAC secret", hmacKey(string(der)).token(iss, nil), ErrToken},
		{"modulus as HMAC secret", hmacKey(string(rsPublic.N.Bytes())).token(iss, nil), ErrToken},
		{"RSA JWK as HMAC secret", hmacKey(string(jwkText)).token(iss, nil), ErrToken},
		{"EC JWK as HMAC secret", hmacKey(string(ecText)).token(iss, nil), ErrToken},
		{"EC key in DER as HMAC secret", hmacKey(string(ecDER)).token(iss, nil), ErrToken},
		{"HS256 under the name of an EC key", hmacKey(string(ecDER)).raw(`{"alg":"HS256","kid":"ec-1"}`, p), ErrToken},
		{"HS256 under the name of an RSA key", hmacKey(publicPEM).raw(`{"alg":"HS256","kid":"rsa-1"}`, p), ErrToken},
		{"empty HMAC secret", hmacKey("").token(iss, nil), ErrToken},
		{"HMAC secret of one zero byte", hmacKey("\x00").token(iss, nil), ErrToken},
		{"secret in another case", hmacKey(strings.ToUpper(testSecret)).token(iss, nil), ErrToken},
		{"secret in base64", hmacKey(base64.StdEncoding.EncodeToString([]byte(testSecret))).token(iss, nil), ErrToken},
		{"HS512 named, signed with HS256", hs.raw(`{"alg":"HS512"}`, p), ErrToken},
		{"HS384 under the name of an RSA key", jwtSigned(t, jwt.SigningMethodHS384, []byte(publicPEM), p), ErrToken},
		{"RS512 with the right key", jwtSigned(t, jwt.SigningMethodRS512, rsaOnce(), p), ErrToken},
		{"PS256 with the right key", jwtSigned(t, jwt.SigningMethodPS256, rsaOnce(), p), ErrToken},
		{"ES384 with a key of its own", jwtSigned(t, jwt.SigningMethodES384, p384, p), ErrToken},
		{"RS256 named, EC key meant", rs.raw(`{"alg":"RS256","kid":"ec-1"}`, p), ErrToken},
		{"ES256 named, RSA key meant", ec.raw(`{"alg":"ES256","kid":"rsa-1"}`, p), ErrToken},
		{"algorithm in small letters", ec.raw(`{"alg":"es256","kid":"ec-1"}`, p), ErrToken},

		// Keys of the attacker's.
		{"another key under a known name", mine.token(iss, nil), ErrToken},
		{"unknown name", stranger.token(iss, nil), ErrToken},
		{"no name among several keys", ec.raw(`{"alg":"ES256"}`, p), ErrToken},
		{"empty name", ec.raw(`{"alg":"ES256","kid":""}`, p), ErrToken},
		{"name is a number", ec.raw(`{"alg":"ES256","kid":1}`, p), ErrToken},
		{"name is null", ec.raw(`{"alg":"ES256","kid":null}`, p), ErrToken},
		{"name is a path", mine.raw(`{"alg":"ES256","kid":"../../../../dev/null"}`, p), ErrToken},
		{"name is a query", mine.raw(`{"alg":"ES256","kid":"ec-1' OR '1'='1"}`, p), ErrToken},
		{"name with a NUL", mine.raw(`{"alg":"ES256","kid":"ec-1\u0000"}`, p), ErrToken},
		{"key carried along", mine.raw(`{"alg":"ES256","jwk":`+string(mineText)+`}`, p), ErrToken},
		{"key carried along under a known name", mine.raw(header(`,"jwk":`+string(mineText)), p), ErrToken},
		{"jku to the attacker", mine.raw(header(`,"jku":"`+other.URL+`/auth/v1/.well-known/jwks.json"`), p), ErrToken},
		{"x5u to the attacker", mine.raw(header(`,"x5u":"`+other.URL+`/cert.pem"`), p), ErrToken},
		{"x5c of the attacker", mine.raw(header(`,"x5c":["`+base64.StdEncoding.EncodeToString(ecDER)+`"]`), p), ErrToken},
		{"our ticket's name with another key", mine.raw(`{"alg":"ES256","kid":"yjet-ticket"}`, p), ErrToken},
		{"our ticket's name with the project's secret", hs.raw(`{"alg":"HS256","kid":"yjet-ticket","typ":"yjet-ticket+jwt"}`,
			fmt.Sprintf(`{"doc":"d","access":"rw","sub":"u","iat":%d,"exp":%d}`, now, now+60)), ErrToken},
		{"a ticket of another server", foreign, ErrToken},
		{"a ticket with its name taken off", rename(ticket, `{"alg":"HS256","typ":"JWT"}`), ErrToken},

		// Extensions and other purposes.
		{"crit", ec.raw(header(`,"crit":["exp"]`), p), ErrToken},
		{"crit, empty", ec.raw(header(`,"crit":[]`), p), ErrToken},
		{"crit, null", ec.raw(header(`,"crit":null`), p), ErrToken},
		{"unencoded payload", ec.raw(header(`,"b64":false,"crit":["b64"]`), p), ErrToken},
		{"a token of another purpose", ec.raw(`{"alg":"ES256","kid":"ec-1","typ":"logout+jwt"}`, p), ErrToken},
		{"typ is a number", ec.raw(`{"alg":"ES256","kid":"ec-1","typ":1}`, p), ErrToken},
		{"encrypted form of five parts", strings.Join([]string{parts[0], parts[1], parts[2], parts[1], parts[2]}, "."), ErrToken},

		// Times.
		{"expired an hour ago", ec.token(iss, claims{"exp": now - 3600}), ErrExpired},
		{"expired, by the secret", hs.token(iss, claims{"exp": now - 3600}), ErrExpired},
		{"expired just past the leeway", ec.token(iss, claims{"exp": now - 61}), ErrExpired},
		{"expired and for somebody else", ec.token(iss, claims{"exp": now - 3600, "aud": "other"}), ErrToken},
		{"expired and forged", mine.token(iss, claims{"exp": now - 3600}), ErrToken},
		{"no expiry", ec.token(iss, claims{"exp": nil}), ErrToken},
		{"expiry is text", ec.token(iss, claims{"exp": fmt.Sprint(now + 3600)}), ErrToken},
		{"expiry is null", ec.raw(ec.header(), strings.Replace(p, fmt.Sprintf(`"exp":%d`, now+3600), `"exp":null`, 1)), ErrToken},
		{"expiry is zero", ec.token(iss, claims{"exp": 0}), ErrToken},
		{"expiry is negative", ec.token(iss, claims{"exp": -1}), ErrToken},
		{"expiry beyond time", ec.token(iss, claims{"exp": 1e300}), ErrToken},
		{"expiry beyond numbers", ec.raw(ec.header(), with(`,"exp":1e999`)), ErrToken},
		{"expiry is true", ec.token(iss, claims{"exp": true}), ErrToken},
		{"not valid yet", ec.token(iss, claims{"nbf": now + 500}), ErrNotYet},
		{"not valid for long", ec.token(iss, claims{"nbf": now + 700}), ErrToken},
		{"not valid yet, and for somebody else", ec.token(iss, claims{"nbf": now + 500, "aud": "other"}), ErrToken},
		{"not valid yet, and expired", ec.token(iss, claims{"nbf": now + 500, "exp": now - 500}), ErrToken},
		{"iat is text", ec.token(iss, claims{"iat": "now"}), ErrToken},
		{"iat is negative", ec.token(iss, claims{"iat": -1}), ErrToken},
		{"nbf is text", ec.token(iss, claims{"nbf": "soon"}), ErrToken},

		// For whom, by whom.
		{"another issuer", ec.token("https://evil.example/auth/v1", nil), ErrToken},
		{"issuer with a slash more", ec.token(iss+"/", nil), ErrToken},
		{"issuer in capitals", ec.token(strings.ToUpper(iss), nil), ErrToken},
		{"no issuer", ec.token(iss, claims{"iss": nil}), ErrToken},
		{"issuer is a list", ec.token(iss, claims{"iss": []string{iss}}), ErrToken},
		{"another audience", ec.token(iss, claims{"aud": "anon"}), ErrToken},
		{"no audience", ec.token(iss, claims{"aud": nil}), ErrToken},
		{"no audience, by the secret", hs.token(iss, claims{"aud": nil}), ErrToken},
		{"audience is empty", ec.token(iss, claims{"aud": []string{}}), ErrToken},
		{"audience is an object", ec.token(iss, claims{"aud": claims{"authenticated": true}}), ErrToken},
		{"the anon key", hs.token("supabase", claims{"role": "anon", "sub": nil, "aud": nil, "exp": now + 1e8, "ref": "abc"}), ErrToken},
		{"the service key", hs.token("supabase", claims{"role": "service_role", "sub": nil, "aud": nil, "exp": now + 1e8, "ref": "abc"}), ErrToken},
		{"role anon", ec.token(iss, claims{"role": "anon"}), ErrToken},
		{"role service_role", ec.token(iss, claims{"role": "service_role"}), ErrToken},
		{"role is a list", ec.token(iss, claims{"role": []string{"authenticated"}}), ErrToken},
		{"publishable key", "sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH", ErrToken},
		{"secret key", "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz", ErrToken},

		// Users that are none.
		{"no sub", ec.token(iss, claims{"sub": nil}), ErrToken},
		{"empty sub", ec.token(iss, claims{"sub": ""}), ErrToken},
		{"sub is a fraction", ec.token(iss, claims{"sub": 1.5}), ErrToken},
		{"sub is true", ec.token(iss, claims{"sub": true}), ErrToken},
		{"sub is a list", ec.token(iss, claims{"sub": []string{"root"}}), ErrToken},
		{"sub is null", ec.raw(ec.header(), strings.Replace(p, `"sub":"7f1c3a52-0000-4000-8000-000000000001"`, `"sub":null`, 1)), ErrToken},
		{"sub with a line break", ec.token(iss, claims{"sub": "u\r\nYjet-User: root"}), ErrToken},
		{"sub with a NUL", ec.token(iss, claims{"sub": "root\x00"}), ErrToken},
		{"sub of white space", ec.token(iss, claims{"sub": "  "}), ErrToken},
		{"sub too long", ec.token(iss, claims{"sub": strings.Repeat("u", 256)}), ErrToken},
		{"sub in another case", ec.raw(ec.header(), strings.Replace(p, `"sub"`, `"Sub"`, 1)), ErrToken},

		// Form.
		{"sub given twice", ec.raw(ec.header(), with(`,"sub":"root"`)), ErrToken},
		{"exp given twice", ec.raw(ec.header(), with(`,"exp":99999999999`)), ErrToken},
		{"alg given twice", ec.raw(`{"alg":"none","alg":"ES256","kid":"ec-1"}`, p), ErrToken},
		{"kid given twice", ec.raw(`{"alg":"ES256","kid":"stranger","kid":"ec-1"}`, p), ErrToken},
		{"a name given twice deeper down", ec.raw(ec.header(), with(`,"x":{"docs":1,"d\u006fcs":2}`)), ErrToken},
		{"something after the claims", ec.raw(ec.header(), p+`{"sub":"root"}`), ErrToken},
		{"something after the header", ec.raw(ec.header()+"x", p), ErrToken},
		{"claims are a list", ec.raw(ec.header(), `[`+p+`]`), ErrToken},
		{"claims are text", ec.raw(ec.header(), `"x"`), ErrToken},
		{"claims are null", ec.raw(ec.header(), `null`), ErrToken},
		{"claims are empty", ec.raw(ec.header(), ``), ErrToken},
		{"claims are not JSON", ec.raw(ec.header(), `{sub:"root"}`), ErrToken},
		{"claims are not UTF-8", ec.raw(ec.header(), strings.Replace(p, "Ada", "\xff\xfe", 1)), ErrToken},
		{"claims nested deep", ec.raw(ec.header(), with(`,"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000))), ErrToken},
		{"claims with a byte order mark", ec.raw(ec.header(), "\ufeff"+p), ErrToken},
		{"padding", parts[0] + "." + parts[1] + "." + parts[2] + "==", ErrToken},
		{"standard base64", strings.Join(parts, ".") + "+/", ErrToken},
		{"bits left over", parts[0] + "." + parts[1] + "." + sameBytes(parts[2]), ErrToken},
		{"line break within", parts[0] + "." + parts[1][:9] + "\n" + parts[1][9:] + "." + parts[2], ErrToken},
		{"line break after", strings.Join(parts, ".") + "\r\n", ErrToken},
		{"space before", " " + strings.Join(parts, "."), ErrToken},
		{"a dot after", strings.Join(parts, ".") + ".", ErrToken},
		{"bytes after the signature", strings.Join(parts, ".") + "AAAA", ErrToken},
		{"empty header", "." + parts[1] + "." + parts[2], ErrToken},
		{"empty claims", parts[0] + ".." + parts[2], ErrToken},
		{"three empty parts", "..", ErrToken},
		{"header of one, claims of another", parts[0] + "." + hp[1] + "." + parts[2], ErrToken},
		{"claims changed", parts[0] + "." + b64(strings.Replace(p, "000000000001", "000000000002", 1)) + "." + parts[2], ErrToken},
		{"claims changed, by the secret", hp[0] + "." + b64(strings.Replace(payload(strings.Join(hp, ".")), "000000000001", "000000000002", 1)) + "." + hp[2], ErrToken},
		{"a byte of the signature changed", hp[0] + "." + hp[1] + "." + flip(hp[2]), ErrToken},
		{"too long", ec.token(iss, claims{"x": strings.Repeat("x", 9000)}), ErrToken},
		{"a million bytes", strings.Repeat("A", 1<<20), ErrToken},
		{"not a token", "let-me-in-please-I-am-the-owner", ErrToken},
		{"undefined", "undefined", ErrToken},
		{"null", "null", ErrToken},
		{"an object", "[object Object]", ErrToken},
		{"NUL", "\x00", ErrToken},
		{"nothing", "", ErrNoToken},
	}
	t.Logf("%d forged or wrong tokens", len(forged))
	if len(forged) < 60 {
		t.Fatal("too few")
	}
	for _, f := range forged {
		g, err := a.Grant(t.Context(), Request{Doc: "d", Token: f.token, IP: "192.0.2.1", Origin: "https://example.com"})
		if err == nil || g.Mode != None {
			t.Errorf("%s: got %+v, want %v", f.name, g, f.want)
			continue
		}
		if !errors.Is(err, f.want) {
			t.Errorf("%s: got %v, want %v", f.name, err, f.want)
		}
		if len(f.token) >= 16 && (strings.Contains(err.Error(), f.token) || strings.Contains(log.String(), f.token)) {
			t.Errorf("%s: the token is in the error or the log", f.name)
		}
		for _, part := range strings.Split(f.token, ".") {
			if len(part) >= 16 && len(part) < 9000 && (strings.Contains(err.Error(), part) || strings.Contains(log.String(), part)) {
				t.Errorf("%s: a part of the token is in the error or the log", f.name)
			}
		}
	}
	for _, word := range []string{testSecret, "ada@example.com", "eyJ"} {
		if strings.Contains(log.String(), word) {
			t.Errorf("%q is in the log", word)
		}
	}
	if stolen != 0 {
		t.Errorf("got %d requests to the attacker's server, want none", stolen)
	}
}

func newTestQuiet(t *testing.T, o Options) *Auth {
	a, _ := newTest(t, o)
	return a
}

func payload(token string) string {
	data, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	return string(data)
}

func rename(token, header string) string {
	p := strings.Split(token, ".")
	return b64(header) + "." + p[1] + "." + p[2]
}

// sameBytes is another text that a careless decoder takes for the same 64 bytes.
func sameBytes(sig string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, sig[len(sig)-1])
	return sig[:len(sig)-1] + alphabet[last|1:(last|1)+1]
}

func flip(sig string) string {
	data, _ := base64.RawURLEncoding.DecodeString(sig)
	data[0] ^= 1
	return base64.RawURLEncoding.EncodeToString(data)
}

func jwtSigned(t *testing.T, m jwt.SigningMethod, key any, payload string) string {
	t.Helper()
	in := b64(`{"alg":"`+m.Alg()+`","typ":"JWT","kid":"rsa-1"}`) + "." + b64(payload)
	sig, err := m.Sign(in, key)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = sha256.New(), sha512.New() // both hashes are linked in, so that a refusal is ours
	return in + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestIdentityComesFromTheToken(t *testing.T) {
	a, _ := newTest(t, Options{SupabaseSecret: testSecret})
	hs := hmacKey(testSecret)
	grant := func(more claims) Grant {
		t.Helper()
		g, err := a.Grant(t.Context(), Request{Doc: "d", Token: hs.token("x", more)})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := grant(nil)
	if g.User != "7f1c3a52-0000-4000-8000-000000000001" || g.Name != "Ada Lovelace" || g.Session != "5e551011-0000-4000-8000-00000000000a" {
		t.Errorf("got %+v", g)
	}
	if g.Expires.IsZero() || g.Issued.IsZero() || g.Admin || !g.Recheck.IsZero() {
		t.Errorf("got %+v", g)
	}
	if g := grant(claims{"session_id": nil}); !strings.HasPrefix(g.Session, "t-") || len(g.Session) != 26 {
		t.Errorf("without a session_id: got session %q, want a hash of the token", g.Session)
	}
	if g := grant(claims{"session_id": "a\nb"}); !strings.HasPrefix(g.Session, "t-") {
		t.Errorf("with a bad session_id: got session %q, want a hash of the token", g.Session)
	}
	if g := grant(claims{"user_metadata": claims{"full_name": "A\x1b[31m\r\n" + strings.Repeat("é", 200)}}); len([]rune(g.Name)) != 100 || strings.ContainsAny(g.Name, "\x1b\r\n") {
		t.Errorf("got name %q, want 100 characters without controls", g.Name)
	}
	if g := grant(claims{"user_metadata": "none", "name": "N"}); g.Name != "N" {
		t.Errorf("got name %q, want N", g.Name)
	}
	if g := grant(claims{"sub": "auth0|Zoë 1"}); g.User != "auth0|Zoë 1" {
		t.Errorf("got user %q", g.User)
	}
}

func TestServiceRoleIsAnAdministratorOnlyWhenTrusted(t *testing.T) {
	key := hmacKey(testSecret).token("supabase", claims{"role": "service_role", "sub": nil, "aud": nil, "session_id": nil, "is_anonymous": nil})
	a, _ := newTest(t, Options{SupabaseSecret: testSecret, TrustServiceRole: true})
	g, err := a.Grant(t.Context(), Request{Doc: "d", Token: key})
	if err != nil || !g.Admin || g.User != "service_role" || g.Mode != ReadWriteDelete {
		t.Errorf("trusted: got %+v %v", g, err)
	}
	for name, token := range map[string]string{
		"anon key":                  hmacKey(testSecret).token("supabase", claims{"role": "anon", "sub": nil, "aud": nil}),
		"user without audience":     hmacKey(testSecret).token("supabase", claims{"aud": nil}),
		"service role of elsewhere": hmacKey(testSecret).token("https://evil.example", claims{"role": "service_role", "aud": nil}),
		"user who says so":          hmacKey(testSecret).token("https://x.supabase.co/auth/v1", claims{"role": "service_role"}),
		"forged":                    hmacKey("another").token("supabase", claims{"role": "service_role", "sub": nil, "aud": nil}),
		"expired":                   hmacKey(testSecret).token("supabase", claims{"role": "service_role", "sub": nil, "aud": nil, "exp": time.Now().Unix() - 90}),
	} {
		if g, err := a.Grant(t.Context(), Request{Doc: "d", Token: token}); err == nil {
			t.Errorf("%s: got %+v, want a refusal", name, g)
		}
	}
}

func TestAnonymousUsersNeedARuleOrASetting(t *testing.T) {
	token := hmacKey(testSecret).token("x", claims{"is_anonymous": true})
	a, _ := newTest(t, Options{SupabaseSecret: testSecret})
	if g, err := a.Grant(t.Context(), Request{Doc: "d", Token: token}); !errors.Is(err, ErrForbidden) || g.User == "" {
		t.Errorf("got %+v %v, want ErrForbidden and a user", g, err)
	}
	a, _ = newTest(t, Options{SupabaseSecret: testSecret, AllowAnonymous: true})
	if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: token}); err != nil {
		t.Errorf("allowed: got %v", err)
	}
}

func TestGenericSecretChecksIssuerAndAudienceWhenConfigured(t *testing.T) {
	bare := hmacKey(testSecret).token("", claims{"iss": nil, "aud": nil, "role": nil})
	full := hmacKey(testSecret).token("https://id.example", claims{"aud": "yjet", "role": nil})
	for _, c := range []struct {
		o     Options
		token string
		ok    bool
	}{
		{Options{Secret: testSecret}, bare, true},
		{Options{Secret: testSecret, Issuer: "https://id.example"}, bare, false},
		{Options{Secret: testSecret, Audience: "yjet"}, bare, false},
		{Options{Secret: testSecret, Issuer: "https://id.example", Audience: "yjet"}, full, true},
		{Options{Secret: testSecret, Issuer: "https://id.example", Audience: "other"}, full, false},
	} {
		a, _ := newTest(t, c.o)
		if _, err := a.Grant(t.Context(), Request{Doc: "d", Token: c.token}); (err == nil) != c.ok {
			t.Errorf("issuer %q, audience %q: got %v, want ok %v", c.o.Issuer, c.o.Audience, err, c.ok)
		}
	}
}

func TestBadSettingsAreRefusedAtTheStart(t *testing.T) {
	long := strings.Repeat("k3", 20)
	for _, c := range []struct {
		name string
		o    Options
		want string // in the error
	}{
		{"nothing chosen", Options{}, "--auth"},
		{"unknown mode", Options{Mode: "basic"}, "want jwt or none"},
		{"no key at all", Options{Mode: "jwt"}, "SUPABASE_URL"},
		{"31 bytes", Options{Mode: "jwt", Secret: long[:31]}, "31 bytes"},
		{"31 bytes, Supabase", Options{Mode: "jwt", SupabaseSecret: long[:31]}, "SUPABASE_JWT_SECRET has 31 bytes"},
		{"placeholder", Options{Mode: "jwt", SupabaseSecret: "your-supabase-jwt-secret"}, "placeholder"},
		{"long placeholder", Options{Mode: "jwt", SupabaseSecret: "your-super-secret-jwt-token-with-at-least-32-characters-long"}, "placeholder"},
		{"placeholder in brackets", Options{Mode: "jwt", SupabaseSecret: "<your-supabase-jwt-secret-from-the-dashboard>"}, "placeholder"},
		{"change me", Options{Mode: "jwt", Secret: "change-me-change-me-change-me-change-me"}, "placeholder"},
		{"all x", Options{Mode: "jwt", Secret: strings.Repeat("x", 40)}, "placeholder"},
		{"jwt.io's", Options{Mode: "jwt", Secret: "a-string-secret-at-least-256-bits-long"}, "placeholder"},
		{"local stack's, in production", Options{Mode: "jwt", SupabaseSecret: localSecret}, "published"},
		{"local stack's, with a hosted project", Options{Mode: "jwt", SupabaseSecret: localSecret, SupabaseURL: "https://x.supabase.co"}, "published"},
		{"secret with a line break", Options{Mode: "jwt", Secret: long + "\n"}, "white space"},
		{"key set over http", Options{Mode: "jwt", KeysURL: "http://id.example/jwks"}, "--jwks-allow-http"},
		{"key set without a scheme", Options{Mode: "jwt", KeysURL: "id.example/jwks"}, "want a URL"},
		{"key set with a password", Options{Mode: "jwt", KeysURL: "https://u:p@id.example/jwks"}, "want a URL"},
		{"Supabase over http", Options{Mode: "jwt", SupabaseURL: "http://x.supabase.co"}, "SUPABASE_URL"},
		{"Supabase in a file", Options{Mode: "jwt", SupabaseURL: "file:///etc/passwd"}, "SUPABASE_URL"},
		{"issuer without a key", Options{Mode: "jwt", SupabaseSecret: long, Issuer: "x"}, "--jwt-issuer"},
		{"callback without a scheme", Options{Mode: "jwt", Callback: "app/api"}, "--auth-callback"},
		{"callback's secret too short", Options{Mode: "jwt", Callback: "https://app.example/x", CallbackSecret: "short"}, "16 bytes"},
		{"rules file that is not there", Options{Mode: "jwt", Secret: long, RulesFile: "/nonexistent"}, "--auth-rules"},
		{"rights in what users write", Options{Mode: "jwt", Secret: long, Claim: "user_metadata.docs"}, "user_metadata"},
		{"origin without a scheme", Options{Mode: "jwt", Secret: long, Origins: []string{"app.example.com"}}, "--origins"},
		{"any origin without logins, on the network", Options{Mode: "none", Origins: []string{"*"}}, "--origins *"},
		{"a callback that would never be called", Options{Mode: "none", Callback: "https://app.example/x"}, "--auth-callback"},
		{"ticket secret too short", Options{Mode: "jwt", Secret: long, TicketSecret: "short"}, "--ticket-secret has 5 bytes"},
	} {
		a, err := New(c.o)
		if err == nil {
			a.Close()
			t.Errorf("%s: started, want an error", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, want it to say %q", c.name, err, c.want)
		}
		for _, secret := range []string{c.o.Secret, c.o.SupabaseSecret} {
			if len(secret) > 8 && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error holds the secret", c.name)
			}
		}
	}
	for name, o := range map[string]Options{
		"32 bytes":                               {Mode: "jwt", Secret: long[:32]},
		"local stack's, on this machine":         {Mode: "jwt", SupabaseSecret: localSecret, Loopback: true},
		"local stack's, with the local stack":    {Mode: "jwt", SupabaseSecret: localSecret, SupabaseURL: "http://127.0.0.1:1/"},
		"any origin without logins, on loopback": {Mode: "none", Origins: []string{"*"}, Loopback: true},
		"key set over http inside":               {Mode: "jwt", KeysURL: "http://10.255.255.1:9/jwks", KeysHTTP: true},
		"a secret that begins like base64":       {Mode: "jwt", Secret: "TODOq1w2e3r4t5y6u7i8o9p0a1s2d3f4g5h6"},
		"none, with origins and a wild domain":   {Mode: "none", Origins: []string{"https://*.example.com", " https://a.example/ ", ""}},
	} {
		a, err := New(o)
		if err != nil {
			t.Errorf("%s: got %v, want a start", name, err)
			continue
		}
		a.Close()
	}
}

func TestWithoutLoginsAnybodyMayDoAnything(t *testing.T) {
	a, _ := newTest(t, Options{Mode: "none"})
	g, err := a.Grant(t.Context(), Request{Doc: "d", Token: "anything"})
	if err != nil || g.Mode != ReadWriteDelete || g.User != "" || !a.Open() || a.Ready() != nil {
		t.Errorf("got %+v %v", g, err)
	}
	ticket, err := a.Ticket("d", Read, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := a.Grant(t.Context(), Request{Doc: "d", Token: ticket}); err != nil || g.Mode != Read {
		t.Errorf("with a ticket to read: got %+v %v, want Read", g, err)
	}
}

func TestGrantEndsWithItsContext(t *testing.T) {
	srv := newIssuer(t)
	release := make(chan struct{})
	srv.set(200, nil, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	a, _ := newTest(t, Options{keySetGap: quick, SupabaseURL: srv.URL})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Grant(ctx, Request{Doc: "d", Token: ecKey(t, "k").token(srv.name(), nil)}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}
