// Package aca judges the checkpoints of backfills by automated canary analysis:
// it compares windows in which the copy runs with windows in which it does not,
// as docs/spec/aca.md specifies.
//
// The package is pure. Its callers run the windows in the order of Order,
// measure them, and pass the samples to Judge.
package aca

import "time"

// A Kind is a kind of check.
type Kind string

// The kinds of checks. Those of Check are all but Data.
const (
	Counter Kind = "counter" // an amount per unit of work, which repeats well
	Tail    Kind = "tail"    // a quantile of a latency
	Errors  Kind = "errors"  // a share of failed requests
	Data    Kind = "data"    // a comparison of the copied data with its source
)

// A Direction is the change of a metric that is bad.
type Direction string

// The directions.
const (
	Increase Direction = "increase"
	Decrease Direction = "decrease"
	Either   Direction = "either"
)

// An Outcome is the result of a check.
type Outcome string

// The outcomes. An inconclusive check has not passed.
const (
	Pass         Outcome = "pass"
	Fail         Outcome = "fail"
	Inconclusive Outcome = "inconclusive"
)

// Outcomes lists all outcomes.
var Outcomes = []Outcome{Pass, Fail, Inconclusive}

// A Verdict is the result of an analysis.
type Verdict string

// The verdicts.
const (
	Passed         Verdict = "pass"
	BelowThreshold Verdict = "below-threshold"
	Blocked        Verdict = "blocked" // a data check failed
)

// Verdicts lists all verdicts.
var Verdicts = []Verdict{Passed, BelowThreshold, Blocked}

// A Config states what is measured and required. NewConfig and the functions
// NewCounter, NewTail and NewErrors return the defaults.
type Config struct {
	Seed       string   `json:"seed"`      // of NewSeed
	Pairs      int      `json:"pairs"`     // planned pairs of windows
	MinPairs   int      `json:"minPairs"`  // least pairs for a conclusion
	Threshold  float64  `json:"threshold"` // least score that passes
	Alpha      float64  `json:"alpha"`     // accepted probability of a false failure
	Draws      int      `json:"draws"`     // if there are too many assignments to visit all
	Checks     []Check  `json:"checks,omitempty"`
	DataChecks []string `json:"dataChecks,omitempty"` // names of the required ones
}

// A Check is a comparison of a metric.
type Check struct {
	Name      string    `json:"name"`
	Kind      Kind      `json:"kind"`
	Unit      string    `json:"unit,omitempty"`
	Direction Direction `json:"direction"`
	Relative  float64   `json:"relative"` // accepted change, as a share of Off
	Absolute  float64   `json:"absolute"` // accepted change in the unit
	Quantile  float64   `json:"quantile,omitzero"`
	MinPer    float64   `json:"minPer"` // least Per of a sample
	Required  bool      `json:"required"`
}

// A Window is a span of time that was measured.
type Window struct {
	Pair    int               `json:"pair"`
	Copy    bool              `json:"copy"` // whether the copy ran
	Start   time.Time         `json:"start"`
	End     time.Time         `json:"end"`
	Samples map[string]Sample `json:"samples"` // by the name of the check
}

// A Sample is the measurement of a check in a window. A missing one is absent,
// or has a number that is not finite.
type Sample struct {
	Value float64 `json:"value"` // increase of the counter, quantile, or failed requests
	Per   float64 `json:"per"`   // units of work, observations, or all requests
}

// A DataResult is the result of a data check.
type DataResult struct {
	Name   string  `json:"name"`
	Result Outcome `json:"result"` // Inconclusive if it did not run
	Detail string  `json:"detail,omitempty"`
}

// A Report is the result of an analysis, with its whole input.
type Report struct {
	Format     string       `json:"format"`
	Config     Config       `json:"config"`
	Windows    []Window     `json:"windows,omitempty"`
	DataChecks []DataResult `json:"dataChecks,omitempty"`
	Results    []Result     `json:"results"`
	Passed     int          `json:"passed"` // required checks that passed
	Of         int          `json:"of"`     // required checks
	Score      float64      `json:"score"`  // Passed ÷ Of
	Verdict    Verdict      `json:"verdict"`
	Summary    string       `json:"summary"` // one line for people
}

// Format is the format of reports.
const Format = "muniment-aca-1"

// A Result is the result of a check. On to Margin are nil if no pair was kept,
// and all numbers are nil for data checks.
type Result struct {
	Name     string      `json:"name"`
	Kind     Kind        `json:"kind"`
	Required bool        `json:"required"`
	Result   Outcome     `json:"result"`
	Reason   string      `json:"reason"` // for people
	Pairs    *int        `json:"pairs,omitempty"`
	Dropped  *int        `json:"dropped,omitempty"`
	On       *float64    `json:"on,omitempty"`  // value with the copy
	Off      *float64    `json:"off,omitempty"` // value without
	Effect   *float64    `json:"effect,omitempty"`
	Margin   *float64    `json:"margin,omitempty"`
	Test     Test        `json:"test,omitempty"`
	P        *float64    `json:"p,omitempty"`
	Interval *[2]float64 `json:"interval,omitempty"` // of the effect
	Alpha    *float64    `json:"alpha,omitempty"`
}

// A Test is a statistical test.
type Test string

// The tests.
const (
	Permutation      Test = "permutation"       // over all assignments
	PermutationDraws Test = "permutation-draws" // over random ones
	Fisher           Test = "fisher"
	ChiSquared       Test = "chi-squared" // with Yates's correction
)
