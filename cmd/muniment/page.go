package main

import (
	"fmt"
	"strings"
)

// timeFormat is RFC 3339 with the log's milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z"

// because adds a reason, if there is one.
func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

func optional(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + quoted(s)
}

// lineName names a document of a file of JSON Lines, counted from 1.
func lineName(file string, n int) string { return fmt.Sprintf("%s:%d", file, n) }

// A page is an answer for people: a heading, and lines with labels.
type page struct{ strings.Builder }

func newPage(format string, args ...any) *page {
	p := &page{}
	fmt.Fprintf(p, format+"\n", args...)
	return p
}

func (p *page) line(label, format string, args ...any) {
	fmt.Fprintf(p, "  %-10s%s\n", label, fmt.Sprintf(format, args...))
}
