package main

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// caches.csv has the windows that two real caches and their reporters have
// recorded under a simulated load, from 2000-01-01 on. TestTwoWeeks of
// clients/go/adaptivecache/cachereport repeats the simulation.
//
//go:embed caches.csv
var cachesText []byte

// caches returns the steps in which two services report about their caches,
// each at the end of a window.
func (c *company) caches(now time.Time) (steps []step) {
	rows, err := csv.NewReader(bytes.NewReader(cachesText)).ReadAll()
	if c.failed("caches.csv", err); c.err != nil {
		return nil
	}
	began := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	later := midnight(now).AddDate(0, 0, -days).Sub(began)
	for _, row := range rows[1:] {
		m := c.cacheWindow(rows[0], row, later)
		if c.err != nil {
			return nil
		}
		if to := m.Window.To.AsTime(); to.Before(now) {
			name, _, _ := strings.Cut(m.Service, "/")
			steps = append(steps, step{to, func() { c.event(c.system(name), kindname.MetricSnapshot, m) }})
		}
	}
	return steps
}

// cacheWindow returns the window of a row, moved to a later time.
func (c *company) cacheWindow(head, row []string, later time.Duration) *munimentv1.MetricSnapshot {
	at := func(text string) *timestamppb.Timestamp {
		t, err := time.Parse(time.RFC3339, text)
		c.failed("caches.csv", err)
		return timestamppb.New(t.Add(later))
	}
	reads, err := strconv.ParseUint(row[3], 10, 64)
	c.failed("caches.csv", err)
	m := &munimentv1.MetricSnapshot{Service: row[0], Window: &munimentv1.MetricWindow{From: at(row[1]), To: at(row[2])}}
	for i, text := range row[4:] {
		name, unit, _ := strings.Cut(head[4+i], " ")
		value, err := strconv.ParseFloat(text, 64)
		c.failed("caches.csv", err)
		one := &munimentv1.Metric{Name: name, Unit: unit, Value: &value}
		if name == "hit_ratio" || strings.HasPrefix(name, "wait_") {
			one.Samples = &reads
		}
		m.Metrics = append(m.Metrics, one)
	}
	return m
}
