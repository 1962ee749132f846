package datadir

import (
	"errors"
	"net/url"
)

// A telemetryConfig enables traces.
type telemetryConfig struct {
	Traces string `yaml:"traces"` // URL of an OTLP collector; "" disables traces
	// Sample is the share of requests to trace if the caller has not decided.
	// nil is 1.
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
		return errors.New("traces: must not contain credentials: use the environment variable OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}
