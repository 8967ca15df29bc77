package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	callbackTimeout = 3 * time.Second
	callbackKeep    = time.Minute     // longest time an answer is cached; its ttl may be shorter
	callbackRecheck = 5 * time.Minute // interval between checks of a connected client, where the answer has no ttl
	callbackAnswer  = 64 << 10        // bytes
	maxAnswers      = 10_000          // cached answers
	maxAsking       = 64              // concurrent requests; the others wait, and the wait counts against their timeout
)

// callback asks another service for rights.
type callback struct {
	url    string
	secret []byte
	client *http.Client
	log    *slog.Logger

	mu      sync.Mutex // guards answers; not held during a request
	answers *recent[question, *answer]
}

// question is the key of a cached answer: everything the answer depends on.
type question struct {
	doc, ip, origin string
	token           tokenHash
}

type answer struct {
	Access string  `json:"access"`
	UserID string  `json:"userId"`
	Name   string  `json:"name"`
	TTL    float64 `json:"ttl"` // seconds; 0: none given

	user    string // of the question, or UserID
	mode    Mode
	asked   time.Time
	recheck time.Time
}

func newCallback(o Options) (*callback, error) {
	u, err := url.Parse(o.Callback)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("auth: --auth-callback: want a URL such as https://app.example.com/api/yjet")
	}
	if o.CallbackSecret == "" {
		o.Log.Warn("--auth-callback has no secret: its questions are not signed, so the service cannot tell them from anybody else's")
	} else if len(o.CallbackSecret) < 16 {
		return nil, errors.New("auth: the secret of --auth-callback has fewer than 16 bytes")
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		o.Log.Warn("--auth-callback uses http: users' claims travel unencrypted", "host", u.Host)
	}
	t := ownTransport()
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost = maxAsking, 16
	return &callback{
		url:    u.String(),
		secret: []byte(o.CallbackSecret),
		client: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log:     o.Log.With("callback", u.Host),
		answers: newRecent[question, *answer](maxAnswers),
	}, nil
}

// identify asks the callback to judge a token, where no key is configured.
func (c *callback) identify(ctx context.Context, r Request) (*identity, error) {
	for i := 0; i < len(r.Token); i++ {
		if r.Token[i] <= ' ' || r.Token[i] > '~' {
			return nil, unsigned("form", "malformed")
		}
	}
	hash := hashToken(r.Token)
	ans, err := c.ask(ctx, r, &identity{hash: hash})
	if err != nil {
		return nil, err
	}
	if ans.mode == None {
		return nil, ErrForbidden
	}
	if !validName(ans.UserID, maxUser) {
		c.log.Error("callback gave rights to nobody: an answer needs a userId")
		return nil, fmt.Errorf("%w: callback names no user", ErrUnavailable)
	}
	id := &identity{hash: hash, role: roleAuthenticated, answer: ans, token: r.Token}
	id.User, id.Name, id.Session = ans.UserID, ans.Name, hash.session()
	return id, nil
}

// ask returns the callback's answer for id on r.Doc. Every failure is ErrUnavailable: an app that is down has not refused.
func (c *callback) ask(ctx context.Context, r Request, id *identity) (*answer, error) {
	if id.answer != nil {
		return id.answer, nil
	}
	q := question{doc: r.Doc, ip: r.IP, origin: r.Origin, token: id.hash}
	c.mu.Lock()
	ans, ok := c.answers.get(q)
	c.mu.Unlock()
	if now := time.Now(); ok && now.Before(ans.asked.Add(callbackKeep)) && now.Before(ans.recheck) {
		return ans, nil
	}
	ans, err := c.post(ctx, r, id)
	if err != nil {
		c.log.Warn("callback not answered", "err", err)
		return nil, fmt.Errorf("%w: callback", ErrUnavailable)
	}
	c.mu.Lock()
	c.answers.put(q, ans)
	c.mu.Unlock()
	return ans, nil
}

func (c *callback) post(ctx context.Context, r Request, id *identity) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callbackTimeout)
	defer cancel()
	body := struct {
		Document string          `json:"document"`
		User     string          `json:"user,omitempty"`
		Session  string          `json:"session,omitempty"`
		Claims   json.RawMessage `json:"claims,omitempty"`
		Token    string          `json:"token,omitempty"`
		IP       string          `json:"ip,omitempty"`
		Origin   string          `json:"origin,omitempty"`
	}{Document: r.Doc, User: id.User, Session: id.Session, Claims: id.claims, IP: r.IP, Origin: r.Origin}
	if id.User == "" {
		body.Token = r.Token
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(data))
	if err != nil {
		return nil, withoutURL(err)
	}
	now := time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "yjet")
	if len(c.secret) > 0 {
		req.Header.Set(SignatureHeader, Sign(c.secret, now, data))
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d, want 200", resp.StatusCode)
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "application/json" {
		return nil, errors.New("answer is not application/json")
	}
	data, err = io.ReadAll(io.LimitReader(resp.Body, callbackAnswer+1))
	if err != nil {
		return nil, withoutURL(err)
	}
	if len(data) > callbackAnswer {
		return nil, fmt.Errorf("answer above %d bytes", callbackAnswer)
	}
	ans := &answer{user: id.User, asked: now}
	if err := json.Unmarshal(data, ans); err != nil {
		return nil, errors.New("answer is not the JSON asked for")
	}
	switch ans.Access {
	case "none", "r", "rw", "rwd":
		ans.mode, _ = ParseMode(ans.Access)
	default:
		return nil, errors.New("answer has no access of rwd, rw, r or none")
	}
	if ans.user == "" {
		ans.user = ans.UserID
	}
	ans.Name = cleanName(ans.Name)
	switch {
	case ans.TTL < 0 || ans.TTL > 1e9:
		return nil, errors.New("answer has a ttl below 0 or beyond reason")
	case ans.TTL == 0:
		ans.recheck = now.Add(callbackRecheck)
	default:
		// At least a second: with a ttl of a few milliseconds every client would ask without a pause.
		ans.recheck = now.Add(max(time.Second, time.Duration(ans.TTL*float64(time.Second))))
	}
	return ans, nil
}

// forget removes the cached answers for a user, a document, or both; "" stands for any.
func (c *callback) forget(user, doc string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers.removeFunc(func(q question, ans *answer) bool {
		return (user == "" || ans.user == user) && (doc == "" || q.doc == doc)
	})
}

// Recheck removes cached rights of a user, on a document, or both; "" stands for any. The next Grant asks the callback again.
func (a *Auth) Recheck(user, doc string) {
	if a.callback != nil {
		a.callback.forget(user, doc)
	}
}
