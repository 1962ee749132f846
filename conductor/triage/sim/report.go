package sim

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// Print writes the tables of docs/triage.md.
func Print(w io.Writer, runs []Run, r Result) error {
	p := &printer{w: w}
	p.patterns(runs)
	p.humans(r)
	for _, b := range r.BreakEvens {
		p.line("| %.1f | %s | %s to %s |", b.Sigma, duration(b.Median.Value), duration(b.Median.Low), duration(b.Median.High))
	}
	wrong := 0
	patterns := map[string]bool{}
	for _, run := range runs {
		if run.Verdict() == Wrong {
			wrong++
		}
		patterns[run.Pattern] = true
	}
	p.line("")
	p.line("False actions: in %d of %d runs, %s. By pattern: in %.0f of %d, %s.",
		wrong, len(runs), percent(r.False), r.FalseBy.Value*float64(len(patterns)), len(patterns), percent(r.FalseBy))
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// patterns writes what was measured, by pattern.
func (p *printer) patterns(runs []Run) {
	by := map[string][]Run{}
	for _, r := range runs {
		by[r.Pattern] = append(by[r.Pattern], r)
	}
	p.line("| pattern | right answer | runs | right | wrong | abstained | until the alert | until the action |")
	p.line("|---|---|---|---|---|---|---|---|")
	for _, name := range sortedNames(by) {
		verdicts := map[Verdict]int{}
		var alerted, acted []time.Duration
		truth := by[name][0].Truth
		for _, r := range by[name] {
			verdicts[r.Verdict()]++
			if r.Without.Alerted > 0 {
				alerted = append(alerted, r.Without.Alerted)
			}
			if r.With.Acted > 0 {
				acted = append(acted, r.With.Acted)
			}
		}
		answer := "`" + truth.Type + "`"
		if truth.Type == "" {
			answer = map[bool]string{true: "a person", false: "none"}[truth.Person]
		}
		p.line("| %s | %s | %d | %d | %d | %d | %s | %s |", name, answer, len(by[name]), verdicts[Right], verdicts[Wrong], verdicts[Abstained], spread(alerted), spread(acted))
	}
	p.line("")
}

// humans writes the reduction for each distribution.
func (p *printer) humans(r Result) {
	p.line("| median of people | σ | without triage | with triage | reduction | 95 %% interval |")
	p.line("|---|---|---|---|---|---|")
	for _, c := range r.Cells {
		p.line("| %s | %.1f | %s | %s | %.1f %% | %.1f to %.1f %% |", duration(c.Human.Median.Seconds()), c.Human.Sigma,
			duration(c.Without.Seconds()), duration(c.With.Seconds()), 100*c.Reduction.Value, 100*c.Reduction.Low, 100*c.Reduction.High)
	}
	p.line("")
	p.line("| σ | break-even median of people | 95 %% interval |")
	p.line("|---|---|---|")
}

// spread returns the median and the range of durations.
func spread(of []time.Duration) string {
	if len(of) == 0 {
		return "–"
	}
	slices.Sort(of)
	return fmt.Sprintf("%.1f s (%.1f to %.1f)", of[len(of)/2].Seconds(), of[0].Seconds(), of[len(of)-1].Seconds())
}

func percent(e Estimate) string {
	return fmt.Sprintf("%.1f %% (95 %% interval %.1f to %.1f %%)", 100*e.Value, 100*e.Low, 100*e.High)
}

// duration formats seconds.
func duration(s float64) string {
	switch {
	case math.IsInf(s, 1):
		return "never"
	case s < 100:
		return fmt.Sprintf("%.0f s", s)
	default:
		return fmt.Sprintf("%.1f min", s/60)
	}
}
