package snapshot

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	folds        *prometheus.CounterVec // outcome: done, raced, damaged, failed, panic
	foldSeconds  prometheus.Histogram
	opens        prometheus.Histogram
	rereads      prometheus.Counter
	trims        prometheus.Counter
	segmentBytes prometheus.Counter
	orphans      prometheus.Counter
	damage       *prometheus.CounterVec // by part: log, snapshot, history, scrub
	rebuilt      prometheus.Counter
	lost         prometheus.Counter
}

// newMetrics registers the metrics; damagedDocs and foldsWaiting are read when they are collected.
func newMetrics(reg prometheus.Registerer, damagedDocs, foldsWaiting func() int) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "yjet_" + name, Help: help})
	}
	vec := func(label, name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "yjet_" + name, Help: help}, []string{label})
	}
	hist := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "yjet_" + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 17)})
	}
	m := &metrics{
		folds:        vec("outcome", "folds_total", "Folds tried, by outcome (done, raced, damaged, failed, panic)."),
		foldSeconds:  hist("fold_seconds", "One fold of one document, all six steps."),
		opens:        hist("open_seconds", "Reading a document from storage: snapshot and tail."),
		rereads:      counter("open_rereads_total", "Times reading a document began again because the head was not reached."),
		trims:        counter("trims_total", "Purges of folded records from the log."),
		segmentBytes: counter("history_segment_bytes_total", "Bytes of packed history written."),
		orphans:      counter("orphans_removed_total", "Blobs that no head names, removed by the sweep."),
		damage:       vec("what", "damage_found_total", "Damage found in storage (log, snapshot, history, shard)."),
		lost:         counter("documents_lost_total", "Times a document could not be read from snapshot, history and log."),
		rebuilt:      counter("snapshots_rebuilt_total", "Snapshots that could not be read and were made again from history and log."),
	}
	gauge := func(name, help string, f func() int) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "yjet_" + name, Help: help}, func() float64 { return float64(f()) })
	}
	damaged := gauge("damaged_documents", "Documents marked damaged by this process.", damagedDocs)
	queued := gauge("folds_waiting", "Documents waiting to be folded.", foldsWaiting)
	if reg != nil {
		reg.MustRegister(m.folds, m.foldSeconds, m.opens, m.rereads, m.trims, m.segmentBytes, m.orphans, m.damage, m.rebuilt, m.lost, damaged, queued)
	}
	return m
}
