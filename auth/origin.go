package auth

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// ErrOrigin: a page at this Origin, or a request for this Host, is not served.
var ErrOrigin = errors.New("auth: origin refused")

// origins lists the web origins that may connect. A page cannot make its browser send a false Origin. Other programs can, so their
// token alone decides.
type origins struct {
	any       bool
	null      bool
	listed    map[origin]bool
	wildcards []origin // host without its "*", that is with a dot in front
	hosts     map[string]bool
	dev       bool // any port of this machine
	rebinding bool // Host must be this machine, or a listed one
}

// origin is a scheme, a host and a port, in lower case.
type origin struct{ scheme, host, port string }

func newOrigins(o Options) (*origins, error) {
	open := o.Mode == "none"
	os := &origins{listed: make(map[origin]bool), hosts: make(map[string]bool), dev: o.Dev || open, rebinding: open}
	for _, s := range o.Origins {
		switch s = strings.TrimSpace(s); s {
		case "":
			continue
		case "*":
			os.any, os.null = true, true
			o.Log.Warn("--origins * lets pages of every site connect with their visitors' rights")
			continue
		case "null":
			os.null = true
			o.Log.Warn("--origins null lets sandboxed frames and local files connect")
			continue
		}
		wild := false
		t := s
		if strings.Count(s, "/") == 3 { // a trailing slash, but not that of file://
			t = strings.TrimSuffix(s, "/")
		}
		if scheme, rest, ok := strings.Cut(t, "://*."); ok {
			wild, t = true, scheme+"://"+rest
		}
		at, ok := parseOrigin(t)
		if !ok {
			return nil, fmt.Errorf("auth: --origins: %q: want scheme and host such as https://app.example.com (or https://*.example.com, capacitor://localhost, file://, null, *)", s)
		}
		if wild {
			if !strings.Contains(at.host, ".") {
				return nil, fmt.Errorf("auth: --origins: %q would let a whole top-level domain connect", s)
			}
			at.host = "." + at.host
			os.wildcards = append(os.wildcards, at)
			continue
		}
		os.listed[at] = true
		if isWeb(at.scheme) {
			os.hosts[at.host] = true
		}
	}
	return os, nil
}

// parseOrigin reads scheme://host[:port], the only form that browsers send. Programs with built-in pages use schemes of their own,
// with a host of any form or none, as in file://.
func parseOrigin(s string) (origin, bool) {
	if scheme, host, ok := strings.Cut(s, "://"); ok && ownScheme.MatchString(scheme) && !isWeb(strings.ToLower(scheme)) {
		return origin{scheme: strings.ToLower(scheme), host: strings.ToLower(host)}, ownHost.MatchString(host)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Opaque != "" || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" ||
		strings.ContainsAny(s, "#\\ ") {
		return origin{}, false
	}
	at := origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	if at.host == "" || strings.HasSuffix(u.Host, ":") || strings.ContainsAny(at.host, "*%") {
		return origin{}, false
	}
	if at.port == "" {
		at.port = defaultPort(at.scheme)
	}
	return at, true
}

var (
	ownScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)
	ownHost   = regexp.MustCompile(`^[A-Za-z0-9._~:@-]{0,255}$`)
)

func isWeb(scheme string) bool {
	return scheme == "http" || scheme == "https" || scheme == "ws" || scheme == "wss"
}

func defaultPort(scheme string) string {
	switch scheme {
	case "http", "ws":
		return "80"
	case "https", "wss":
		return "443"
	}
	return ""
}

// hostPort splits a Host header. port is "" where there is none.
func hostPort(s string) (host, port string, ok bool) {
	u, err := url.Parse("//" + s)
	if err != nil || s == "" || u.Host != s || u.User != nil || u.Path != "" {
		return "", "", false
	}
	return strings.ToLower(u.Hostname()), u.Port(), u.Hostname() != ""
}

// isThisMachine reports whether host is a loopback name or address. Names that DNS could resolve are not accepted.
func isThisMachine(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && (ip.Equal(net.IPv6loopback) || ip.Equal(net.IPv4(127, 0, 0, 1))) && !strings.Contains(host, "::ffff:")
}

// CheckOrigin returns nil when a request with this Origin and Host may connect. A request without Origin does not come from a
// browser and passes. The error is ErrOrigin with fixed words for the log; it does not quote the header.
func (a *Auth) CheckOrigin(r *http.Request) error {
	err := a.origins.check(r)
	if err != nil {
		a.metrics.refused(err)
	}
	return err
}

// CheckHost returns nil when a request may be answered under the name in its Host header. Without logins a server answers to
// this machine's own names and those in --origins alone: otherwise a page of a stranger could have its own name resolve to
// 127.0.0.1 and read the answers.
func (a *Auth) CheckHost(r *http.Request) error { return a.origins.checkHost(r) }

func (o *origins) checkHost(r *http.Request) error {
	host, _, ok := hostPort(r.Host)
	if o.rebinding && !(ok && (isThisMachine(host) || o.hosts[host])) {
		return fmt.Errorf("%w: without logins this server answers only to localhost, 127.0.0.1 and [::1]; list the page's origin in --origins to use another name", ErrOrigin)
	}
	return nil
}

func (o *origins) check(r *http.Request) error {
	refuse := func(why string) error { return fmt.Errorf("%w: %s", ErrOrigin, why) }
	if err := o.checkHost(r); err != nil {
		return err
	}
	host, port, hostOK := hostPort(r.Host)
	values := r.Header.Values("Origin")
	switch {
	case len(values) == 0:
		return nil
	case len(values) > 1:
		return refuse("more than one Origin")
	case values[0] == "null":
		if o.null {
			return nil
		}
		return refuse("null")
	}
	at, ok := parseOrigin(values[0])
	if !ok {
		return refuse("not an origin")
	}
	if o.any || o.listed[at] {
		return nil
	}
	for _, w := range o.wildcards {
		if w.scheme == at.scheme && w.port == at.port && strings.HasSuffix(at.host, w.host) && at.host != w.host {
			return nil
		}
	}
	web := at.scheme == "http" || at.scheme == "https"
	if o.dev && web && isThisMachine(at.host) {
		return nil
	}
	// A page of this server itself. Behind a proxy that terminates TLS the scheme here is not the page's, so the ports are
	// compared: none, or the default of either scheme.
	if hostOK && web && at.host == host && !(r.TLS != nil && at.scheme == "http") {
		if port == at.port || port == "" && at.port == defaultPort(at.scheme) || isDefault(port) && at.port == defaultPort(at.scheme) {
			return nil
		}
	}
	return refuse("not this server's own page and not listed in --origins")
}

func isDefault(port string) bool { return port == "80" || port == "443" }
