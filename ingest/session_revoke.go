package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"yjet/auth"
	"yjet/stream"
)

// Revocations reach every server by an announcement, within a millisecond, and stay in the ymeta bucket until they lapse: for
// servers that start later, and for those that missed an announcement, which read the bucket every few seconds.
//
//	yctl.revoke      a revocation as JSON
//	yctl.recheck     {"user", "doc"}: ask for these rights again
//	ymeta revoked.<32 hex digits of the names in it>    the same JSON

const (
	announceRevoke  = "revoke"
	announceRecheck = "recheck"
	revokedPrefix   = "revoked."
	revokedEvery    = 10 * time.Second
)

// revoker carries revocations between servers.
type revoker struct {
	srv     *Server
	stops   []func()
	busy    atomic.Bool // the bucket is being read
	nextAt  time.Time   // owned by the clock
	missing atomic.Bool // the bucket could not be read last time: said once
}

type recheckJSON struct {
	User string `json:"user,omitempty"`
	Doc  string `json:"doc,omitempty"`
}

// newRevoker listens first and then reads the revocations in force. Without them no client can be let in: a server that does not
// know them must not serve.
func newRevoker(s *Server) (*revoker, error) {
	v := &revoker{srv: s, nextAt: time.Now().Add(revokedEvery)}
	for kind, f := range map[string]func([]byte){announceRevoke: v.hearRevoke, announceRecheck: v.hearRecheck} {
		stop, err := s.o.Log.Control().On(kind, f)
		if err != nil {
			v.close()
			return nil, err
		}
		v.stops = append(v.stops, stop)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := v.load(ctx); err != nil {
		v.close()
		return nil, fmt.Errorf("read the revocations: %w", err)
	}
	return v, nil
}

func (v *revoker) close() {
	for _, stop := range v.stops {
		stop()
	}
}

// revoke puts a revocation into force everywhere. It holds on this server and is announced even where an error says that it
// could not be stored; then servers that start later do not know it, and the caller should try again.
func (v *revoker) revoke(ctx context.Context, rev auth.Revocation) (n int, err error) {
	rev = rev.Complete()
	data, err := json.Marshal(rev)
	if err != nil {
		return 0, err
	}
	if n, err = v.apply(rev); err != nil {
		return n, err
	}
	if err := v.srv.o.Log.Control().Announce(announceRevoke, data); err != nil {
		return n, err
	}
	// One made before may stand longer than this: the bucket must not forget it.
	if data, err = json.Marshal(v.srv.o.Auth.Standing(rev)); err != nil {
		return n, err
	}
	sum := sha256.Sum256([]byte(rev.User + "\x00" + rev.Session + "\x00" + rev.Doc + "\x00" + rev.Leave.String()))
	_, err = v.srv.o.Log.Meta().Put(ctx, revokedPrefix+hex.EncodeToString(sum[:16]), data, nil)
	return n, err
}

// apply puts a revocation into force here. A session is in one of two states when it comes: found by cut, or not yet let in,
// and then it finds the revocation itself.
func (v *revoker) apply(rev auth.Revocation) (int, error) {
	if v.srv.o.Auth.InForce(rev) {
		return 0, nil // our own announcement, or read again
	}
	if err := v.srv.o.Auth.Revoke(rev); err != nil {
		return 0, err
	}
	n := v.srv.cut(rev)
	if n > 0 {
		v.srv.log.Info("revoked", "user", rev.User, "doc", rev.Doc, "left", rev.Leave.String(), "sessions", n)
	}
	return n, nil
}

func (v *revoker) hearRevoke(data []byte) {
	var rev auth.Revocation
	err := json.Unmarshal(data, &rev)
	if err == nil {
		_, err = v.apply(rev)
	}
	if err != nil {
		v.srv.log.Error("a revocation was announced and is not in force here", "err", err)
	}
}

func (v *revoker) hearRecheck(data []byte) {
	var q recheckJSON
	if err := json.Unmarshal(data, &q); err != nil {
		v.srv.log.Error("an announcement does not decode", "kind", announceRecheck, "err", err)
		return
	}
	v.srv.recheckAll(q.User, q.Doc)
}

// recheck has every server ask again for the rights of a user, on a document, or both.
func (v *revoker) recheck(user, doc string) error {
	data, err := json.Marshal(recheckJSON{user, doc})
	if err != nil {
		return err
	}
	return v.srv.o.Log.Control().Announce(announceRecheck, data)
}

// tick reads the bucket now and then, in a goroutine of its own.
func (v *revoker) tick(now time.Time) {
	if now.Before(v.nextAt) || !v.busy.CompareAndSwap(false, true) {
		return
	}
	v.nextAt = now.Add(revokedEvery)
	v.srv.wg.Add(1)
	go func() {
		defer v.srv.wg.Done()
		defer v.busy.Store(false)
		ctx, cancel := context.WithTimeout(v.srv.ctx, revokedEvery)
		defer cancel()
		err := v.load(ctx)
		if failed := err != nil && v.srv.ctx.Err() == nil; v.missing.Swap(failed) != failed && failed {
			v.srv.log.Warn("revocations could not be read again", "err", err)
		}
	}()
}

// load puts the bucket's revocations into force and deletes those that have lapsed.
func (v *revoker) load(ctx context.Context) error {
	entries, err := v.srv.o.Log.Meta().List(ctx, revokedPrefix+">")
	if err != nil {
		return err
	}
	now := time.Now()
	for _, e := range entries {
		var rev auth.Revocation
		if err := json.Unmarshal(e.Value, &rev); err != nil {
			v.srv.log.Error("a revocation does not decode", "key", e.Key, "err", err)
			continue
		}
		if !rev.Until.After(now) {
			v.srv.o.Log.Meta().Delete(ctx, e.Key) // another server may have; the next round tries again
			continue
		}
		if _, err := v.apply(rev); err != nil {
			v.srv.log.Error("a revocation is not in force here", "err", err)
		}
	}
	return nil
}

// withdrawn reports whether a revocation has taken back the right to write that g gave: a request may have been under way for long
// since it was granted.
func (s *Server) withdrawn(doc stream.Doc, g auth.Grant) bool {
	return !s.o.Auth.Open() && s.o.Auth.Limit(string(doc), g) < writeMode
}

// cut takes rights away from everybody here whom a revocation names, and answers how many sessions that were.
func (s *Server) cut(rev auth.Revocation) (n int) {
	for _, t := range s.sessionsOf(stream.Doc(rev.Doc)) {
		doc, hit := string(t.room.doc), false
		t.room.do(func() {
			// A session that came before the revocation is meant whenever its token was
			// issued; a later one may have a newer token.
			hit = !t.left && rev.Leave < t.grant.Mode && rev.Names(doc, t.grant) && (t.came.Before(rev.At) || rev.Matches(doc, t.grant))
			if !hit {
				return
			}
			g := t.grant
			g.Mode = rev.Leave
			t.hand(g) // nothing it sends from here on is taken
			if rev.Leave != auth.None {
				t.tell(false)
			}
			n++
		})
		if hit && rev.Leave == auth.None {
			t.end(causeRevoked)
		}
	}
	return n
}

// recheckAll asks for the rights of a user's sessions again, on a document or all; "" stands for any.
func (s *Server) recheckAll(user, doc string) {
	s.o.Auth.Recheck(user, doc)
	now := time.Now()
	for _, t := range s.sessionsOf(stream.Doc(doc)) {
		if user != "" && t.user != user {
			continue
		}
		t.room.look(func() {
			t.term.recheck = now
			t.plan()
		})
		t.upkeep(now)
	}
}

// sessionsOf lists the open sessions of a document, or all where doc is "".
func (s *Server) sessionsOf(doc stream.Doc) (list []*session) {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		for _, t := range c.sessions {
			if doc == "" || t.room.doc == doc {
				list = append(list, t)
			}
		}
		c.mu.Unlock()
	}
	return list
}
