package auth

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics holds the package's metrics. With a nil registerer they are counted but not published.
type metrics struct {
	refusals *prometheus.CounterVec // by Reason and TokenError.Check
}

func newMetrics(reg prometheus.Registerer, keys []*keySet) *metrics {
	factory := promauto.With(reg)
	m := &metrics{refusals: factory.NewCounterVec(prometheus.CounterOpts{
		Name: "yjet_auth_refused_total", Help: "Requests for rights that were refused, by reason and by the check of the token that failed.",
	}, []string{"reason", "check"})}
	if len(keys) == 0 {
		return m
	}
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "yjet_jwks_age_seconds", Help: "Time since the oldest key set in force was fetched; since the start where none was.",
	}, func() float64 {
		age := 0.0
		for _, k := range keys {
			age = max(age, k.age().Seconds())
		}
		return age
	})
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "yjet_jwks_keys", Help: "Keys in force, of all key sets.",
	}, func() float64 {
		n := 0
		for _, k := range keys {
			n += k.count()
		}
		return float64(n)
	})
	return m
}

func (m *metrics) refused(err error) { m.refusals.WithLabelValues(Reason(err), checkOf(err)).Inc() }
