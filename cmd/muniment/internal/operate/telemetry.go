package operate

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
)

// startTraces returns the provider of tracers, or nil if traces are off. Spans
// that the collector does not accept in time are dropped.
func startTraces(ctx context.Context, d *datadir.Dir, version string, log *slog.Logger) (*sdktrace.TracerProvider, error) {
	c := d.Config.Telemetry
	if c.Traces == "" {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.Traces), otlptracehttp.WithTimeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not sent", "err", err) }))
	sample := 1.0
	if c.Sample != nil {
		sample = *c.Sample
	}
	about := resource.NewSchemaless(attribute.String("service.name", "muniment"), attribute.String("service.version", version),
		attribute.String("muniment.origin", d.Config.Origin))
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(sample)))), nil
}

// stopTraces sends the remaining spans, for a bounded time.
func stopTraces(p *sdktrace.TracerProvider, log *slog.Logger) {
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := p.Shutdown(ctx); err != nil {
		log.Warn("traces not sent", "err", err)
	}
}

// tracerProvider returns a nil interface for a nil provider.
func tracerProvider(p *sdktrace.TracerProvider) trace.TracerProvider {
	if p == nil {
		return nil
	}
	return p
}
