package auth

import "github.com/prometheus/client_golang/prometheus"

// metrics of the room. A nil registerer counts for nobody.
type metrics struct {
	refusals *prometheus.CounterVec // by Reason
}

func newMetrics(reg prometheus.Registerer, keys []*keySet) *metrics {
	m := &metrics{refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "yjet_auth_refused_total", Help: "Questions of auth answered with a refusal, by reason.",
	}, []string{"reason"})}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.refusals)
	if len(keys) == 0 {
		return m
	}
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "yjet_jwks_age_seconds", Help: "Time since the oldest key set in force was fetched; since the start where none was.",
		}, func() float64 {
			age := 0.0
			for _, k := range keys {
				age = max(age, k.age().Seconds())
			}
			return age
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "yjet_jwks_keys", Help: "Keys in force, of all key sets.",
		}, func() float64 {
			n := 0
			for _, k := range keys {
				n += k.count()
			}
			return float64(n)
		}))
	return m
}

func (m *metrics) refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }
