package report

import (
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/controls/finding"
)

// Sizes of charts, in units of their own.
const (
	chartWidth = 720
	rowHeight  = 20
	axisHeight = 20
)

type timeline struct {
	Width, Height, Bottom, AxisY, Now int
	Label                             string
	Ticks                             []tick
	Bars                              []bar
}

type tick struct {
	X            int
	Text, Anchor string
}

type bar struct {
	Class, Text, Anchor     string
	X, Y, W, LabelX, LabelY int
}

// timeline draws exceptions from their requests to their expiries.
func (v *viewer) timeline(all []Exception) *timeline {
	all = all[:min(len(all), maxBars)]
	now := v.Release.Time
	from, to := now, now
	for i := range all {
		if t := all[i].Request.Time; t.Before(from) {
			from = t
		}
		if t := all[i].Status.Expires; t.After(to) {
			to = t
		}
	}
	const most = 400 * 24 * time.Hour
	if now.Sub(from) > most {
		from = now.Add(-most)
	}
	if to.Sub(now) > most {
		to = now.Add(most)
	}
	margin := max(to.Sub(from)/40, 12*time.Hour)
	from, to = from.Add(-margin), to.Add(margin)
	x := func(t time.Time) int {
		switch {
		case t.Before(from):
			return 0
		case t.After(to):
			return chartWidth
		}
		return int(t.Sub(from) * chartWidth / to.Sub(from))
	}
	out := &timeline{Width: chartWidth, Height: len(all)*rowHeight + axisHeight, Bottom: len(all) * rowHeight, Now: x(now), Label: fmt.Sprintf("Timeline of %s, from request to expiry", count(len(all), "exception"))}
	out.AxisY = out.Height - 5
	for i := range all {
		out.Bars = append(out.Bars, barOf(&all[i], i, x))
	}
	out.Ticks = ticks(from, to, now, x)
	return out
}

func barOf(x *Exception, row int, at func(time.Time) int) bar {
	end := x.Status.Expires
	if end.IsZero() {
		end = x.Request.Expires
	}
	b := bar{Class: classOfException(x), Text: x.ID, X: at(x.Request.Time), Y: row*rowHeight + 6, LabelY: row*rowHeight + 14, Anchor: "start"}
	b.W = max(at(end)-b.X, 3)
	if r := []rune(b.Text); len(r) > 40 {
		b.Text = string(r[:39]) + "…"
	}
	b.LabelX = b.X + b.W + 6
	if b.LabelX > chartWidth*7/10 {
		b.LabelX, b.Anchor = b.X-6, "end"
	}
	if b.Anchor == "end" && b.LabelX < chartWidth*3/10 { // the bar is long
		b.LabelX, b.Anchor = b.X+4, "start"
	}
	return b
}

// ticks returns the labels of a time axis: now, and dates that are not close to
// it.
func ticks(from, to, now time.Time, x func(time.Time) int) []tick {
	all := []tick{{x(now), now.Format("2 Jan"), "middle"}}
	const apart = 90
	for i := range 9 {
		t := from.Add(to.Sub(from) * time.Duration(i) / 8)
		one := tick{x(t), t.Format("2 Jan 2006"), "middle"}
		if one.X < 40 || one.X > chartWidth-40 {
			continue
		}
		if d := one.X - all[0].X; d > -apart && d < apart {
			continue
		}
		if n := len(all); n > 1 && one.X-all[n-1].X < apart && one.X > all[n-1].X {
			continue
		}
		all = append(all, one)
	}
	switch {
	case all[0].X < 30:
		all[0].Anchor = "start"
	case all[0].X > chartWidth-30:
		all[0].Anchor = "end"
	}
	return all
}

type chart struct {
	Width, Height, Left, Right, AxisY int
	Label                             string
	Lines                             []gridLine
	Areas                             []area
	Ticks                             []tick
	Legend                            []legend
}

type gridLine struct {
	X, Y, TextY int
	Text        string
}

type area struct{ Class, Path string }

type legend struct{ Class, Text string }

// newChart draws how many findings were not resolved, or nil if there is no
// history.
func newChart(points []finding.Count) *chart {
	if len(points) < 2 {
		return nil
	}
	const left, top, height = 40, 10, 150
	most := 1
	for i := range points {
		most = max(most, points[i].Open+points[i].InProgress)
	}
	scale := niceAbove(most)
	c := &chart{Width: chartWidth, Height: top + height + axisHeight, Left: left, Right: chartWidth, AxisY: top + height + axisHeight - 4}
	x := func(i int) int { return left + i*(chartWidth-left)/(len(points)-1) }
	y := func(n int) int { return top + height - n*height/scale }
	path := func(of func(*finding.Count) int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "M%d %d", x(0), y(0))
		for i := range points {
			fmt.Fprintf(&b, "L%d %d", x(i), y(of(&points[i])))
		}
		fmt.Fprintf(&b, "L%d %dZ", x(len(points)-1), y(0))
		return b.String()
	}
	c.Areas = []area{
		{"unresolved", path(func(p *finding.Count) int { return p.Open + p.InProgress })},
		{"progress", path(func(p *finding.Count) int { return p.InProgress })},
		{"overdue", path(func(p *finding.Count) int { return p.Overdue })},
	}
	c.Areas = append(c.Areas[:1], c.Areas[2:]...)
	c.Legend = []legend{{"unresolved", "not resolved"}, {"overdue", "past the deadline"}}
	for _, n := range []int{0, scale / 2, scale} {
		if n == scale/2 && scale%2 == 1 {
			continue
		}
		c.Lines = append(c.Lines, gridLine{left - 6, y(n), y(n) + 4, number(n)})
	}
	first, last := points[0], points[len(points)-1]
	for _, i := range []int{0, len(points) / 2, len(points) - 1} {
		t := tick{x(i), points[i].Time.Format("2 Jan 2006"), "middle"}
		switch i {
		case 0:
			t.Anchor = "start"
		case len(points) - 1:
			t.Anchor = "end"
		default:
			if len(points) < 3 {
				continue
			}
		}
		c.Ticks = append(c.Ticks, t)
	}
	c.Label = fmt.Sprintf("Findings that are not resolved: %d on %s, %d on %s, of which %d are past the deadline",
		first.Open+first.InProgress, first.Time.Format("2 January 2006"), last.Open+last.InProgress, last.Time.Format("2 January 2006"), last.Overdue)
	return c
}

// niceAbove returns a round number that is not below n.
func niceAbove(n int) int {
	for step := 1; ; step *= 10 {
		for _, m := range []int{2, 4, 6, 10} {
			if m*step >= n {
				return m * step
			}
		}
	}
}
