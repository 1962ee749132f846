// Package telemetry sends the traces of a program to an OpenTelemetry
// collector.
package telemetry

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

// Traces configures the traces of a program.
type Traces struct {
	URL     string  // of the collector: OTLP over HTTP
	Sample  float64 // share of the traces that begin here, from 0 to 1
	Service string  // name of the program
	Version string
	About   []attribute.KeyValue // more attributes of the program
	Log     *slog.Logger
}

// CheckURL returns an error if a text is not the URL of a collector. The error
// does not contain the text, which may contain credentials.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("must be an http or https URL, such as http://127.0.0.1:4318/v1/traces")
	}
	if u.User != nil {
		return errors.New("must not contain credentials: use the environment variable OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// sendTime bounds a request to the collector, and the end of a program.
const sendTime = 5 * time.Second

// Start returns the provider of tracers, and a function that sends the
// remaining spans for a bounded time. Spans that the collector does not accept
// in time are dropped.
func Start(ctx context.Context, t Traces) (trace.TracerProvider, func(), error) {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(t.URL), otlptracehttp.WithTimeout(sendTime))
	if err != nil {
		return nil, nil, fmt.Errorf("telemetry: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { t.Log.Warn("traces not sent", "err", err) }))
	about := append([]attribute.KeyValue{attribute.String("service.name", t.Service), attribute.String("service.version", t.Version)}, t.About...)
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(resource.NewSchemaless(about...)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.Sample))))
	return p, func() {
		ctx, cancel := context.WithTimeout(context.Background(), sendTime)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Log.Warn("traces not sent", "err", err)
		}
	}, nil
}
