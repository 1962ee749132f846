package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
)

// The size of line charts, in units of their SVG.
const (
	chartWidth  = 720.0
	chartHeight = 200.0
	chartLeft   = 56.0
	chartRight  = 12.0
	chartTop    = 12.0
	chartBottom = 26.0
)

// A chart is a line over time or progress.
type chart struct {
	Width, Height            float64
	Left, Right, Top, Bottom float64 // edges of the plot
	Line, Area               string  // points and path
	Dots                     []dot
	X, Y                     []tick
	Limit                    *float64 // height of a limit
	LimitLabel               string
	Bands                    []band
	Title                    string // for screen readers
}

type dot struct {
	X, Y        float64
	Class, Text string
}

type tick struct {
	At     float64
	Label  string
	Anchor string
}

type band struct {
	X, Width float64
	Class    string
	Text     string
}

func newChart(title string) *chart {
	return &chart{
		Width: chartWidth, Height: chartHeight, Left: chartLeft, Right: chartWidth - chartRight, Top: chartTop, Bottom: chartHeight - chartBottom, Title: title,
	}
}

// x returns the place of a share of the width.
func (c *chart) x(share float64) float64 { return round(c.Left + share*(c.Right-c.Left)) }

// y returns the place of a share of the height.
func (c *chart) y(share float64) float64 { return round(c.Bottom - share*(c.Bottom-c.Top)) }

func round(v float64) float64 { return math.Round(v*10) / 10 }

// scores returns the chart of the scores of checkpoints, or nil if there are
// none. The threshold is that of the newest analysis.
func (r *Report) scores() *chart {
	if len(r.Checkpoints) == 0 {
		return nil
	}
	c := newChart("Score of the canary analysis at each checkpoint")
	low, threshold := 1.0, math.NaN()
	for _, p := range r.Checkpoints {
		low = min(low, p.Score)
		if p.Analysis != nil {
			threshold = p.Analysis.Config.Threshold
		}
	}
	if !math.IsNaN(threshold) {
		low = min(low, threshold)
	}
	low = max(0, math.Floor(low*10-1)/10)
	share := func(score float64) float64 { return (score - low) / (1 - low) }
	var points []string
	for _, p := range r.Checkpoints {
		percent, _ := strconv.ParseFloat(strings.TrimSuffix(p.Checkpoint, "%"), 64)
		x, y := c.x(percent/100), c.y(share(p.Score))
		points = append(points, fmt.Sprintf("%g,%g", x, y))
		c.Dots = append(c.Dots, dot{x, y, classOf(p.Verdict), fmt.Sprintf("%s: %s, %s", p.Checkpoint, number(p.Score), p.Verdict)})
	}
	c.Line = strings.Join(points, " ")
	for p := 0; p <= 100; p += 25 {
		c.X = append(c.X, tick{c.x(float64(p) / 100), fmt.Sprintf("%d%%", p), anchor(p, 100)})
	}
	for i := range 3 {
		at := low + float64(i)*(1-low)/2
		c.Y = append(c.Y, tick{c.y(share(at)), number(at), "end"})
	}
	if !math.IsNaN(threshold) {
		c.Limit, c.LimitLabel = new(c.y(share(threshold))), "threshold "+number(threshold)
	}
	return c
}

func anchor(at, last int) string {
	switch at {
	case 0:
		return "start"
	case last:
		return "end"
	}
	return "middle"
}

// rates returns the chart of the rate of the copy, or nil without measurements.
func (r *Report) rates() *chart {
	if len(r.Rate) < 2 || !r.Rate[len(r.Rate)-1].Time.After(r.Rate[0].Time) {
		return nil
	}
	c := newChart("Rate of the copy over time")
	first, last := r.Rate[0].Time, r.Rate[len(r.Rate)-1].Time
	at := func(t time.Time) float64 {
		share := float64(t.Sub(first)) / float64(last.Sub(first))
		return c.x(min(max(share, 0), 1))
	}
	most := 0.0
	for _, p := range r.Rate {
		most = max(most, p.Rows)
	}
	top := ceiling(most)
	var points []string
	for _, p := range r.Rate {
		points = append(points, fmt.Sprintf("%g,%g", at(p.Time), c.y(p.Rows/top)))
	}
	c.Line = strings.Join(points, " ")
	c.Area = fmt.Sprintf("M%g,%g L%s L%g,%gZ", c.Left, c.Bottom, strings.Join(points, " L"), c.Right, c.Bottom)
	for i := range 3 {
		c.Y = append(c.Y, tick{c.y(float64(i) / 2), amount(top * float64(i) / 2), "end"})
	}
	layout := layoutOf(last.Sub(first))
	for i := range 5 {
		t := first.Add(time.Duration(float64(last.Sub(first)) * float64(i) / 4))
		c.X = append(c.X, tick{at(t), t.UTC().Format(layout), anchor(i, 4)})
	}
	for _, p := range r.pauses(last) {
		if x, end := at(p.from), at(p.to); end > x {
			c.Bands = append(c.Bands, band{x, round(end - x), "paused", "paused: " + p.actor})
		}
	}
	return c
}

// layoutOf returns the layout of times on an axis, which must differ from one
// label to the next.
func layoutOf(d time.Duration) string {
	switch {
	case d > 48*time.Hour:
		return "2 Jan 15:04"
	case d < 10*time.Minute:
		return "15:04:05"
	}
	return "15:04"
}

type paused struct {
	from, to time.Time
	actor    string
}

// pauses returns the times in which the copy was paused.
func (r *Report) pauses(end time.Time) []paused {
	var all []paused
	for _, s := range r.Steps {
		switch {
		case s.Result != "succeeded":
		case s.Name == "pause":
			all = append(all, paused{*s.Ended, end, s.Actor})
		case s.Name == "resume" && len(all) > 0 && all[len(all)-1].to.Equal(end):
			all[len(all)-1].to = *s.Ended
		}
	}
	return all
}

// A comparison is the chart of one metric: its effect and interval, in units
// of the accepted margin.
type comparison struct {
	Dot, From, To float64 // places
	Interval      bool
	Class         string
}

// The size of a comparison. Its scale ends at two margins.
const (
	comparisonWidth = 160.0
	comparisonScale = 2.0
)

// compare returns the chart of a result, or nil if it has no effect to show.
func compare(x *aca.Result) *comparison {
	if x.Effect == nil || x.Margin == nil || *x.Margin <= 0 {
		return nil
	}
	at := func(v float64) float64 {
		v = min(max(v / *x.Margin, -comparisonScale), comparisonScale)
		return round(comparisonWidth/2 + v*comparisonWidth/2/comparisonScale*0.95)
	}
	c := &comparison{Dot: at(*x.Effect), Class: string(x.Result)}
	if x.Interval != nil {
		c.Interval, c.From, c.To = true, at(x.Interval[0]), at(x.Interval[1])
	}
	return c
}

// ceiling returns the smallest of 1, 2 and 5 times a power of ten that is at
// least the value.
func ceiling(v float64) float64 {
	if !(v > 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*power >= v {
			return m * power
		}
	}
	return 10 * power
}

// amount returns a number with at most three digits and a prefix.
func amount(v float64) string {
	switch {
	case v >= 1e9:
		return number(v/1e9) + " G"
	case v >= 1e6:
		return number(v/1e6) + " M"
	case v >= 1e3:
		return number(v/1e3) + " k"
	}
	return number(v)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
