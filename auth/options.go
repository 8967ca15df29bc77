package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are the settings of New. The zero value is refused: Mode has to be chosen.
type Options struct {
	// Mode is "jwt" or "none". With "none" every client may do everything, and Host and Origin must name this machine.
	Mode string

	// Secret checks tokens signed with HS256, HS384 or HS512: at least 32 bytes (--jwt-secret).
	Secret string
	// KeysURL is a key set (RFC 7517) for tokens signed with ES, RS, PS or EdDSA algorithms (--jwks-url): https, or http on loopback.
	KeysURL string
	// KeysHTTP accepts http for KeysURL and SupabaseURL where the address is of a private network (--jwks-allow-http).
	KeysHTTP bool
	// Issuer and Audience, where set, must be the iss and one aud of tokens checked by Secret or KeysURL.
	Issuer, Audience string

	// SupabaseURL is a project's URL: its issuer and key set follow from it (SUPABASE_URL).
	SupabaseURL string
	// SupabaseSecret is a project's legacy JWT secret (SUPABASE_JWT_SECRET): HS256, issuer not checked.
	SupabaseSecret string
	// TrustServiceRole makes a Supabase service_role key an administrator, instead of refusing it.
	TrustServiceRole bool
	// AllowAnonymous counts users whose token says is_anonymous as authenticated ones.
	AllowAnonymous bool

	// Callback is asked for the rights on each document (--auth-callback), and judges tokens itself where no key is configured.
	Callback string
	// CallbackSecret signs the requests to Callback: at least 16 bytes; "" leaves them unsigned, with a warning.
	CallbackSecret string
	// RulesFile is the path of a rules file (--auth-rules).
	RulesFile string
	// Claim is the path of the claim with a user's documents; "" is app_metadata.docs. A path given here makes rights strict: a
	// token without the claim has no rights.
	Claim string

	// TicketSecret is the secret whose derived key signs tickets; "" is Secret, else SupabaseSecret. Servers that share
	// documents must share it.
	TicketSecret string

	// Origins are the web origins that may connect besides the server's own host: "https://app.example.com",
	// "https://*.example.com", "app://name", "file://", "null", or "*" for any (--origins, CORS_ORIGINS).
	Origins []string
	// Dev accepts any port of localhost, 127.0.0.1 and [::1] as Origin.
	Dev bool
	// Loopback is true where the server listens on loopback addresses only. The published secret of a local Supabase stack is then
	// accepted.
	Loopback bool

	Log     *slog.Logger          // nil: none
	Metrics prometheus.Registerer // nil: none

	keySetGap time.Duration // 0: the constant; tests set a shorter one
}

// New checks the settings and makes an Auth. It does not wait for key sets: see Ready. The caller must Close it.
func New(o Options) (*Auth, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Auth{
		log:       o.Log,
		verified:  newVerifiedCache(),
		claim:     strings.Split(cmp.Or(o.Claim, "app_metadata.docs"), "."),
		strict:    o.RulesFile != "" || o.Claim != "",
		anonymous: o.AllowAnonymous,
		revoked:   newRevocations(),
		stop:      stop,
	}
	if err := a.configure(o); err != nil {
		stop()
		return nil, err
	}
	a.metrics = newMetrics(o.Metrics, a.keys)
	// Goroutines start here: no error may be returned below.
	for _, k := range a.keys {
		go k.run(ctx)
	}
	return a, nil
}

func (a *Auth) configure(o Options) (err error) {
	if a.origins, err = newOrigins(o); err != nil {
		return err
	}
	if o.RulesFile != "" {
		if a.rules, err = readRules(o.RulesFile); err != nil {
			return err
		}
	}
	if a.claim[0] == "user_metadata" {
		return errors.New("auth: the claim user_metadata is for users to write: they would choose their own rights")
	}
	switch o.Mode {
	case "none":
		if o.Callback != "" {
			return errors.New("auth: --auth none checks no users, so --auth-callback would never be called: remove one of the two")
		}
		if a.origins.any && !o.Loopback {
			return errors.New("auth: --origins * together with --auth none lets every web page that anybody visits read and write: list the origins, or check tokens")
		}
		a.open = true
		a.tickets, err = newTickets(o)
		return err
	case "jwt":
	case "":
		return errors.New("auth: choose --auth jwt or --auth none")
	default:
		return fmt.Errorf("auth: --auth %q: want jwt or none", o.Mode)
	}

	if err := a.configureVerifiers(o); err != nil {
		return err
	}
	if o.Callback != "" {
		if a.callback, err = newCallback(o); err != nil {
			return err
		}
	}
	if len(a.verifiers) == 0 && a.callback == nil {
		return errors.New("auth: nothing to check tokens with: set --jwt-secret, --jwks-url, SUPABASE_URL, SUPABASE_JWT_SECRET or --auth-callback, " +
			"or run with --auth none on a loopback address")
	}
	if a.tickets, err = newTickets(o); err != nil {
		return err
	}
	if !a.strict && a.callback == nil {
		a.log.Warn("no rules for documents are configured: every authenticated user reads and writes every document; " +
			"set --auth-rules or --auth-callback, or put app_metadata.docs into tokens")
	}
	return nil
}

// configureVerifiers makes one verifier for each issuer.
func (a *Auth) configureVerifiers(o Options) error {
	o.SupabaseURL = strings.TrimRight(strings.TrimSpace(o.SupabaseURL), "/")
	if o.SupabaseSecret != "" {
		local := o.Dev || o.Loopback || isLoopbackURL(o.SupabaseURL)
		if err := checkSecret("SUPABASE_JWT_SECRET", o.SupabaseSecret, local); err != nil {
			return err
		}
		v := newVerifier("Supabase secret", hmacMethods, "", "authenticated")
		v.secret = []byte(o.SupabaseSecret)
		if o.TrustServiceRole {
			v.acceptServiceRole()
		}
		a.verifiers = append(a.verifiers, v)
		a.signer = &signer{secret: v.secret, audience: "authenticated"}
		if o.SupabaseURL != "" {
			a.signer.issuer = o.SupabaseURL + "/auth/v1"
		}
	}
	if o.SupabaseURL != "" {
		issuer := o.SupabaseURL + "/auth/v1"
		k, err := newKeySet("SUPABASE_URL", issuer+"/.well-known/jwks.json", o.KeysHTTP, a.log)
		if err != nil {
			return err
		}
		a.keys = append(a.keys, k)
		v := newVerifier("Supabase key set", keySetMethods, issuer, "authenticated")
		v.keys = k
		a.verifiers = append(a.verifiers, v)
	}
	if o.Secret != "" {
		if err := checkSecret("--jwt-secret", o.Secret, o.Dev || o.Loopback); err != nil {
			return err
		}
		v := newVerifier("secret", hmacMethods, o.Issuer, o.Audience)
		v.secret = []byte(o.Secret)
		a.verifiers = append(a.verifiers, v)
		a.signer = &signer{secret: v.secret, issuer: o.Issuer, audience: o.Audience}
	}
	if o.KeysURL != "" {
		k, err := newKeySet("--jwks-url", o.KeysURL, o.KeysHTTP, a.log)
		if err != nil {
			return err
		}
		a.keys = append(a.keys, k)
		v := newVerifier("key set", keySetMethods, o.Issuer, o.Audience)
		v.keys = k
		a.verifiers = append(a.verifiers, v)
	}
	if (o.Issuer != "" || o.Audience != "") && o.Secret == "" && o.KeysURL == "" {
		return errors.New("auth: --jwt-issuer and --jwt-audience belong to --jwt-secret or --jwks-url, and neither is set")
	}
	for _, k := range a.keys {
		k.changed = a.verified.clear
		k.gap = cmp.Or(o.keySetGap, keySetGap)
	}
	return nil
}

// minSecret is the minimum length of a shared secret in bytes (RFC 7518 §3.2, for HS256). A shorter one can be guessed from a token.
const minSecret = 32

// localSecret signs the tokens of every local Supabase stack (`supabase start`). It is public, so it is accepted only where the
// server listens on loopback.
const localSecret = "super-secret-jwt-token-with-at-least-32-characters-long"

// checkSecret refuses short, published and placeholder secrets. The error names the setting, never the value.
func checkSecret(setting, secret string, local bool) error {
	switch lower := strings.ToLower(strings.TrimSpace(secret)); {
	case lower != strings.ToLower(secret):
		return fmt.Errorf("auth: %s begins or ends with white space: the file or variable it comes from holds more than the secret", setting)
	case lower == localSecret:
		if !local {
			return fmt.Errorf("auth: %s is the published secret of a local Supabase stack, with which anybody can sign in: "+
				"copy your project's own (Project Settings, JWT keys), or set SUPABASE_URL to the local stack", setting)
		}
	case isPlaceholder(lower):
		return fmt.Errorf("auth: %s is still the placeholder of an example file: put the real secret in its place, or remove it", setting)
	case len(secret) < minSecret:
		return fmt.Errorf("auth: %s has %d bytes, fewer than the %d that HMAC needs: make one with `openssl rand -base64 48`", setting, len(secret), minSecret)
	}
	return nil
}

// isPlaceholder reports whether s, in lower case, is an example value that was not replaced.
func isPlaceholder(s string) bool {
	s = strings.Trim(s, `<>[]{}"'$`)
	for _, p := range []string{"your-", "your_", "your ", "change-me", "change_me", "changeme", "change-this", "change_this", "replace-", "replace_", "replaceme",
		"insert-", "insert_"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	switch s {
	case "supabase-jwt-secret", "supabase_jwt_secret", "jwt-secret", "jwt_secret", "secret", "a-string-secret-at-least-256-bits-long":
		return true
	}
	return strings.Contains(s, "placeholder") || strings.Trim(s, "x") == "" || strings.Trim(s, "*.") == ""
}

// checkURL accepts https anywhere, and http on loopback or where the settings allow it.
func checkURL(setting, s string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("auth: %s: want a URL such as https://example.com/path, without user, password or fragment", setting)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && (allowHTTP || isLoopback(u.Hostname()))) {
		return nil, fmt.Errorf("auth: %s: %s://%s: only https can be trusted with keys; http is accepted on a loopback address, "+
			"and inside a private network with --jwks-allow-http", setting, u.Scheme, u.Host)
	}
	return u, nil
}

func isLoopbackURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && isLoopback(u.Hostname())
}

// isLoopback reports whether host is this machine under a name that DNS cannot redirect.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// ownTransport makes a transport that shares neither connections nor settings with other packages.
func ownTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 4
	t.MaxResponseHeaderBytes = 64 << 10
	return t
}

func readRules(path string) ([]rule, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("auth: --auth-rules: %w", err)
	}
	rules, err := parseRules(data)
	if err != nil {
		return nil, fmt.Errorf("auth: --auth-rules %s: %w", path, err)
	}
	return rules, nil
}
