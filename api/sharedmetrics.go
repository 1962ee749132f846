package api

import "github.com/prometheus/client_golang/prometheus"

// A sharedConfiguration is the state of the configuration that the servers of a
// log share.
type sharedConfiguration struct {
	version uint64
	failure string // why a newer version is not in force; "" if there is none
}

// SharedConfiguration reports the version in force of the configuration that
// the servers of a log share, and why a newer one is not.
func (m *Metrics) SharedConfiguration(version uint64, failure string) {
	if m.shared.Swap(&sharedConfiguration{version, failure}) != nil {
		return
	}
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_shared_configuration_version",
			Help: "Version in force of the configuration that the servers of the log share; 0 if none was published."},
			func() float64 { return float64(m.shared.Load().version) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "muniment_shared_configuration_behind",
			Help: "Whether this server cannot apply the newest shared configuration, or not read it."},
			func() float64 {
				if m.shared.Load().failure != "" {
					return 1
				}
				return 0
			}))
}
