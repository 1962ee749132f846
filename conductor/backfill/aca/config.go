package aca

import (
	"fmt"
	"math"
	"regexp"
	"strings"
)

// Limits of the input.
const (
	MaxPairs  = 128
	MaxChecks = 48
	MaxDetail = 512 // characters of a detail of a data check
	minDraws  = 999
	maxDraws  = 19_999
	maxUnit   = 32
	maxCount  = 1e9  // of requests in a window, and of MinPer
	maxNumber = 1e18 // in samples, and of Absolute
	minPer    = 1e-9
	maxShare  = 1e6 // of Relative
)

// NewConfig returns the default configuration of an analysis with the planned
// number of pairs and no checks.
func NewConfig(seed string, pairs int) Config {
	return Config{Seed: seed, Pairs: pairs, MinPairs: 6, Threshold: 0.95, Alpha: 0.05, Draws: 9_999}
}

// NewCounter returns the default check of a counter, which decides.
func NewCounter(name, unit string) Check {
	return Check{Name: name, Kind: Counter, Unit: unit, Direction: Increase, Relative: 0.1, MinPer: 1, Required: true}
}

// NewTail returns the default check of a quantile, which is only reported.
func NewTail(name, unit string, quantile float64) Check {
	const beyond = 5 // observations beyond the quantile
	return Check{
		Name: name, Kind: Tail, Unit: unit, Direction: Increase, Relative: 0.25, Quantile: quantile,
		MinPer: math.Ceil(beyond/(1-quantile) - tolerance),
	}
}

// NewErrors returns the default check of a share of failed requests, which
// decides.
func NewErrors(name string) Check {
	return Check{Name: name, Kind: Errors, Direction: Increase, Absolute: 0.002, MinPer: 1, Required: true}
}

// A ConfigError is a violation of a rule of the configuration.
type ConfigError struct {
	Check  string // name of the check, or ""
	Member string // as in JSON
	Rule   string
}

func (e *ConfigError) Error() string {
	if e.Check != "" {
		return fmt.Sprintf("canary analysis: check %.64q: %s %s", e.Check, e.Member, e.Rule)
	}
	return fmt.Sprintf("canary analysis: %s %s", e.Member, e.Rule)
}

var (
	seedPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
	namePattern = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,63}$`)
	unitPattern = regexp.MustCompile(`^[ -~]*$`)
)

const nameRule = "must be 1 to 64 characters of a-z, 0-9, '.', '_' and '-', and begin with a letter"

// Validate checks the configuration. Its errors are *ConfigError.
func (c *Config) Validate() error {
	bad := func(member, rule string) error { return &ConfigError{Member: member, Rule: rule} }
	switch {
	case !seedPattern.MatchString(c.Seed):
		return bad("seed", "must be 32 lowercase hexadecimal digits")
	case c.Pairs < 0 || c.Pairs > MaxPairs:
		return bad("pairs", fmt.Sprintf("must be 0 to %d", MaxPairs))
	case c.MinPairs < 1 || c.MinPairs > MaxPairs:
		return bad("minPairs", fmt.Sprintf("must be 1 to %d", MaxPairs))
	case !(c.Threshold > 0 && c.Threshold <= 1):
		return bad("threshold", "must be above 0 and at most 1")
	case !(c.Alpha > 0 && c.Alpha <= 0.5):
		return bad("alpha", "must be above 0 and at most 0.5")
	case c.Draws < minDraws || c.Draws > maxDraws:
		return bad("draws", fmt.Sprintf("must be %d to %d", minDraws, maxDraws))
	case len(c.Checks) > MaxChecks:
		return bad("checks", fmt.Sprintf("must be at most %d", MaxChecks))
	case len(c.DataChecks) > MaxChecks:
		return bad("dataChecks", fmt.Sprintf("must be at most %d", MaxChecks))
	}
	return c.validateChecks()
}

func (c *Config) validateChecks() error {
	names := map[string]bool{}
	required := len(c.DataChecks)
	for _, name := range c.DataChecks {
		if !namePattern.MatchString(name) {
			return &ConfigError{Check: name, Member: "name", Rule: nameRule}
		}
		if names[name] {
			return &ConfigError{Check: name, Member: "name", Rule: "occurs twice"}
		}
		names[name] = true
	}
	for i := range c.Checks {
		k := &c.Checks[i]
		if member, rule := k.violation(); member != "" {
			return &ConfigError{Check: k.Name, Member: member, Rule: rule}
		}
		if names[k.Name] {
			return &ConfigError{Check: k.Name, Member: "name", Rule: "occurs twice"}
		}
		names[k.Name] = true
		if k.Required {
			required++
		}
	}
	if required == 0 {
		return &ConfigError{Member: "checks", Rule: "must contain a required check, or dataChecks a name"}
	}
	return nil
}

// violation returns the member that violates a rule, and the rule.
func (k *Check) violation() (member, rule string) {
	switch {
	case !namePattern.MatchString(k.Name):
		return "name", nameRule
	case k.Kind != Counter && k.Kind != Tail && k.Kind != Errors:
		return "kind", "must be counter, tail or errors"
	case len(k.Unit) > maxUnit || !unitPattern.MatchString(k.Unit):
		return "unit", fmt.Sprintf("must be at most %d printable ASCII characters", maxUnit)
	case k.Direction != Increase && k.Direction != Decrease && k.Direction != Either:
		return "direction", "must be increase, decrease or either"
	case !within(k.Relative, maxShare):
		return "relative", "must be 0 to 10^6"
	case !within(k.Absolute, maxNumber):
		return "absolute", "must be 0 to 10^18"
	case k.Kind == Tail && !(k.Quantile > 0 && k.Quantile < 1):
		return "quantile", "must be above 0 and below 1"
	case k.Kind != Tail && k.Quantile != 0:
		return "quantile", "must be absent for this kind"
	case !within(k.MinPer, maxCount):
		return "minPer", "must be 0 to 10^9"
	}
	return "", ""
}

// within reports whether a number is 0 to limit. NaN is not.
func within(x, limit float64) bool { return x >= 0 && x <= limit }

// alpha returns the share of the accepted probability for one check.
func (c *Config) alpha() float64 {
	required := 0
	for _, k := range c.Checks {
		if k.Required && k.Kind != Counter {
			required++
		}
	}
	return c.Alpha / float64(max(1, required))
}

// inUnit formats a number for people.
func (k *Check) inUnit(x float64) string {
	if k.Kind == Errors {
		return fmt.Sprintf("%.4g %%", 100*x)
	}
	return strings.TrimSpace(fmt.Sprintf("%.4g %s", x, k.Unit))
}
