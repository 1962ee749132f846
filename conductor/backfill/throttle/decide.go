package throttle

import (
	"fmt"
	"math"
	"time"
)

// A Reading is one measurement.
type Reading struct {
	Input Input
	Value float64 // in the unit of the input
	Err   error   // why the measurement failed; then it counts as above its limit
}

// slowest is the share of the rate at the limit of an input.
const slowest = 0.1

// A Decision is the answer to the question how fast the copy may proceed.
type Decision struct {
	Rate   float64   `json:"rate"`            // share of the full rate; 0 to wait
	Reason Reason    `json:"reason,omitzero"` // of a rate below 1
	Opens  time.Time `json:"opens,omitzero"`  // the next window, if there is none now
}

// A Reason is the input that slows the copy down the most.
type Reason struct {
	Input Input   `json:"input"`
	Value float64 `json:"value,omitzero"` // in the unit of the input
	Limit float64 `json:"limit,omitzero"`
	Error string  `json:"error,omitempty"` // if the measurement failed
}

// String returns the reason for people, such as "replication_lag 7.2s of 10s".
func (r Reason) String() string {
	switch {
	case r.Input == "":
		return ""
	case r.Input == WindowInput:
		return "outside of the capacity windows"
	case r.Error != "":
		return fmt.Sprintf("%s cannot be measured: %s", r.Input, r.Error)
	case r.Input == Vacuum:
		return "an anti-wraparound vacuum of the table is running"
	default:
		return fmt.Sprintf("%s %s of %s", r.Input, Format(r.Input, r.Value), Format(r.Input, r.Limit))
	}
}

// Decide returns the decision by the readings. Up to half of each limit the
// rate is 1. From there it falls linearly to one tenth at the limit. Above a
// limit it is 0. A reading that failed counts as above its limit, and an input
// with a limit but without a reading has failed.
func Decide(limits Limits, readings []Reading) Decision {
	byInput := map[Input]Reading{}
	for _, r := range readings {
		byInput[r.Input] = r
	}
	var worst float64
	var reason Reason
	for _, input := range Inputs() {
		limit, limited := limits[input]
		if !limited {
			continue
		}
		r, measured := byInput[input]
		one := Reason{Input: input, Value: r.Value, Limit: limit}
		share := shareOf(r.Value, limit)
		switch {
		case !measured:
			one.Error, share = "not measured", math.Inf(1)
		case r.Err != nil:
			one.Value, one.Error, share = 0, r.Err.Error(), math.Inf(1)
		case math.IsNaN(r.Value):
			one.Value, one.Error, share = 0, "the value is not a number", math.Inf(1)
		}
		// An infinite value would be lost in JSON.
		one.Value = min(max(one.Value, -math.MaxFloat64), math.MaxFloat64)
		if share > worst {
			worst, reason = share, one
		}
	}
	if rate := rateOf(worst); rate < 1 {
		return Decision{Rate: rate, Reason: reason}
	}
	return Decision{Rate: 1}
}

// shareOf returns the share of a limit that a value has reached.
func shareOf(value, limit float64) float64 {
	switch {
	case value <= 0:
		return 0
	case limit <= 0:
		return math.Inf(1)
	}
	return value / limit
}

func rateOf(share float64) float64 {
	switch {
	case share <= 0.5:
		return 1
	case share > 1:
		return 0
	}
	return 1 - (share-0.5)/0.5*(1-slowest)
}

// Pause returns how long to wait after a chunk that took d, so that the copy
// proceeds at the decided share of its rate. It is at most the pause of the
// slowest rate.
func (d Decision) Pause(took time.Duration) time.Duration {
	rate := min(max(d.Rate, slowest), 1)
	return time.Duration(float64(took) * (1/rate - 1))
}
