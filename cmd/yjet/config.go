package main

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"yjet/ingest"
	"yjet/ingest/outbound"
	"yjet/internal/natsd"
	"yjet/snapshot"
)

// config holds the settings of the two commands that run a server. The names of the flags are a contract with users.
type config struct {
	addr             string
	tlsCert, tlsKey  string
	data             string
	nats             string
	natsCreds        string
	natsCA           string
	natsAddr         string
	durability       string
	shards, replicas int
	history          string
	compactAfter     time.Duration
	unloadAfter      time.Duration
	adminAddr        string
	pprof            bool
	logFormat        string
	logLevel         string
	publicURL        string
	trustedProxies   string
	drainFor         time.Duration

	auth    authConfig
	origins string
	webhook webhookConfig
	loadURL string
	limits  ingest.Limits // the fields that have no flag are zero, which means their default
}

// authConfig is the part of config that a command needs to read or mint tokens.
type authConfig struct {
	mode              string // "none", "jwt", "" not said
	jwtSecret         string
	jwksURL           string
	jwksHTTP          bool
	issuer, audience  string
	supabaseURL       string
	supabaseSecret    string
	callback          string
	callbackSecret    string
	rules             string
	claim             string
	ticketSecret      string
	onExpiry          string
	trustServiceRole  bool
	allowAnonymous    bool
	stampPresence     bool
	serviceRoleUnused string // read only to say that it is not used
}

type webhookConfig struct {
	url, secret                        string
	debounceWait, debounceMax, timeout time.Duration
}

// configFlags declares every setting of `dev` and `serve`; dev decides the defaults that differ.
func configFlags(s *settings, c *config, dev bool) {
	pick := func(inDev, inServe string) string {
		if dev {
			return inDev
		}
		return inServe
	}
	s.files()
	s.StringVar(&c.addr, "addr", pick("127.0.0.1:1999", ":1999"), "`host:port` to listen on; port 0 takes a free one, which the ready line names")
	s.StringVar(&c.tlsCert, "tls-cert", "", "certificate `file` (PEM); with --tls-key the server speaks https and wss")
	s.StringVar(&c.tlsKey, "tls-key", "", "key `file` (PEM) of --tls-cert")
	s.StringVar(&c.data, "data", pick(".yjet", ""), "`directory` of the embedded store; one process at a time may use it")
	if !dev {
		s.StringVar(&c.nats, "nats", "", "`URLs` of a NATS cluster, comma-separated; without it NATS runs inside, in --data")
		s.StringVar(&c.natsCreds, "nats-creds", "", "credentials `file` for --nats")
		s.StringVar(&c.natsCA, "nats-ca", "", "`file` of the authority that signed the cluster's certificates, for --nats tls://…")
	}
	s.StringVar(&c.natsAddr, "nats-addr", pick("127.0.0.1:4222", "off"), "loopback `host:port` on which the embedded server accepts the nats command line tool, or off")
	s.StringVar(&c.durability, "durability", "disk", "`mode` that says when an edit counts as stored: disk (after an fsync) or process (survives kill -9, not a power cut)")
	s.IntVar(&c.shards, "shards", 0, "`number` of streams that documents are spread over, fixed at the first start (0: 2 embedded, 8 with --nats)")
	s.IntVar(&c.replicas, "replicas", 0, "`number` of copies of each stream (0: 1 embedded, 3 with --nats if the cluster has three servers)")
	s.StringVar(&c.history, "history", "all", "past moments to keep: all, those younger than an `age` such as 90d, or none")
	s.DurationVar(&c.compactAfter, "compact-after", 30*time.Second, "quiet `time` before a document is folded; while all history is kept, one with at most four small new records is not")
	s.DurationVar(&c.unloadAfter, "unload-after", 30*time.Second, "quiet `time` before a document without sessions leaves memory")
	s.StringVar(&c.adminAddr, "admin-addr", pick("", "127.0.0.1:9090"), "`host:port` of /metrics and pprof; empty means --addr in dev, none in serve")
	s.BoolVar(&c.pprof, "pprof", false, "serve Go profiles under /debug/pprof on --admin-addr")
	s.StringVar(&c.logFormat, "log-format", "", "text or json (default: text on a terminal, else json)")
	s.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	s.StringVar(&c.publicURL, "public-url", "", "`URL` at which browsers reach the server, with its path (default: taken from the request and the proxy before it)")
	s.StringVar(&c.trustedProxies, "trusted-proxies", "", "`networks` (CIDR, comma-separated) of proxies whose X-Forwarded-For, -Proto, -Host and -Prefix are trusted")
	s.DurationVar(&c.drainFor, "drain", 10*time.Second, "longest `time` from SIGTERM to the end")

	authFlags(s, &c.auth, "")
	s.StringVar(&c.origins, "origins", "", "`origins` of pages that may connect, comma-separated: https://app.example.com, https://*.example.com, capacitor://localhost, file://, null; * is any (default: the same host; in dev also any port of localhost)")
	s.also["origins"] = []string{"CORS_ORIGINS"}
	s.StringVar(&c.auth.onExpiry, "auth-on-expiry", "keep", "keep or close an open socket when its token expires")
	s.BoolVar(&c.auth.stampPresence, "auth-stamp-presence", false, "set the user field of each client's awareness to the user of its token")

	s.StringVar(&c.webhook.url, "webhook", "", "`URL` to call when a document has changed (signed POST)")
	s.secretVar(&c.webhook.secret, "webhook-secret", "`secret` that signs webhook calls")
	s.DurationVar(&c.webhook.debounceWait, "webhook-debounce-wait", 2*time.Second, "quiet `time` before a webhook call (PartyKit: debounceWait)")
	s.DurationVar(&c.webhook.debounceMax, "webhook-debounce-max-wait", 10*time.Second, "longest `time` before a webhook call (PartyKit: debounceMaxWait)")
	s.DurationVar(&c.webhook.timeout, "webhook-timeout", 5*time.Second, "`time` that a webhook call may take (PartyKit: timeout)")
	s.StringVar(&c.loadURL, "load-url", "", "`URL` to ask once for the first state of a document that does not exist")

	limitFlags(s, &c.limits)
}

// authFlags declares the settings for checking users and their rights.
func authFlags(s *settings, c *authConfig, mode string) {
	s.StringVar(&c.mode, "auth", mode, "`mode` of checking users: none or jwt (default: jwt where --auth-callback or, in serve, a secret, key set or SUPABASE_URL is set; else dev takes none)")
	s.secretVar(&c.jwtSecret, "jwt-secret", "shared `secret` of HS256, HS384 or HS512 tokens, 32 bytes at least")
	s.StringVar(&c.jwksURL, "jwks-url", "", "`URL` of the key set of ES, RS, PS or EdDSA tokens")
	s.BoolVar(&c.jwksHTTP, "jwks-allow-http", false, "allow http for the key set of --jwks-url or SUPABASE_URL, from addresses of a private network only")
	s.StringVar(&c.issuer, "jwt-issuer", "", "`issuer` that tokens must name")
	s.StringVar(&c.audience, "jwt-audience", "", "`audience` that tokens must name")
	s.StringVar(&c.supabaseURL, "supabase-url", "", "`URL` of a Supabase project: issuer, audience and key set follow from it")
	s.also["supabase-url"] = []string{"SUPABASE_URL"}
	s.secretVar(&c.supabaseSecret, "supabase-jwt-secret", "a Supabase project's legacy JWT `secret`", "SUPABASE_JWT_SECRET")
	s.secretVar(&c.serviceRoleUnused, "supabase-service-role-key", "not used: yjet needs no service role `key`", "SUPABASE_SERVICE_ROLE_KEY")
	s.StringVar(&c.callback, "auth-callback", "", "`URL` to ask for a user's rights on a document")
	s.secretVar(&c.callbackSecret, "auth-callback-secret", "`secret` that signs calls to --auth-callback")
	s.StringVar(&c.rules, "auth-rules", "", "`file` of rules that say which users may read and write which documents")
	s.StringVar(&c.claim, "auth-claim", "", "`path` of the token claim that lists a user's documents (default app_metadata.docs); naming one makes it required")
	s.secretVar(&c.ticketSecret, "ticket-secret", "`secret` that signs tickets for one document (default: the JWT secret)")
	s.BoolVar(&c.trustServiceRole, "auth-trust-service-role", false, "accept Supabase service_role keys as tokens with all rights")
	s.BoolVar(&c.allowAnonymous, "auth-allow-anonymous", false, "accept Supabase anonymous users like signed-in ones")
}

// check finds mistakes that concern more than one flag.
func (c *config) check(dev bool) error {
	if _, _, err := net.SplitHostPort(c.addr); err != nil {
		return usagef("--addr: %w", err)
	}
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	if c.durability != "disk" && c.durability != "process" {
		return usagef("--durability %q: want disk or process", c.durability)
	}
	if c.shards < 0 || c.shards > 99 {
		return usagef("--shards %d: want 1 to 99", c.shards)
	}
	if err := snapshot.ParseHistory(c.history); err != nil {
		return usagef("--%w", err)
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"compact-after", c.compactAfter}, {"unload-after", c.unloadAfter}, {"drain", c.drainFor}} {
		if d.d < 0 {
			return usagef("--%s %v: want a duration such as 30s", d.name, d.d)
		}
	}
	switch c.logFormat {
	case "", "text", "json":
	default:
		return usagef("--log-format %q: want text or json", c.logFormat)
	}
	switch c.auth.onExpiry {
	case "keep", "close":
	default:
		return usagef("--auth-on-expiry %q: want keep or close", c.auth.onExpiry)
	}
	if c.replicas < 0 || c.replicas > 5 {
		return usagef("--replicas %d: want 1, 3 or 5", c.replicas)
	}
	if err := c.checkURLs(); err != nil {
		return err
	}
	if c.nats == "" && c.data == "" {
		return usagef("say where documents are kept: --data DIRECTORY for NATS inside, or --nats URL for a cluster")
	}
	if c.nats == "" && c.natsAddr != "off" {
		if err := natsd.CheckAddr(c.natsAddr); err != nil {
			return usagef("--nats-addr %s: %w", c.natsAddr, err)
		}
	}
	if c.nats != "" && c.data != "" {
		return usagef("--data is for NATS inside; it has no use together with --nats")
	}
	return c.checkAuth(dev)
}

// checkURLs finds mistakes in addresses that are used only later.
func (c *config) checkURLs() error {
	if _, err := c.proxies(); err != nil {
		return err
	}
	if _, err := c.public(); err != nil {
		return err
	}
	for setting, raw := range map[string]string{"--webhook": c.webhook.url, "--load-url": c.loadURL} {
		if raw == "" {
			continue
		}
		if _, err := outbound.CheckURL(setting, raw); err != nil {
			return usageError{err}
		}
	}
	return nil
}

func (c *config) checkAuth(dev bool) error {
	a := &c.auth
	if dev && a.mode == "" && a.callback == "" {
		a.mode = "none" // keys may stand in the environment of the app that is being developed
	}
	if a.mode == "" && a.keyed() {
		a.mode = "jwt"
	}
	switch a.mode {
	case "jwt":
		if !a.keyed() {
			return usagef("--auth jwt needs a key: --jwt-secret, --jwks-url, SUPABASE_URL, SUPABASE_JWT_SECRET or --auth-callback")
		}
	case "none":
		if a.callback != "" {
			return usagef("--auth none checks no users, so --auth-callback would never be called: remove one of the two")
		}
		host, _, _ := net.SplitHostPort(c.addr)
		if !loopback(host) {
			return usagef("--auth none lets anybody read and write, so it needs a loopback address, not %s; check tokens (--jwt-secret, --jwks-url, SUPABASE_URL) or listen on 127.0.0.1", c.addr)
		}
	case "":
		return usagef("say how users are checked: SUPABASE_URL, --jwks-url or --jwt-secret for signed tokens, or --auth none on a loopback address")
	default:
		return usagef("--auth %q: want none or jwt", a.mode)
	}
	return nil
}

// natsURLs are the addresses of --nats.
func (c *config) natsURLs() string {
	urls := splitList(c.nats)
	for i, u := range urls {
		if !strings.Contains(u, "://") {
			urls[i] = "nats://" + u
		}
	}
	return strings.Join(urls, ",")
}

func splitList(list string) []string {
	var out []string
	for _, v := range strings.Split(list, ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// public parses --public-url; nil where there is none.
func (c *config) public() (*url.URL, error) {
	if c.publicURL == "" {
		return nil, nil
	}
	u, err := url.Parse(c.publicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usagef("--public-url is %q: want http or https, a host, and a path if there is one", maskURLs(c.publicURL))
	}
	return u, nil
}

// proxies parses --trusted-proxies; a bare address is a network of one.
func (c *config) proxies() ([]netip.Prefix, error) {
	var nets []netip.Prefix
	for _, p := range splitList(c.trustedProxies) {
		if ip, err := netip.ParseAddr(p); err == nil {
			nets = append(nets, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		n, err := netip.ParsePrefix(p)
		if err != nil {
			return nil, usagef("--trusted-proxies: %w", err)
		}
		nets = append(nets, n.Masked())
	}
	return nets, nil
}
