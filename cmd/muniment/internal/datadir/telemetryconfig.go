package datadir

import (
	"errors"
	"fmt"

	"muniment.dev/muniment/internal/telemetry"
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
	if err := telemetry.CheckURL(c.Traces); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	return nil
}
