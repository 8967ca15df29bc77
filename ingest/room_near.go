package ingest

import (
	"fmt"
	"net/http"
	"sort"
	"sync"
	"time"

	"yjet/stream"
)

// A document near one of its bounds is told before it refuses to grow: in the log once for each opening of its room, in the
// metrics and in /health, and to the callers of GET and POST in the header Yjet-Warning.

// nearShare is the share of a bound from which on a document is near it.
const nearShare = 0.8

// A nearness is how much of its nearest bound a document has used.
type nearness struct {
	bound string  // bytes, or a yjs.Bound
	share float64 // 1 is all
}

func (n nearness) near() bool { return n.share >= nearShare }

// warning is the value of the header Yjet-Warning.
func (n nearness) warning() string {
	return fmt.Sprintf("near-bound; bound=%s; used=%d%%", n.bound, int(100*n.share))
}

// nearest is the bound that the document is nearest to. Callers hold the lock.
func (r *room) nearest() nearness {
	n := nearness{"bytes", float64(r.size()) / float64(r.srv.limits.Document)}
	if b, share := r.stored.Nearest(r.srv.limits.Shape); share > n.share {
		n = nearness{b.String(), share}
	}
	return n
}

// nearFoldEvery is the shortest time between two folds of a document because its bytes are near their bound.
const nearFoldEvery = 30 * time.Second

// tickNearest answers nearest, and writes it to the log the first time that the document is near. A document near its bound of
// bytes is folded first: deleted content leaves the count then.
func (r *room) tickNearest(now time.Time) nearness {
	var n nearness
	var tell, fold bool
	r.look(func() {
		n = r.nearest()
		if n.near() && n.bound == "bytes" && len(r.recs) > 0 {
			if fold = r.folding == nil && now.Sub(r.nearFolded) > nearFoldEvery; fold {
				r.nearFolded = now
				return
			}
		}
		tell = n.near() && !r.nearTold
		r.nearTold = r.nearTold || tell
	})
	if fold {
		r.startFold()
	}
	if tell {
		r.logger().Warn("the document is near a bound", "bound", n.bound, "used", fmt.Sprintf("%d%%", int(100*n.share)))
	}
	return n
}

// A nearDoc is an open document near a bound.
type nearDoc struct {
	Doc   stream.Doc `json:"doc"`
	Bound string     `json:"bound"`
	Used  float64    `json:"used"` // 1 is all of the bound
}

// nearDocs are the open documents near a bound, as the clock last saw them. Safe for concurrent use.
type nearDocs struct {
	mu   sync.Mutex
	list []nearDoc // guarded by mu; the fullest first
}

// look asks all rooms.
func (d *nearDocs) look(list []*room, m *metrics, now time.Time) {
	count := map[string]int{}
	var near []nearDoc
	for _, r := range list {
		if n := r.tickNearest(now); n.near() {
			count[n.bound]++
			near = append(near, nearDoc{r.doc, n.bound, n.share})
		}
	}
	sort.Slice(near, func(i, j int) bool { return near[i].Used > near[j].Used })
	d.mu.Lock()
	d.list = near
	d.mu.Unlock()
	m.nearBounds.Reset()
	for bound, n := range count {
		m.nearBounds.WithLabelValues(bound).Set(float64(n))
	}
}

// fullest answers up to n of the documents, the fullest first, and how many there are of each bound.
func (d *nearDocs) fullest(n int) (list []nearDoc, count map[string]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, v := range d.list {
		if count == nil {
			count = map[string]int{}
		}
		count[v.Bound]++
	}
	return append(list, d.list[:min(n, len(d.list))]...), count
}

// warnNear sets Yjet-Warning in the headers of an answer about a document, if it is open and near a bound.
func (a *api) warnNear(doc stream.Doc, h http.Header) {
	r := a.rooms.find(doc)
	if r == nil {
		return
	}
	var n nearness
	r.look(func() { n = r.nearest() })
	if n.near() {
		h.Set("Yjet-Warning", n.warning())
	}
}
