package ingest

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"sync"
	"time"

	"yjet/stream"
)

// A presenceKeeper writes the presence of this server's sessions into the presence
// bucket, which late joiners of other servers read and which outlives a server. Each
// of its few goroutines owns a part of the keys, so writes of one key stay in order.
type presenceKeeper struct {
	srv  *Server
	seed maphash.Seed
	work []chan presenceOp
	wg   sync.WaitGroup
}

// presenceOp is one put, or with gone set one delete.
type presenceOp struct {
	doc    stream.Doc
	client uint64
	gone   bool
	value  stream.Presence
}

type presenceKey struct {
	doc    stream.Doc
	client uint64
}

func newPresenceKeeper(s *Server) *presenceKeeper {
	k := &presenceKeeper{srv: s, seed: maphash.MakeSeed(), work: make([]chan presenceOp, 4)}
	for i := range k.work {
		k.work[i] = make(chan presenceOp, 4096)
		k.wg.Add(1)
		go k.run(k.work[i])
	}
	return k
}

// put queues the presence of an id of ours. It never waits: with a full queue the
// write is dropped, and repeated with the next sign of life.
func (k *presenceKeeper) put(r *room, client uint64, p *presence) {
	k.do(presenceOp{doc: r.doc, client: client, value: stream.Presence{
		User: p.user, Client: client, Clock: p.clock, Node: k.srv.node, Since: p.since, State: p.state,
	}})
}

// remove notes that an id of ours has gone.
func (k *presenceKeeper) remove(doc stream.Doc, client uint64) {
	k.do(presenceOp{doc: doc, client: client, gone: true})
}

func (k *presenceKeeper) do(op presenceOp) {
	h := maphash.Comparable(k.seed, presenceKey{op.doc, op.client})
	select {
	case k.work[h%uint64(len(k.work))] <- op:
	default:
		k.srv.metrics.dropped("presence")
	}
}

// run does the work of one channel until it is closed.
func (k *presenceKeeper) run(work <-chan presenceOp) {
	defer k.wg.Done()
	revisions := ourPuts{at: time.Now()}
	for op := range work {
		key := presenceKey{op.doc, op.client}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		if op.gone {
			if rev, ok := revisions.take(key); ok {
				if err := k.srv.o.Log.Presence().Delete(ctx, op.doc, op.client, rev); err != nil {
					k.srv.metrics.dropped("presence") // it runs out by itself
				}
			}
		} else {
			op.value.Name, op.value.Color = nameAndColor(op.value.State)
			rev, err := k.srv.o.Log.Presence().Put(ctx, op.doc, op.value)
			if err == nil {
				revisions.put(key, rev, time.Now())
			} else {
				k.srv.metrics.dropped("presence")
			}
		}
		cancel()
	}
}

// ourPuts are the revisions of our own last puts: a delete must not hit another server's. An entry that is not renewed within
// PresenceTTL is of no use: the client has moved to another server, or its removal found no place in the queue.
type ourPuts struct {
	young, old map[presenceKey]uint64
	at         time.Time // when the young began
}

func (p *ourPuts) put(k presenceKey, rev uint64, now time.Time) {
	if now.Sub(p.at) > stream.PresenceTTL || p.young == nil {
		p.old, p.young, p.at = p.young, map[presenceKey]uint64{}, now
	}
	p.young[k] = rev
	delete(p.old, k)
}

func (p *ourPuts) take(k presenceKey) (rev uint64, ok bool) {
	for _, m := range []map[presenceKey]uint64{p.young, p.old} {
		if rev, ok = m[k]; ok {
			delete(m, k)
			return rev, true
		}
	}
	return 0, false
}

// nameAndColor reads the field user of a state, by the convention of all editors.
func nameAndColor(state []byte) (name, color string) {
	var v struct {
		User struct {
			Name  string `json:"name"`
			Color string `json:"color"`
		} `json:"user"`
	}
	if json.Unmarshal(state, &v) != nil {
		return "", ""
	}
	return v.User.Name, v.User.Color
}

// close ends the goroutines after the queued writes.
func (k *presenceKeeper) close() {
	for _, ch := range k.work {
		close(ch)
	}
	k.wg.Wait()
}
