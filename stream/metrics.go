package stream

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	appendSeconds  prometheus.Histogram
	commits        *prometheus.CounterVec // kind: single, batch
	batchRecords   prometheus.Histogram
	records        prometheus.Counter
	bytes          prometheus.Counter
	retries        *prometheus.CounterVec // reason
	gaveUp         prometheus.Counter
	faults         prometheus.Counter
	liveRecords    prometheus.Counter
	liveDuplicates prometheus.Counter
	gaps           *prometheus.CounterVec // found by: order, ack, head
	repairSeconds  prometheus.Histogram
	tailFailures   prometheus.Counter
	slowConsumers  prometheus.Counter
	disconnects    prometheus.Counter
	tails          prometheus.Gauge
	replayRecords  prometheus.Counter
	damaged        prometheus.Counter
	endsLost       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "yjet_" + name, Help: help})
	}
	vec := func(label, name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "yjet_" + name, Help: help}, []string{label})
	}
	hist := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "yjet_" + name, Help: help, Buckets: buckets})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "yjet_" + name, Help: help})
	}
	seconds := prometheus.ExponentialBuckets(0.00025, 2, 17) // 0.25 ms to 16 s
	m := &metrics{
		appendSeconds:  hist("append_seconds", "From handing an append over to its being stored.", seconds),
		commits:        vec("kind", "append_commits_total", "Commits stored, by kind (single, batch)."),
		batchRecords:   hist("append_batch_records", "Records in one atomic batch.", prometheus.ExponentialBuckets(2, 2, 10)),
		records:        counter("append_records_total", "Records stored."),
		bytes:          counter("append_bytes_total", "Bytes of updates stored."),
		retries:        vec("reason", "append_retries_total", "Commits sent again, by reason (timeout, no_responders, reconnect, refused, disconnected)."),
		gaveUp:         counter("append_gave_up_total", "Appends whose context ended before they were known to be stored."),
		faults:         counter("store_faults_total", "Errors reported by the store."),
		liveRecords:    counter("live_records_total", "Records delivered from the live feed."),
		liveDuplicates: counter("live_duplicates_total", "Live records that had been delivered before."),
		gaps:           vec("found_by", "gaps_total", "Gaps in the live feed that were read from the log, by what found them (order, ack, head)."),
		repairSeconds:  hist("gap_repair_seconds", "From asking for a gap to having it.", seconds),
		tailFailures:   counter("tail_failures_total", "Tails that could not go on."),
		slowConsumers:  counter("nats_slow_consumers_total", "Times NATS dropped live messages because they were not taken in time."),
		disconnects:    counter("nats_disconnects_total", "Times the connection to NATS was lost."),
		tails:          gauge("open_tails", "Documents followed now."),
		replayRecords:  counter("replay_records_total", "Records read from the log."),
		damaged:        counter("damaged_records_total", "Records whose bytes do not match their checksum."),
		endsLost:       counter("log_ends_lost_total", "Times a shard's stream ended lower than it had before."),
	}
	if reg != nil {
		reg.MustRegister(m.appendSeconds, m.commits, m.batchRecords, m.records, m.bytes, m.retries, m.gaveUp, m.faults, m.liveRecords,
			m.liveDuplicates, m.gaps, m.repairSeconds, m.tailFailures, m.slowConsumers, m.disconnects, m.tails, m.replayRecords,
			m.damaged, m.endsLost)
	}
	return m
}
