package ingest

import (
	"net/http"
	"net/url"
	"strings"

	"yjet/auth"
)

// publicBase is the URL under which a browser reaches the server, without a slash at the end: Options.PublicURL where it is set, else
// as the request and the proxies before it say. Host and path are read from headers of trusted proxies, or of this machine. That
// https ends at a proxy is believed of any client: a false claim misleads only the client itself.
//
// Of a header that several proxies have written, the first entry is the browser's side.
func (o *Options) publicBase(r *http.Request) string {
	if o.PublicURL != nil {
		return strings.TrimSuffix(o.PublicURL.String(), "/")
	}
	base := url.URL{Scheme: "http", Host: r.Host}
	forwarded := forwardedOf(r)
	if r.TLS != nil || strings.EqualFold(firstOf(r.Header.Get("X-Forwarded-Proto")), "https") || strings.EqualFold(forwarded["proto"], "https") {
		base.Scheme = "https"
	}
	if auth.Proxies(o.TrustedProxies).Before(r) {
		for _, host := range []string{forwarded["host"], firstOf(r.Header.Get("X-Forwarded-Host"))} {
			if hostLike(host) {
				base.Host = host
			}
		}
		if path, err := url.PathUnescape(firstOf(r.Header.Get("X-Forwarded-Prefix"))); err == nil && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
			base.Path = path
		}
	}
	return strings.TrimSuffix(base.String(), "/")
}

// firstOf is the first entry of a list in a header.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(first)
}

// forwardedOf reads the first element of Forwarded (RFC 7239), its names in lower case.
func forwardedOf(r *http.Request) map[string]string {
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(firstOf(r.Header.Get("Forwarded")), ";") {
		if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok {
			pairs[strings.ToLower(name)] = strings.Trim(value, `"`)
		}
	}
	return pairs
}

// hostLike reports whether s is a host with a port or without, and nothing more.
func hostLike(s string) bool {
	u, err := url.Parse("http://" + s)
	return err == nil && s != "" && u.Host == s && u.User == nil
}
