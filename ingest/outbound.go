package ingest

import (
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

// outbound calls a service that the operator named: the webhook, and where first
// states come from. It follows no redirects. A name that turns out to stand for a
// private address is refused when it is dialled, unless the setting itself says
// so: an address, localhost, or a name without a dot, which is one of this network
// anyway.
type outbound struct {
	url     string
	secret  []byte // signs the body; empty: unsigned
	timeout time.Duration
	client  *http.Client
}

var errPrivate = errors.New("stands for a private address")

func newOutbound(setting, raw, secret string, timeout time.Duration, private bool) (*outbound, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("ingest: %s: want an http or https URL", setting)
	}
	host := u.Hostname()
	_, ip := netip.ParseAddr(host)
	private = private || ip == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost")
	d := &net.Dialer{Timeout: timeout}
	if !private {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			a, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if ip := a.Addr().Unmap(); ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() {
				return errPrivate
			}
			return nil
		}
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true}
	return &outbound{url: raw, secret: []byte(secret), timeout: timeout, client: &http.Client{Transport: t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// post sends JSON and answers what came back, of a body at most max bytes.
func (o *outbound) post(ctx context.Context, body []byte, max int64) (status int, kind string, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, strings.NewReader(string(body)))
	if err != nil {
		return 0, "", nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "yjet")
	if len(o.secret) > 0 {
		req.Header.Set(auth.SignatureHeader, auth.Sign(o.secret, time.Now(), body))
	}
	resp, err := o.client.Do(req)
	if err != nil {
		var ue *url.Error // its text has the URL, which may hold a secret
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, max+1))
	if err == nil && int64(len(answer)) > max {
		err = fmt.Errorf("the answer has more than %d bytes", max)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer, err
}

func (o *outbound) close() { o.client.CloseIdleConnections() }
