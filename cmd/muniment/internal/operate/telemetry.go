package operate

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/telemetry"
)

// startTraces returns the provider of tracers, and a function that ends it. The
// provider is nil if traces are off.
func startTraces(ctx context.Context, d *datadir.Dir, version string, log *slog.Logger) (trace.TracerProvider, func(), error) {
	c := d.Config.Telemetry
	if c.Traces == "" {
		return nil, func() {}, nil
	}
	sample := 1.0
	if c.Sample != nil {
		sample = *c.Sample
	}
	return telemetry.Start(ctx, telemetry.Traces{
		URL: c.Traces, Sample: sample, Service: "muniment", Version: version, Log: log,
		About: []attribute.KeyValue{attribute.String("muniment.origin", d.Config.Origin)},
	})
}
