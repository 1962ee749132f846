// Package sim measures the time to the first action against incidents, with
// and without triage. It replays published incidents on a demo gateway. See
// docs/triage.md.
package sim

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The patterns are held out: they were recorded before the catalogue that is
// measured with them, and are never edited. A test pins their digests.
//
//go:embed patterns/*.json
var files embed.FS

// A Pattern is a published incident, or a published false alarm, as faults of
// the demo gateway.
type Pattern struct {
	Name     string
	Source   string // the address of the publication
	Checked  string // another address with its content, if any
	Happened string

	Truth   Truth
	Jitter  Jitter
	Traffic Traffic
	Faults  []Fault
}

// A Truth is the right answer to a pattern.
type Truth struct {
	Type   string // incident type, or empty if no action is right
	Person bool   // it is an incident, but only a person can act on it
	Remedy string
}

// Incident reports whether somebody or something must act.
func (t Truth) Incident() bool { return t.Type != "" || t.Person }

// A Jitter bounds the seeded differences between the runs of a pattern.
type Jitter struct {
	Start    [2]float64 // seconds until the first fault
	Strength [2]float64 // factor of ratios and toxicities
}

// A Traffic describes the requests of the clients.
type Traffic struct {
	PerSecond float64
	Search    float64 // share of requests that are not for assets
}

// A Fault is one cause of trouble, from At until At + For seconds after the
// start of the pattern.
type Fault struct {
	Kind    string
	At, For float64

	Ratio  float64 // cache-loss, cache-mixup: share of lookups; noise: share of time
	Period float64 // noise: seconds
	Factor float64 // surge: of the traffic

	Flag          string  // feature: the code behind this flag is defective
	Errors        float64 // feature: share of requests that fail
	LatencyMillis float64 // feature: added to the others

	Proxies    []string // toxic, partition: of toxiproxy
	Toxic      string   // toxic: its type
	Toxicity   float64
	Attributes map[string]int

	PerSecond float64 // capacity: of the origin; limit: of the gateway
	Burst     float64 // limit
	Times     int     // retry: of each failed request, at once
	Forget    bool    // retry: an error removes the key from the cache
}

// kinds lists the kinds of faults.
var kinds = []string{
	"feature",     // the code behind a flag fails or is slow while the flag is on
	"toxic",       // a toxic of toxiproxy
	"partition",   // proxies are disabled
	"cache-loss",  // lookups miss, although the cache has the value
	"cache-mixup", // answers are stored under the keys of others, until a flush
	"limit",       // the gateway's limit is set to a low value
	"surge",       // more requests
	"retry",       // clients repeat failed requests
	"capacity",    // the origin refuses requests above a rate
	"deployment",  // the gateway reports that a deployment is in progress
	"noise",       // an unrelated alert
}

// Patterns returns all patterns in the order of their names.
func Patterns() ([]Pattern, error) {
	entries, err := files.ReadDir("patterns")
	if err != nil {
		return nil, err
	}
	var all []Pattern
	for _, entry := range entries {
		text, err := files.ReadFile("patterns/" + entry.Name())
		if err != nil {
			return nil, err
		}
		p, err := parse(text)
		if err == nil && p.Name+".json" != entry.Name() {
			err = fmt.Errorf("name: must be %s", strings.TrimSuffix(entry.Name(), ".json"))
		}
		if err != nil {
			return nil, fmt.Errorf("pattern %s: %w", entry.Name(), err)
		}
		all = append(all, p)
	}
	return all, nil
}

func parse(text []byte) (p Pattern, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, err
	}
	if !strings.HasPrefix(p.Source, "https://") || p.Happened == "" || len(p.Faults) == 0 {
		return p, errors.New("source, happened and faults: must be specified")
	}
	for _, f := range p.Faults {
		if !slices.Contains(kinds, f.Kind) {
			return p, fmt.Errorf("unknown kind of fault %s", f.Kind)
		}
	}
	return p, nil
}

// End returns when the last fault ends, after the start of the pattern.
func (p Pattern) End() time.Duration {
	var end float64
	for _, f := range p.Faults {
		end = max(end, f.At+f.For)
	}
	return seconds(end)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
