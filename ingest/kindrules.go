package ingest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/github/go-spdx/v2/spdxexp"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A kindRule enforces what the field options of a message cannot express, at
// the given time, and completes the contents accordingly.
type kindRule func(m proto.Message, now time.Time, c *contents) error

// kindRules contains the rules of the kinds that need one.
var kindRules = map[string]kindRule{
	kindname.BackfillCheckpoint: ruleOf(checkBackfill),
	kindname.Config:             ruleOf(checkConfig),
	kindname.Control:            ruleOf(checkControl),
	kindname.ControlSet:         ruleOf(checkControlSet),
	kindname.ExceptionDecision:  ruleOf(checkExceptionDecision),
	kindname.ExceptionRequest:   ruleOf(checkExceptionRequest),
	kindname.ExportManifest:     ruleOf(checkExport),
	kindname.GateDecision:       ruleOf(checkGateDecision),
	kindname.Inventory:          ruleOf(checkInventory),
	kindname.KeyEvent:           ruleOf(checkKeyEvent),
	kindname.MetricSnapshot:     ruleOf(checkMetrics),
}

func ruleOf[M proto.Message](check func(M, time.Time, *contents) error) kindRule {
	return func(m proto.Message, now time.Time, c *contents) error { return check(m.(M), now, c) }
}

// checkBackfill refuses times that do not exist, such as 30 February.
func checkBackfill(m *munimentv1.BackfillCheckpoint, _ time.Time, _ *contents) error {
	for _, layout := range []string{"2006-01-02T15:04Z07:00", time.RFC3339Nano} {
		if _, err := time.Parse(layout, m.GetTs()); err == nil {
			return nil
		}
	}
	return payloadErrorf("ts", "%q is not a valid time", m.GetTs())
}

// checkConfig checks the digest of the document.
func checkConfig(m *munimentv1.Config, _ time.Time, c *contents) error {
	if want := entry.SHA256([]byte(m.Document)); m.Digest != want {
		return payloadErrorf("digest", "does not match the document, whose digest is %s", want)
	}
	c.attributes["type"], _, _ = strings.Cut(m.Name, "/")
	return nil
}

// checkExport refuses invalid licence expressions and duplicate paths.
func checkExport(m *munimentv1.ExportManifest, _ time.Time, _ *contents) error {
	for i, l := range m.Licenses {
		if ok, _ := spdxexp.ValidateLicenses([]string{l}); !ok {
			return payloadErrorf(fmt.Sprintf("licenses[%d]", i), "%q is not an SPDX licence expression, such as Apache-2.0 OR MIT: for a licence of your own use LicenseRef-…", l)
		}
	}
	seen := map[string]bool{}
	for i, f := range m.Files {
		if seen[f.Path] {
			return payloadErrorf(fmt.Sprintf("files[%d].path", i), "duplicate path %q", f.Path)
		}
		seen[f.Path] = true
	}
	return nil
}

// checkGateDecision refuses two results for the same control.
func checkGateDecision(m *munimentv1.GateDecision, _ time.Time, _ *contents) error {
	seen := map[string]bool{}
	for i, r := range m.Results {
		if seen[r.Control] {
			return payloadErrorf(fmt.Sprintf("results[%d].control", i), "duplicate control %q", r.Control)
		}
		seen[r.Control] = true
	}
	return nil
}

// maxAhead is how far the clock that an inventory was observed by can be ahead
// of the log's.
const maxAhead = 5 * time.Minute

// checkInventory refuses observations of the future, and parts that
// do not fit together.
func checkInventory(m *munimentv1.Inventory, now time.Time, _ *contents) error {
	if limit := now.Add(maxAhead); m.Observed.AsTime().After(limit) {
		return payloadErrorf("observed", "must not be later than %s, five minutes after the log's time", limit.UTC().Format(time.RFC3339))
	}
	switch {
	case m.Version != "" && m.Release == "":
		return payloadErrorf("release", "is required with a version")
	case m.Release != "" && m.Scope != "exists":
		return payloadErrorf("release", "requires the scope exists")
	}
	if m.Observation == "" && m.Part == 0 && m.Parts == 0 {
		if m.Retired && len(m.Items)+len(m.Unidentified) > 0 {
			return payloadErrorf("retired", "a source that has ended has no items")
		}
		return nil
	}
	switch {
	case m.Observation == "":
		return payloadErrorf("observation", "is required in an inventory of several parts")
	case m.Parts == 0:
		return payloadErrorf("parts", "must be the number of parts")
	case m.Part == 0 || m.Part > m.Parts:
		return payloadErrorf("part", "must be between 1 and %d, the number of parts", m.Parts)
	case m.Retired:
		return payloadErrorf("retired", "a source that has ended has one inventory without parts")
	}
	return nil
}

// maxMetricAttributes limits how many of a snapshot's metrics become attributes
// of the header.
const maxMetricAttributes = 64

// checkMetrics adds an attribute for each of the first metrics.
func checkMetrics(m *munimentv1.MetricSnapshot, _ time.Time, c *contents) error {
	for _, v := range m.Metrics[:min(len(m.Metrics), maxMetricAttributes)] {
		c.attributes["metric:"+v.Name] = strconv.FormatFloat(v.GetValue(), 'g', -1, 64)
	}
	return nil
}
