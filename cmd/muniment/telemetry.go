package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// A telemetryConfig switches traces on.
type telemetryConfig struct {
	Traces string `yaml:"traces"` // URL of an OTLP collector; "": off
	// share of requests without a decision of their caller's; nil: 1
	Sample *float64 `yaml:"sample"`
}

func (c *telemetryConfig) check() error {
	if c.Sample != nil && !(*c.Sample >= 0 && *c.Sample <= 1) {
		return errors.New("sample: must be from 0 to 1")
	}
	if c.Traces == "" {
		return nil
	}
	u, err := url.Parse(c.Traces)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("traces: must be an http or https URL, such as http://127.0.0.1:4318/v1/traces")
	}
	if u.User != nil {
		return errors.New("traces: must not hold credentials; use the environment variable OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// startTraces returns what makes spans, or nil where traces are off. What the
// collector does not accept in time is dropped.
func (d *dataDir) startTraces(ctx context.Context, log *slog.Logger) (*sdktrace.TracerProvider, error) {
	c := d.config.Telemetry
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
	about := resource.NewSchemaless(attribute.String("service.name", "muniment"), attribute.String("service.version", programVersion()),
		attribute.String("muniment.origin", d.config.Origin))
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(sample)))), nil
}

// stopTraces sends what is left, for a bounded time.
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

// tracerProvider keeps an interface nil where there is no provider.
func tracerProvider(p *sdktrace.TracerProvider) trace.TracerProvider {
	if p == nil {
		return nil
	}
	return p
}
