package api

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/posture"
)

// complianceTime limits the work of one scrape.
const complianceTime = 5 * time.Second

var (
	exceptionsDesc = prometheus.NewDesc("muniment_exceptions", "Exceptions by state.", []string{"tenant", "state"}, nil)
	expiryDesc     = prometheus.NewDesc("muniment_exception_expiry_seconds", "Time until the next exception in force expires; +Inf if none is in force.", []string{"tenant"}, nil)
	findingsDesc   = prometheus.NewDesc("muniment_findings", "Findings by state and severity.", []string{"tenant", "state", "severity"}, nil)
	overdueDesc    = prometheus.NewDesc("muniment_findings_overdue", "Findings that are not resolved at their deadline.", []string{"tenant"}, nil)
	shareDesc      = prometheus.NewDesc("muniment_findings_closed_with_evidence_ratio", "Share of findings that are closed with linked evidence, 0 to 1; 1 if there are none.", []string{"tenant"}, nil)
	unreadDesc     = prometheus.NewDesc("muniment_compliance_unread_tenants", "Tenants whose findings and exceptions could not be read, so that the other metrics lack them.", nil, nil)
)

// A compliance collector exposes the findings and exceptions of the tenants:
// all together with an empty label tenant, and each by itself if the operator
// has chosen that.
type compliance struct{ server *Server }

// Describe implements prometheus.Collector.
func (compliance) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{exceptionsDesc, expiryDesc, findingsDesc, overdueDesc, shareDesc, unreadDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c compliance) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), complianceTime)
	defer cancel()
	s := c.server
	settings := s.settings.Load()
	total, unread := posture.New(), 0
	for i := range settings.Tenants {
		t := &settings.Tenants[i]
		one, err := s.posture.Read(ctx, t.Stream)
		if err != nil {
			unread++
			s.log.Warn("findings and exceptions not read for metrics", "tenant", t.Name, "err", err)
			continue
		}
		total.Add(one)
		if settings.MetricsByTenant {
			expose(out, t.Name, one, s.now())
		}
	}
	if !settings.MetricsByTenant {
		expose(out, "", total, s.now())
	}
	gauge(out, unreadDesc, float64(unread))
}

func expose(out chan<- prometheus.Metric, tenant string, sum *posture.Summary, now time.Time) {
	for _, state := range exception.States {
		gauge(out, exceptionsDesc, float64(sum.Exceptions[state]), tenant, string(state))
	}
	for _, status := range posture.Statuses {
		for _, severity := range posture.Severities {
			gauge(out, findingsDesc, float64(sum.Findings[posture.FindingState{Status: status, Severity: severity}]), tenant, string(status), severity)
		}
	}
	gauge(out, expiryDesc, sum.Left(now), tenant)
	gauge(out, overdueDesc, float64(sum.Overdue), tenant)
	gauge(out, shareDesc, sum.Share(), tenant)
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
