package sim

import "github.com/prometheus/client_golang/prometheus"

// metrics are those of a gateway.
type metrics struct {
	registry       *prometheus.Registry
	requests       *prometheus.CounterVec // by route, stage of the failure, and code
	seconds        prometheus.Histogram
	lookups        *prometheus.CounterVec // by result
	upstream       *prometheus.HistogramVec
	upstreamErrors *prometheus.CounterVec
	mismatches     prometheus.Counter
	limit          prometheus.Gauge
	shedding       prometheus.Gauge
	deployment     prometheus.Gauge
	throttled      prometheus.Gauge
}

var buckets = []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5}

func newMetrics() *metrics {
	m := &metrics{
		registry:       prometheus.NewRegistry(),
		requests:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_requests_total", Help: "Requests by the stage at which they failed, if they did."}, []string{"route", "stage", "code"}),
		seconds:        prometheus.NewHistogram(prometheus.HistogramOpts{Name: "gateway_request_seconds", Help: "Duration of requests that were admitted.", Buckets: buckets}),
		lookups:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_cache_lookups_total", Help: "Lookups in the cache."}, []string{"result"}),
		upstream:       prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "gateway_upstream_seconds", Help: "Duration of requests to an origin.", Buckets: buckets}, []string{"replica"}),
		upstreamErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "gateway_upstream_errors_total", Help: "Failed requests to an origin."}, []string{"replica", "reason"}),
		mismatches:     prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_mismatches_total", Help: "Answers that belong to another request."}),
		limit:          prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_limit_per_second", Help: "The limit of requests."}),
		shedding:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_shedding_per_second", Help: "The second limit, which protects the origin; 0 if it is off."}),
		deployment:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_deployment_in_progress", Help: "1 while replicas are replaced."}),
		throttled:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_cpu_throttled_ratio", Help: "Share of the time in which the gateway was throttled."}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.lookups, m.upstream, m.upstreamErrors, m.mismatches, m.limit, m.shedding, m.deployment, m.throttled)
	// Series exist from the start, so that their rates are right from the first
	// failure on.
	for _, route := range []string{"assets", "search"} {
		m.requests.WithLabelValues(route, "", "200")
		for stage, code := range map[string]string{stageLimit: "429", stageShedding: "429", stageRules: "502", stagePolicy: "503", stageOrigin: "503", stageConnect: "504"} {
			m.requests.WithLabelValues(route, stage, code)
		}
	}
	for _, result := range []string{"hit", "miss"} {
		m.lookups.WithLabelValues(result)
	}
	for _, replica := range Proxies() {
		m.upstream.WithLabelValues(replica)
		m.upstreamErrors.WithLabelValues(replica, stageConnect)
		m.upstreamErrors.WithLabelValues(replica, stageOrigin)
	}
	return m
}
