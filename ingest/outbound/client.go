package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"yjet/auth"
)

// A client posts JSON to one URL. It follows no redirects. A host name that
// resolves to a private address is refused when it is dialled, unless the setting
// itself asks for one: an address, localhost, or a name without a dot, which is a
// name of the local network anyway.
type client struct {
	url     string
	secret  []byte // signs the body; empty: unsigned
	timeout time.Duration
	http    *http.Client
}

var (
	errPrivate = errors.New("the name resolves to a private address")
	errTooLong = errors.New("the answer is too long")
)

// CheckURL parses raw, the value of setting. The error names the setting, and not
// the value, which may hold a secret.
func CheckURL(setting, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%s: want an http or https URL", setting)
	}
	return u, nil
}

// newClient checks raw, the value of setting. private allows private addresses.
func newClient(setting, raw, secret string, timeout time.Duration, private bool) (*client, error) {
	u, err := CheckURL(setting, raw)
	if err != nil {
		return nil, err
	}
	host := u.Hostname()
	_, ip := netip.ParseAddr(host)
	private = private || ip == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost")
	d := &net.Dialer{Timeout: timeout}
	if !private {
		d.Control = refusePrivate
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true}
	return &client{url: raw, secret: []byte(secret), timeout: timeout, http: &http.Client{Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// refusePrivate is a net.Dialer's Control: it sees the address after the name was
// resolved, so a name cannot change its meaning between check and dial.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := a.Addr().Unmap(); ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
		return errPrivate
	}
	return nil
}

// post sends JSON and returns the answer, whose body may have at most max bytes; of
// a longer one it returns errTooLong and the status.
func (c *client) post(ctx context.Context, body []byte, max int64) (status int, kind string, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "yjet")
	if len(c.secret) > 0 {
		req.Header.Set(auth.SignatureHeader, auth.Sign(c.secret, time.Now(), body))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error // its text contains the URL, which may hold a secret
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, max+1))
	if err == nil && int64(len(answer)) > max {
		answer, err = nil, fmt.Errorf("%w: it has more than %d bytes", errTooLong, max)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer, err
}

func (c *client) close() { c.http.CloseIdleConnections() }
