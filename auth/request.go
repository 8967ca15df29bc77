package auth

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// TokenFrom finds the token of a request: Authorization, Sec-WebSocket-Protocol (bearer.<jwt>), query token, access_token, yauth.
// query is r.URL.Query().
//
// protocol is the subprotocol for the response: "yjs" where it is offered, else the first that is not a token, "" where there is
// none. A browser closes a socket if it offered subprotocols and the response names none of them.
func TokenFrom(r *http.Request, query url.Values) (token, protocol string) {
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for _, p := range strings.Split(line, ",") {
			p = strings.TrimSpace(p)
			if t, ok := strings.CutPrefix(p, "bearer."); ok {
				if token == "" {
					token = t
				}
			} else if p == "yjs" || protocol == "" {
				protocol = p
			}
		}
	}
	if scheme, t, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		if t = strings.TrimSpace(t); t != "" {
			return t, protocol
		}
	}
	if token != "" {
		return token, protocol
	}
	for _, name := range []string{"token", "access_token", "yauth"} {
		if t := query.Get(name); t != "" {
			return t, protocol
		}
	}
	return "", protocol
}

// Proxies are the networks whose X-Forwarded-For is trusted. The default is none, since any client can send the header.
type Proxies []netip.Prefix

func (p Proxies) trusts(a netip.Addr) bool {
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Before reports whether a request comes from a trusted proxy or from this machine. Its forwarding headers then describe how the
// client reached the proxy.
func (p Proxies) Before(r *http.Request) bool {
	a, err := remoteAddr(r.RemoteAddr)
	return err == nil && (a.IsLoopback() || p.trusts(a))
}

// ClientIP returns the client's address: the peer's, or, where the peer is a trusted proxy, the last address in X-Forwarded-For
// that is not one. It returns "" where there is no valid address.
func (p Proxies) ClientIP(r *http.Request) string {
	a, err := remoteAddr(r.RemoteAddr)
	if err != nil {
		return ""
	}
	if !p.trusts(a) {
		return a.String()
	}
	var hops []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(line, ",")...)
	}
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := remoteAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break // not an address: the client may have written it and everything before it
		}
		a = hop
		if !p.trusts(hop) {
			break
		}
	}
	return a.String()
}

// remoteAddr reads an address with or without a port.
func remoteAddr(s string) (netip.Addr, error) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return a, errors.New("auth: not an address")
	}
	return a.Unmap().WithZone(""), nil
}

// ClientKey returns the key by which limits count a client: its IPv4 address, or the /64 network of its IPv6 address, since one
// host usually has a whole /64.
func ClientKey(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Is4() {
		return ip
	}
	n, _ := a.Prefix(64)
	return n.String()
}
