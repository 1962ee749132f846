package throttle

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// An Input is a quantity that slows the copy down.
type Input string

// The inputs. All but WindowInput can have a limit.
const (
	ReplicationLag    Input = "replication_lag"
	WALRate           Input = "wal_rate"
	DeadTuples        Input = "dead_tuples"
	Vacuum            Input = "vacuum"
	BlockedSessions   Input = "blocked_sessions"
	LockQueue         Input = "lock_queue"
	OldestTransaction Input = "oldest_transaction"
	Probe             Input = "probe"
	Query             Input = "query"

	WindowInput Input = "window" // the reason outside of the windows
)

// A unit determines how values of an input are written.
type unit int

const (
	number unit = iota
	seconds
	bytesPerSecond
)

// inputs is the table of inputs with a limit, in the order in which they are
// measured and listed.
var inputs = []struct {
	input Input
	unit  unit
	limit float64 // the default; negative for none
}{
	{ReplicationLag, seconds, 10},
	{WALRate, bytesPerSecond, -1},
	{DeadTuples, number, 0.3},
	{Vacuum, number, 0},
	{BlockedSessions, number, 5},
	{LockQueue, number, 1},
	{OldestTransaction, seconds, 15 * 60},
	{Probe, seconds, -1},
	{Query, number, -1},
}

// Inputs returns all inputs that can have a limit.
func Inputs() (list []Input) {
	for _, row := range inputs {
		list = append(list, row.input)
	}
	return list
}

func unitOf(input Input) (unit, bool) {
	for _, row := range inputs {
		if row.input == input {
			return row.unit, true
		}
	}
	return number, false
}

// Limits are the limits by input, in seconds, bytes per second, or numbers.
// An input without a limit is not measured. Limit 0 admits only the value 0.
type Limits map[Input]float64

// DefaultLimits returns the limits of a job that specifies none.
func DefaultLimits() Limits {
	limits := Limits{}
	for _, row := range inputs {
		if row.limit >= 0 {
			limits[row.input] = row.limit
		}
	}
	return limits
}

// Set sets or removes the limit of an input: a duration as 10s, a rate as 16MiB
// per second, a number, or none. The limit of vacuum is any.
func (l Limits) Set(name, text string) error {
	input := Input(name)
	u, ok := unitOf(input)
	if !ok {
		names := make([]string, 0, len(inputs))
		for _, known := range Inputs() {
			names = append(names, string(known))
		}
		return fmt.Errorf("unknown throttle input %q: use one of %s", name, strings.Join(names, ", "))
	}
	if text == "none" {
		delete(l, input)
		return nil
	}
	if input == Vacuum {
		if text != "any" {
			return fmt.Errorf("%s: limit %q is not allowed: use any or none", name, text)
		}
		l[input] = 0
		return nil
	}
	value, err := parse(u, text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	l[input] = value
	return nil
}

func parse(u unit, text string) (value float64, err error) {
	switch u {
	case seconds:
		var d time.Duration
		if d, err = time.ParseDuration(text); err != nil {
			return 0, fmt.Errorf("limit %q is not a duration such as 10s", text)
		}
		value = d.Seconds()
	case bytesPerSecond:
		if value, err = parseBytes(text); err != nil {
			return 0, err
		}
	default:
		if value, err = strconv.ParseFloat(text, 64); err != nil {
			return 0, fmt.Errorf("limit %q is not a number", text)
		}
	}
	if value < 0 || math.IsNaN(value) || math.IsInf(value, 0) {
		return 0, fmt.Errorf("limit %q must be at least 0", text)
	}
	return value, nil
}

// sizes are the suffixes of rates, longer ones first.
var sizes = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1},
}

func parseBytes(text string) (float64, error) {
	digits := strings.TrimSuffix(text, "/s")
	for _, size := range sizes {
		if before, ok := strings.CutSuffix(digits, size.suffix); ok {
			if n, err := strconv.ParseFloat(before, 64); err == nil {
				return n * size.bytes, nil
			}
		}
	}
	return 0, fmt.Errorf("limit %q is not a rate per second with the unit B, KiB, MiB or GiB, such as 16MiB", text)
}

// Format returns a value of an input with its unit.
func Format(input Input, value float64) string {
	u, _ := unitOf(input)
	switch {
	case math.IsInf(value, 0) || math.IsNaN(value):
		return "unknown"
	case u == seconds && value < 1e9:
		return time.Duration(value * float64(time.Second)).Round(time.Millisecond).String()
	case u == bytesPerSecond:
		suffix := "B/s"
		for _, larger := range []string{"KiB/s", "MiB/s", "GiB/s"} {
			if math.Abs(value) < 1<<10 {
				break
			}
			value, suffix = value/(1<<10), larger
		}
		return strconv.FormatFloat(value, 'f', 1, 64) + suffix
	default:
		return strconv.FormatFloat(value, 'g', 4, 64)
	}
}
