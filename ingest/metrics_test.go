package ingest

import (
	"math"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestQuantileIsReadFromAHistogram(t *testing.T) {
	for _, c := range []struct {
		name string
		seen []float64
		want float64
	}{
		{"nothing was observed", nil, 0},
		{"all in one bucket", []float64{1.5, 1.5}, 1.99},
		{"one of a hundred is slow", append(repeat(0.5, 98), 3, 3), 3},
		{"above the highest bound", []float64{100}, 4},
	} {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: []float64{1, 2, 4}})
		for _, v := range c.seen {
			h.Observe(v)
		}
		if got := quantile(h, .99); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func repeat(v float64, n int) (list []float64) {
	for range n {
		list = append(list, v)
	}
	return list
}
