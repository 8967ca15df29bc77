package auth

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/MicahParks/jwkset"
)

const (
	maxKeySet     = 256 << 10 // bytes of a key set
	maxKeys       = 64
	keySetTimeout = 5 * time.Second
	keySetRefresh = 10 * time.Minute // Supabase recommends 20 min between publishing a key and signing with it
	keySetRetry   = 30 * time.Second // longest time between attempts after a failure
	keySetGap     = time.Second      // shortest time between attempts
	keySetAlarm   = time.Hour        // keys older than this are logged as an error
)

// A keySet holds the public keys of one issuer. It is fetched every ten minutes, and at once when a token names a key that it does
// not hold. While the issuer cannot be reached, the last good set stays in force.
type keySet struct {
	setting string // for messages
	url     string
	client  *http.Client
	log     *slog.Logger
	refresh time.Duration
	gap     time.Duration // shortest time between attempts
	changed func()        // called when a different set has come into force

	wake chan struct{} // asks run for a fetch; one slot
	done chan struct{} // closed when run has ended

	mu      sync.Mutex    // guards the fields below: next, began and err always belong to the same attempt
	next    chan struct{} // closed when the next fetch ends
	force   keysInForce   // replaced as a whole
	since   time.Time     // last successful fetch of the set in force, or the start of the key set before the first
	fetched bool          // a fetch has succeeded
	began   time.Time     // start of the last attempt that has ended
	err     error         // result of that attempt
	sum     [sha256.Size]byte
}

// keysInForce holds the keys of one fetch. It is immutable.
type keysInForce struct {
	kids []string // "" for a key without one
	list []publicKey
}

type publicKey struct {
	key     any
	methods []string // algorithms it may verify
}

func newKeysInForce(jwks []jwkset.JWK) keysInForce {
	var k keysInForce
	for _, j := range jwks {
		m := j.Marshal()
		k.kids = append(k.kids, m.KID)
		k.list = append(k.list, publicKey{j.Key(), methodsOf(j.Key(), m.ALG.String())})
	}
	return k
}

// has reports whether h names one of the keys, for any algorithm. A header without a kid names the only key of a set of one.
func (k *keysInForce) has(h header) bool {
	if !h.hasKid {
		return len(k.kids) == 1
	}
	return slices.Contains(k.kids, h.kid)
}

// key returns the key that verifies the token of h. has(h) must be true.
func (k *keysInForce) key(h header) (any, error) {
	i := 0
	if h.hasKid {
		i = slices.Index(k.kids, h.kid)
	}
	if !slices.Contains(k.list[i].methods, h.alg) {
		return nil, unsigned("alg", "not an algorithm of the key it names")
	}
	return k.list[i].key, nil
}

// keySetMethods are the algorithms of public keys.
var keySetMethods = []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}

// methodsOf returns the algorithms that key may verify: those of its kind, or the one of these that alg names, where alg is not "".
// It returns nil for a key that is not used.
func methodsOf(key any, alg string) []string {
	var all []string
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			all = []string{"ES256"}
		case elliptic.P384():
			all = []string{"ES384"}
		case elliptic.P521():
			all = []string{"ES512"}
		}
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n >= 2048 && n <= 8192 {
			all = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
		}
	case ed25519.PublicKey:
		all = []string{"EdDSA"}
	}
	if alg == "" {
		return all
	}
	if slices.Contains(all, alg) {
		return []string{alg}
	}
	return nil
}

func newKeySet(setting, rawURL string, allowHTTP bool, log *slog.Logger) (*keySet, error) {
	u, err := checkURL(setting, rawURL, allowHTTP)
	if err != nil {
		return nil, err
	}
	k := &keySet{
		setting: setting,
		url:     u.String(),
		log:     log.With("keys", u.Host),
		refresh: keySetRefresh,
		gap:     keySetGap,
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		next:    make(chan struct{}),
		since:   time.Now(),
		err:     errors.New("not fetched yet"),
	}
	t := ownTransport()
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		log.Warn(setting+" uses http: whoever can change traffic on the way can sign tokens", "host", u.Host)
		// dialPrivate checks the address that the name resolves to. A proxy would resolve it elsewhere, so none is used.
		t.Proxy, t.DialContext = nil, (&net.Dialer{Timeout: keySetTimeout, Control: dialPrivate}).DialContext
	}
	k.client = &http.Client{Transport: t, Timeout: keySetTimeout, CheckRedirect: sameHost(u)}
	return k, nil
}

// dialPrivate refuses addresses outside of this machine and private networks.
func dialPrivate(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if ip := at.Addr().Unmap(); err != nil || !(ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || carrierNAT.Contains(ip)) {
		return errors.New("not a private address: http with --jwks-allow-http stays inside a private network")
	}
	return nil
}

// carrierNAT is the shared address space of RFC 6598, which clouds and overlay networks use internally.
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// sameHost follows up to three redirects, to other paths of the configured host only.
func sameHost(from *url.URL) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || !strings.EqualFold(r.URL.Host, from.Host) || r.URL.Scheme != from.Scheme {
			return errors.New("redirected to another place")
		}
		return nil
	}
}

// ready returns nil when the set has been fetched and has a key. enough accepts an empty set.
func (k *keySet) ready(enough bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !k.fetched:
		return fmt.Errorf("auth: %s: no key set yet: %w", k.setting, k.err)
	case len(k.force.kids) == 0 && !enough:
		return fmt.Errorf("auth: %s: the key set is empty: a project that still signs with its shared secret needs SUPABASE_JWT_SECRET", k.setting)
	}
	return nil
}

// age returns the time since the last successful fetch.
func (k *keySet) age() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Since(k.since)
}

func (k *keySet) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.force.kids)
}

// names lists the kids of the set in force, for messages.
func (k *keySet) names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.force.kids
}

// run fetches until ctx ends.
func (k *keySet) run(ctx context.Context) {
	defer close(k.done)
	defer k.client.CloseIdleConnections()
	retry, alarmed := k.gap, time.Time{}
	for {
		start := time.Now()
		err := k.fetch(ctx)
		k.mu.Lock()
		k.err, k.began = err, start
		close(k.next)
		k.next = make(chan struct{})
		k.mu.Unlock()

		wait := k.refresh
		if err != nil && ctx.Err() == nil {
			if age := k.age(); age > keySetAlarm && time.Since(alarmed) > keySetAlarm {
				alarmed = time.Now()
				k.log.Error("key set not fetched for long: rotated keys are not known, withdrawn ones still count", "age", age.Round(time.Second), "err", err)
			} else if retry == k.gap {
				k.log.Warn("key set not fetched", "err", err)
			}
			wait = min(retry, k.refresh)
			retry = min(2*retry, keySetRetry)
		} else {
			retry = k.gap
		}

		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-k.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		// Tokens with unknown keys cause at most one fetch per second.
		timer = time.NewTimer(k.gap - time.Since(start))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// find returns the key that verifies h's token. It fetches the set if the key is not in it.
func (k *keySet) find(ctx context.Context, h header) (any, error) {
	k.mu.Lock()
	force := k.force
	k.mu.Unlock()
	if !force.has(h) {
		var err error
		if force, err = k.await(ctx, h); err != nil {
			return nil, err
		}
	}
	return force.key(h)
}

// await returns a set with the key that h names. It has the set fetched and waits at most keySetTimeout.
func (k *keySet) await(ctx context.Context, h header) (keysInForce, error) {
	ctx, cancel := context.WithTimeout(ctx, keySetTimeout)
	defer cancel()
	// Only a fetch that began after this call counts: a running one may have read the set just before the key was added.
	for came := time.Now(); ; {
		k.mu.Lock()
		force, fetched, began, err, next := k.force, k.fetched, k.began, k.err, k.next
		k.mu.Unlock()
		switch asked := began.After(came); {
		case force.has(h):
			return force, nil
		case fetched && !h.hasKid:
			return force, unsigned("kid", "names none of several keys")
		case asked && err != nil:
			return force, fmt.Errorf("%w: key set not at hand", ErrUnavailable)
		case asked:
			return force, unsigned("kid", "not in the key set")
		}
		select {
		case k.wake <- struct{}{}:
		default: // a fetch is already requested
		}
		select {
		case <-next:
		case <-ctx.Done():
			return force, fmt.Errorf("%w: key set not at hand", ErrUnavailable)
		case <-k.done:
			return force, fmt.Errorf("%w: closed", ErrUnavailable)
		}
	}
}

// fetch gets the set and puts it into force. On an error the set in force stays.
func (k *keySet) fetch(ctx context.Context) error {
	body, err := k.get(ctx)
	if err != nil {
		return err
	}
	jwks, err := k.parse(body)
	if err != nil {
		return err
	}
	force := newKeysInForce(jwks)
	sum := sha256.Sum256(body)
	k.mu.Lock()
	first, other := !k.fetched, sum != k.sum
	k.force, k.since, k.fetched, k.sum = force, time.Now(), true, sum
	k.mu.Unlock()
	if other && k.changed != nil {
		k.changed()
	}
	switch {
	case len(jwks) == 0 && other:
		k.log.Warn("key set is empty: no token signed with a key is accepted")
	case other && !first:
		k.log.Info("key set changed", "keys", len(jwks))
	}
	return nil
}

func (k *keySet) get(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, withoutURL(err)
	}
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("more than %d bytes", maxKeySet)
	}
	return body, nil
}

// parse reads a set. Unusable keys are skipped. A body that is not a key set is an error, so that a proxy's error page does not
// withdraw all keys.
func (k *keySet) parse(body []byte) ([]jwkset.JWK, error) {
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil || set.Keys == nil {
		return nil, errors.New("not a key set")
	}
	if len(*set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, at most %d are read", len(*set.Keys), maxKeys)
	}
	var jwks []jwkset.JWK
	seen := make(map[string]bool)
	for i, raw := range *set.Keys {
		j, err := readKey(raw)
		if err == nil && seen[j.Marshal().KID] {
			err = errors.New("another key has its kid")
		}
		if err != nil {
			k.log.Debug("key left out", "place", i, "err", err)
			continue
		}
		seen[j.Marshal().KID] = true
		jwks = append(jwks, j)
	}
	if len(jwks) == 0 && len(*set.Keys) > 0 {
		return nil, errors.New("no key in it can be used: want EC (P-256, P-384, P-521), RSA of 2048 to 8192 bits, or Ed25519, for signatures")
	}
	return jwks, nil
}

// readKey reads one public key. Certificates and links to them are ignored.
func readKey(raw json.RawMessage) (jwkset.JWK, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return jwkset.JWK{}, errors.New("not a key")
	}
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", ""
	if m.D != "" || m.K != "" {
		return jwkset.JWK{}, errors.New("a secret key, published")
	}
	if m.USE != "" && m.USE != jwkset.UseSig || len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return jwkset.JWK{}, errors.New("not for signatures")
	}
	if m.ALG != "" && !slices.Contains(keySetMethods, m.ALG.String()) {
		return jwkset.JWK{}, errors.New("for another algorithm")
	}
	j, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return j, errors.New("malformed")
	}
	if methodsOf(j.Key(), m.ALG.String()) == nil {
		return j, errors.New("a kind or size of key that is not used, or not of its alg")
	}
	return j, nil
}

// withoutURL removes the URL from an HTTP error: its query may hold a secret.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return cmp.Or(u.Err, err)
	}
	return err
}
