package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"muniment.dev/muniment/conductor/backfill/metrics"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/telemetry"
	"muniment.dev/muniment/internal/term"
)

// exportFlags are the flags for metrics and traces.
type exportFlags struct {
	MetricsListen string  `help:"Serve Prometheus metrics on this address while the command runs, in plain HTTP. Without a host: on 127.0.0.1." placeholder:"[HOST]:PORT"`
	Traces        string  `help:"Send traces to this OpenTelemetry collector, by OTLP over HTTP. Its headers are those in OTEL_EXPORTER_OTLP_HEADERS." placeholder:"URL"`
	TracesSample  float64 `help:"Share of the commands to trace, from 0 to 1." default:"1" placeholder:"SHARE"`
}

// An export has the metrics and traces of a command that runs.
type export struct {
	ctx  context.Context // with the span of the command
	ends []func()
}

// end ends the export. Prometheus reads the final values before.
func (x *export) end() {
	for _, f := range slices.Backward(x.ends) {
		f()
	}
}

// export begins to export what a command does.
func (f *exportFlags) export(a *term.App, flags *jobFlags, o *run.Options, command string) (_ *export, err error) {
	x := &export{ctx: a.Ctx}
	defer func() {
		if err != nil {
			x.end()
		}
	}()
	if err := f.trace(a, o, x, command); err != nil {
		return nil, err
	}
	if f.MetricsListen == "" {
		return x, nil
	}
	o.Metrics = metrics.New(o.Job.Name, a.Version)
	server, err := serveMetrics(f.MetricsListen, o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("--metrics-listen: %w", err)
	}
	x.ends = append(x.ends, func() { _ = server.Close() }, func() { o.Metrics.AwaitReading(a.Ctx) })
	url := server.URL + "/metrics"
	if flags.JSON {
		return x, term.WriteJSON(a.Stdout, line{"metrics", time.Now().UTC(), map[string]string{"url": url}})
	}
	fmt.Fprintln(a.Stderr, "metrics on", url)
	return x, nil
}

// trace begins the span of a command.
func (f *exportFlags) trace(a *term.App, o *run.Options, x *export, command string) error {
	if f.Traces == "" {
		return nil
	}
	if err := telemetry.CheckURL(f.Traces); err != nil {
		return fmt.Errorf("--traces: %w", err)
	}
	if !(f.TracesSample >= 0 && f.TracesSample <= 1) {
		return errors.New("--traces-sample: must be from 0 to 1")
	}
	provider, stop, err := telemetry.Start(a.Ctx, telemetry.Traces{URL: f.Traces, Sample: f.TracesSample, Service: "muniment-conductor", Version: a.Version, Log: a.NewLogger(false)})
	if err != nil {
		return err
	}
	o.Traces, o.Ledger = provider, ledgerOf(o.Job, o.Dir, provider)
	var span trace.Span
	x.ctx, span = provider.Tracer("muniment.dev/muniment/cmd/conductor").Start(a.Ctx, "conductor backfill "+command)
	x.ends = append(x.ends, stop, func() { span.End() })
	return nil
}

// serveMetrics serves /metrics on an address. It waits for nothing that a
// caller sends: requests have no body.
func serveMetrics(address string, m *metrics.Metrics) (*edge.Server, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.New("must be HOST:PORT, or :PORT for 127.0.0.1")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	return edge.Listen(net.JoinHostPort(host, port), edge.Site{
		Handler: mux, Connections: 64, Body: 5 * time.Second, Read: 10 * time.Second, Write: 30 * time.Second, Idle: time.Minute, HeaderBytes: 16 << 10,
	})
}
