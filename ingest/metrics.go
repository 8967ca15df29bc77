package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	dto "github.com/prometheus/client_model/go"
)

// metrics of the door. No document, user or address is ever a label.
type metrics struct {
	sessions    *prometheus.GaugeVec   // dialect
	messages    *prometheus.CounterVec // dialect
	bytesIn     *prometheus.CounterVec // dialect
	ended       *prometheus.CounterVec // dialect, reason
	refusals    *prometheus.CounterVec // reason
	rejections  *prometheus.CounterVec // reason
	drops       *prometheus.CounterVec // what
	failures    *prometheus.CounterVec // reason
	outbound    *prometheus.CounterVec // what
	updates     prometheus.Counter
	updateBytes prometheus.Counter
	appendTime  prometheus.Histogram
	loadTime    prometheus.Histogram
	nearBounds  *prometheus.GaugeVec // bound
	quarantined prometheus.Counter
	held        prometheus.Counter
	slow        prometheus.Counter
	lagged      prometheus.Counter
	panics      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	f := promauto.With(reg)
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Namespace: "yjet", Name: name, Help: help}, labels)
	}
	one := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "yjet", Name: name, Help: help})
	}
	seconds := func(name, help string) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Namespace: "yjet", Name: name, Help: help,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}})
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "yjet", Name: "connections", Help: "Open sockets."}, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(len(s.conns))
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "yjet", Name: "documents", Help: "Open documents."}, func() float64 {
		return float64(s.rooms.count())
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "yjet", Name: "build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": s.o.Version}}, func() float64 { return 1 })
	return &metrics{
		sessions:    f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "yjet", Name: "sessions", Help: "Open sessions."}, []string{"dialect"}),
		messages:    vec("messages_received_total", "Messages from clients.", "dialect"),
		bytesIn:     vec("received_bytes_total", "Bytes of messages from clients.", "dialect"),
		ended:       vec("connections_ended_total", "Connections that ended.", "dialect", "reason"),
		refusals:    vec("refused_total", "Connections and requests refused.", "reason"),
		rejections:  vec("rejected_writes_total", "Updates refused.", "reason"),
		drops:       vec("dropped_total", "Input and news dropped: awareness entries, presence writes, held updates, unknown messages.", "what"),
		failures:    vec("append_failures_total", "Groups of updates given up.", "reason"),
		outbound:    vec("outbound_failures_total", "Failed calls of the webhook and the load URL.", "what"),
		updates:     one("updates_total", "Updates stored."),
		updateBytes: one("update_bytes_total", "Bytes of updates stored."),
		appendTime:  seconds("commit_seconds", "From the launch of a group of updates until it is stored."),
		loadTime:    seconds("load_seconds", "Time to open a document."),
		nearBounds:  f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "yjet", Name: "documents_near_bound", Help: "Open documents that have used 80 % of a bound."}, []string{"bound"}),
		quarantined: one("quarantined_records_total", "Records that do not decode."),
		held:        one("held_updates_total", "Updates held for missing dependencies."),
		slow:        one("slow_clients_total", "Connections closed because the client did not read."),
		lagged:      one("lagging_sessions_total", "Times a session fell behind and was brought up to date with one update."),
		panics:      one("panics_total", "Panics in connections and rooms."),
	}
}

func (m *metrics) received(dialect string, n int) {
	m.messages.WithLabelValues(dialect).Inc()
	m.bytesIn.WithLabelValues(dialect).Add(float64(n))
}

func (m *metrics) disconnected(dialect, reason string) {
	m.ended.WithLabelValues(dialect, reason).Inc()
}
func (m *metrics) refused(reason string)      { m.refusals.WithLabelValues(reason).Inc() }
func (m *metrics) rejected(reason string)     { m.rejections.WithLabelValues(reason).Inc() }
func (m *metrics) dropped(what string)        { m.drops.WithLabelValues(what).Inc() }
func (m *metrics) appendFailed(reason string) { m.failures.WithLabelValues(reason).Inc() }
func (m *metrics) outboundFailed(what string) { m.outbound.WithLabelValues(what).Inc() }
func (m *metrics) loaded(d time.Duration)     { m.loadTime.Observe(d.Seconds()) }

func (m *metrics) appended(updates, bytes int, took time.Duration) {
	m.updates.Add(float64(updates))
	m.updateBytes.Add(float64(bytes))
	m.appendTime.Observe(took.Seconds())
}

// quantile estimates, in seconds, the q-quantile of all that a histogram has
// observed, as Prometheus' histogram_quantile does: linearly within a bucket. Above
// the highest bound it answers that bound.
func quantile(h prometheus.Histogram, q float64) float64 {
	var m dto.Metric
	if h.Write(&m) != nil {
		return 0
	}
	rank := q * float64(m.GetHistogram().GetSampleCount())
	var low, below float64
	for _, b := range m.GetHistogram().GetBucket() {
		count := float64(b.GetCumulativeCount())
		if count >= rank && count > below {
			return low + (b.GetUpperBound()-low)*(rank-below)/(count-below)
		}
		low, below = b.GetUpperBound(), count
	}
	if rank == 0 {
		return 0
	}
	return low
}

func read(c prometheus.Counter) uint64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0
	}
	return uint64(m.GetCounter().GetValue())
}
