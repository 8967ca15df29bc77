package auth

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// TokenFrom finds the token of a request: Authorization, Sec-WebSocket-Protocol (bearer.<jwt>), query token, access_token, yauth.
// query is what r.URL.Query() said.
//
// protocol is the subprotocol to answer with: "yjs" where it is offered, else the first that is not a token, since a browser
// drops a socket that answers none of those it offered; "" where none is left.
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

// Proxies are the networks whose word on a client's address is taken. None by default: anybody can write a header.
type Proxies []netip.Prefix

// ParseProxies reads addresses and networks, such as "10.0.0.0/8" and "::1"; "loopback" and "private" stand for those ranges.
func ParseProxies(list []string) (Proxies, error) {
	var p Proxies
	for _, s := range list {
		switch s = strings.TrimSpace(s); s {
		case "":
			continue
		case "loopback":
			p = append(p, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
			continue
		case "private":
			for _, n := range []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} {
				p = append(p, netip.MustParsePrefix(n))
			}
			continue
		}
		n, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil {
				n = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil {
			return nil, fmt.Errorf("auth: trusted proxy %q: want an address, a network such as 10.0.0.0/8, loopback or private", s)
		}
		p = append(p, n.Masked())
	}
	return p, nil
}

func (p Proxies) trusts(a netip.Addr) bool {
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// ClientIP is the address of who is asking: the peer's, or, where the peer is a trusted proxy, the last in X-Forwarded-For
// that is not one. "" where it cannot be told.
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
			break // written by no proxy of ours: what stands before it is anybody's word
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

// ClientKey is what limits count a client by: its IPv4 address, or the /64 network of its IPv6 address, since a host has all
// of one.
func ClientKey(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil || a.Is4() {
		return ip
	}
	n, _ := a.Prefix(64)
	return n.String()
}
