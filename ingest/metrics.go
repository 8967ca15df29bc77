package ingest

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metrics of the door. No document, user or address is ever a label.
type metrics struct {
	sessions     *prometheus.GaugeVec   // dialect
	messages     *prometheus.CounterVec // dialect
	bytesIn      *prometheus.CounterVec // dialect
	ended        *prometheus.CounterVec // dialect, reason
	refusals     *prometheus.CounterVec // reason
	rejections   *prometheus.CounterVec // reason
	drops        *prometheus.CounterVec // what
	failures     *prometheus.CounterVec // reason
	outbound     *prometheus.CounterVec // what
	updates      prometheus.Counter
	updateBytes  prometheus.Counter
	appendTime   prometheus.Histogram
	loadTime     prometheus.Histogram
	quarantined  prometheus.Counter
	held         prometheus.Counter
	slow         prometheus.Counter
	lagged       prometheus.Counter
	panics       prometheus.Counter
	appendRecent latencies
}

func newMetrics(reg prometheus.Registerer, s *Server) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "yjet", Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	one := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "yjet", Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	seconds := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "yjet", Name: name, Help: help,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}})
		reg.MustRegister(h)
		return h
	}
	m := &metrics{
		sessions:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "yjet", Name: "sessions", Help: "Sessions now."}, []string{"dialect"}),
		messages:    vec("messages_received_total", "Messages from clients.", "dialect"),
		bytesIn:     vec("received_bytes_total", "Bytes of messages from clients.", "dialect"),
		ended:       vec("connections_ended_total", "Connections that ended.", "dialect", "reason"),
		refusals:    vec("refused_total", "Connections refused.", "reason"),
		rejections:  vec("rejected_writes_total", "Updates not taken.", "reason"),
		drops:       vec("dropped_total", "What was left out: awareness entries, presence writes, held updates, unknown messages.", "what"),
		failures:    vec("append_failures_total", "Groups of updates given up.", "reason"),
		outbound:    vec("outbound_failures_total", "Calls of the webhook and for first states that failed.", "what"),
		updates:     one("updates_total", "Updates stored."),
		updateBytes: one("update_bytes_total", "Bytes of updates stored."),
		appendTime:  seconds("commit_seconds", "From the launch of a group of updates until it is stored."),
		loadTime:    seconds("load_seconds", "To open a document."),
		quarantined: one("quarantined_records_total", "Records that do not decode."),
		held:        one("held_updates_total", "Updates held for what they depend on."),
		slow:        one("slow_clients_total", "Connections dropped because they did not read."),
		lagged:      one("lagging_sessions_total", "Times a session fell behind and caught up at once."),
		panics:      one("panics_total", "Panics in connections."),
	}
	reg.MustRegister(m.sessions,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "yjet", Name: "connections", Help: "Sockets now."}, func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(len(s.conns))
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "yjet", Name: "documents", Help: "Open documents."}, func() float64 {
			return float64(s.rooms.count())
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "yjet", Name: "build_info", Help: "Always 1.",
			ConstLabels: prometheus.Labels{"version": s.o.Version}}, func() float64 { return 1 }))
	return m
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
	m.appendRecent.add(took)
}

// latencies keeps the last commits' times.
type latencies struct {
	mu   sync.Mutex
	ring [512]time.Duration
	n    int
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.n%len(l.ring)] = d
	l.n++
}

func (l *latencies) p99() time.Duration {
	l.mu.Lock()
	all := slices.Clone(l.ring[:min(l.n, len(l.ring))])
	l.mu.Unlock()
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

func read(c prometheus.Counter) uint64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0
	}
	return uint64(m.GetCounter().GetValue())
}
