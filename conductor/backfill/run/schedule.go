package run

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/conductor/backfill/aca"
	"muniment.dev/muniment/conductor/backfill/aca/measure"
	"muniment.dev/muniment/conductor/backfill/checking"
	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/internal/crash"
)

// A schedule runs the windows of the canary analysis between two checkpoints. A
// goroutine measures while the copy goes on, or is held.
type schedule struct {
	runner     *Runner
	conn       *pgx.Conn // of the database's counters; nil: not measured
	sources    []measure.Source
	config     aca.Config
	checkpoint int
	planned    []aca.Window
	measured   []aca.Window
	running    *measurement
	repeated   int // windows in which too few rows were copied
}

// A measurement is that of a window. Until ended is closed, the goroutine that
// measures owns window, warned and err.
type measurement struct {
	cancel context.CancelFunc
	ended  chan struct{}
	window aca.Window
	warned []error
	err    error

	planned aca.Window
	began   time.Time
	visited int64         // rows, when it began
	due     float64       // rows
	busy    time.Duration // of the copy, in chunks
}

// metricsTimeout bounds a query to Prometheus.
const metricsTimeout = 10 * time.Second

// newSchedule returns the windows before a checkpoint, by its number.
func (r *Runner) newSchedule(ctx context.Context, checkpoint int) (*schedule, error) {
	a := r.Job.ACA
	s := &schedule{runner: r, checkpoint: checkpoint, config: analysis(r.Job)}
	if a.Pairs == 0 {
		return s, s.draw(ctx)
	}
	if len(a.Checks) > 0 {
		p := &measure.Prometheus{URL: cmp.Or(r.Prometheus, a.Prometheus), Client: &http.Client{Timeout: metricsTimeout}}
		for _, c := range a.Checks {
			p.Metrics = append(p.Metrics, measure.Metric{Check: c.Name, Kind: metricCheck(c).Kind, Value: c.Query, Per: c.Per})
		}
		s.sources = append(s.sources, p)
	}
	if a.Database {
		conn, err := r.Connect(ctx)
		if err != nil {
			return nil, err
		}
		s.conn = conn
		source, err := measure.NewPostgres(ctx, conn)
		if err != nil {
			s.close()
			return nil, err
		}
		s.sources = append(s.sources, source)
	}
	if resumed, err := s.resume(ctx); resumed || err != nil {
		return s, err
	}
	return s, s.draw(ctx)
}

// resume continues the windows of a process that has ended, with their seed. So
// the checkpoint does not lose them, and no restart chooses another order. A
// pair of which one window is missing is measured again. It reports false if
// there are none, or if their times do not precede the present by this clock.
func (s *schedule) resume(ctx context.Context) (bool, error) {
	event, err := state.Latest(ctx, s.runner.conn, s.runner.Job.Name, eventWindows)
	if err != nil || event == nil || len(s.sources) == 0 {
		return false, err
	}
	var drawn draw
	if err := json.Unmarshal(event.Details, &drawn); err != nil || drawn.Checkpoint != s.checkpoint || drawn.Pairs != s.config.Pairs {
		return false, err
	}
	rows, err := state.Windows(ctx, s.runner.conn, s.runner.Job.Name, s.checkpoint)
	if err != nil {
		return false, err
	}
	rows = rows[min(drawn.Earlier, len(rows)):]
	type place struct {
		pair int
		copy bool
	}
	latest := map[place]aca.Window{}
	for _, row := range rows {
		var w aca.Window
		if err := json.Unmarshal(row.Measurements, &w); err != nil {
			return false, fmt.Errorf("read window %d in the state: %w", row.Number, err)
		}
		latest[place{w.Pair, w.Copy}] = w
	}
	s.config.Seed, s.planned, s.measured = drawn.Seed, aca.Order(drawn.Seed, drawn.Pairs), nil
	var end time.Time
	for len(s.planned) >= 2 {
		a, b := latest[place{s.planned[0].Pair, s.planned[0].Copy}], latest[place{s.planned[1].Pair, s.planned[1].Copy}]
		if a.End.IsZero() || a.Start.Before(end) || b.Start.Before(a.End) {
			break
		}
		s.planned, s.measured, end = s.planned[2:], append(s.measured, a, b), b.End
	}
	return end.Before(s.runner.Now()), nil
}

// eventWindows is the event that records a draw.
const eventWindows = "windows"

// A draw is the order of the windows of a checkpoint.
type draw struct {
	Seed       string `json:"seed"`
	Pairs      int    `json:"pairs"`
	Checkpoint int    `json:"checkpoint"`

	// Earlier counts the windows of the checkpoint that were measured before,
	// in another order.
	Earlier int `json:"earlier,omitzero"`
}

// analysis returns the configuration of the canary analysis of a job, without
// the seed and the data checks.
func analysis(j *job.Job) aca.Config {
	a := j.ACA
	c := aca.NewConfig("", a.Pairs)
	c.MinPairs, c.Threshold = a.MinPairs, a.Threshold
	if a.Pairs == 0 {
		return c
	}
	for _, check := range a.Checks {
		c.Checks = append(c.Checks, metricCheck(check))
	}
	if a.Database {
		c.Checks = append(c.Checks, measure.DatabaseChecks()...)
	}
	return c
}

// checkAnalysis returns the error that the first checkpoint would have.
func checkAnalysis(j *job.Job) error {
	c := analysis(j)
	c.Seed, c.DataChecks = strings.Repeat("0", 32), checking.Names
	if err := c.Validate(); err != nil {
		return fmt.Errorf("aca: %w", err)
	}
	return nil
}

func metricCheck(c job.Check) aca.Check {
	var check aca.Check
	switch c.Kind {
	case "counter":
		check = aca.NewCounter(c.Name, "")
	case "tail":
		check = aca.NewTail(c.Name, "s", c.Quantile)
	default:
		check = aca.NewErrors(c.Name)
	}
	if c.Margin != nil {
		check.Relative = *c.Margin
	}
	if c.Absolute != nil {
		check.Absolute = *c.Absolute
	}
	if c.Decrease {
		check.Direction = aca.Decrease
	}
	check.Required = c.Decides
	return check
}

// draw records the seed of the next windows before the first of them begins.
func (s *schedule) draw(ctx context.Context) (err error) {
	if s.config.Seed = s.runner.Job.ACA.Seed; s.config.Seed == "" {
		if s.config.Seed, err = aca.NewSeed(rand.Reader); err != nil {
			return err
		}
	}
	s.planned, s.measured, s.repeated = aca.Order(s.config.Seed, s.config.Pairs), nil, 0
	if len(s.sources) == 0 {
		s.planned = nil
	}
	if len(s.planned) == 0 {
		return nil
	}
	details := draw{Seed: s.config.Seed, Pairs: s.config.Pairs, Checkpoint: s.checkpoint}
	return s.runner.within(ctx, func(tx *state.Tx) error {
		before, err := state.Windows(ctx, tx, s.runner.Job.Name, s.checkpoint)
		if err != nil {
			return err
		}
		details.Earlier = len(before)
		return s.runner.note(ctx, tx, eventWindows, details)
	})
}

// name describes the current window for people.
func (s *schedule) name() string {
	if len(s.planned) == 0 {
		return ""
	}
	total, with := 2*s.config.Pairs, "without"
	if s.running != nil && s.running.planned.Copy {
		with = "with"
	}
	return fmt.Sprintf("window %d of %d, %s the copy", total-len(s.planned)+1, total, with)
}

// next begins the next window, unless one runs. Due are the rows that are due
// in a window with the copy. It reports whether the copy is held for a window
// without it.
func (s *schedule) next(ctx context.Context, visited int64, due float64) (held bool, err error) {
	if done, err := s.complete(ctx, visited); done || err != nil {
		return false, err
	}
	if s.running == nil {
		s.start(ctx, visited, due)
	}
	return !s.running.planned.Copy, nil
}

// withoutCopy returns how long to wait for the end of a window without the
// copy; 0 if none runs.
func (s *schedule) withoutCopy() time.Duration {
	if s.running == nil || s.running.planned.Copy {
		return 0
	}
	return max(50*time.Millisecond, s.runner.Job.ACA.Window-time.Since(s.running.began))
}

func (s *schedule) sleep(ctx context.Context) error {
	timer := time.NewTimer(s.runner.Job.ACA.Window)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start begins a window.
func (s *schedule) start(ctx context.Context, visited int64, due float64) {
	ctx, cancel := context.WithCancel(ctx)
	m := &measurement{cancel: cancel, ended: make(chan struct{}), planned: s.planned[0], began: time.Now(), visited: visited, due: due}
	s.running = m
	go func() {
		defer crash.Report()
		defer close(m.ended)
		m.window, m.warned, m.err = measure.Window(ctx, m.planned, s.runner.Now, s.sources, s.sleep)
	}()
}

// worked notes the duration of a chunk of the copy.
func (s *schedule) worked(took time.Duration) {
	if s.running != nil {
		s.running.busy += took
	}
}

// The least work of a window with the copy: a share of the rows that are due,
// or a share of its time in which chunks were written. The second is for a copy
// that cannot write as many rows.
const (
	leastRows = 0.1
	leastTime = 0.5
)

// enough reports whether the copy has worked enough in a window, after which
// visited rows were visited.
func (m *measurement) enough(visited int64, window time.Duration) bool {
	rows := visited - m.visited
	return !m.planned.Copy || rows > 0 && (float64(rows) >= leastRows*m.due || m.busy >= time.Duration(leastTime*float64(window)))
}

// collect takes the result of a window. One in which too few rows were copied,
// for example because the throttle held the copy, is run again. After as many
// repetitions as there are pairs, its pair is left out.
func (s *schedule) collect(ctx context.Context, visited int64) error {
	m := s.running
	s.running = nil
	m.cancel()
	s.runner.Metrics.Advanced(s.runner.Now())
	switch {
	case errors.Is(m.err, measure.ErrClock):
		return s.clockSet(ctx)
	case m.err != nil:
		return ctx.Err()
	case m.enough(visited, s.runner.Job.ACA.Window):
		return s.keep(ctx, m.window, m.warned)
	case s.repeated < s.config.Pairs:
		s.repeated++
		return nil
	}
	s.planned = slices.DeleteFunc(s.planned, func(w aca.Window) bool { return w.Pair == m.planned.Pair })
	return s.runner.within(ctx, func(tx *state.Tx) error {
		return s.runner.note(ctx, tx, "measurement", map[string]string{"error": fmt.Sprintf(
			"the windows of pair %d are left out: %d rows were copied in the one with the copy, of %.0f that were due", m.planned.Pair, visited-m.visited, m.due)})
	})
}

// clockSet begins the windows of the checkpoint again, with another order. The
// times of those that were measured can be later than those that follow.
func (s *schedule) clockSet(ctx context.Context) error {
	err := s.runner.within(ctx, func(tx *state.Tx) error {
		return s.runner.note(ctx, tx, "measurement", map[string]string{"error": "the clock was set: the windows of the checkpoint begin again"})
	})
	if err != nil {
		return err
	}
	return s.draw(ctx)
}

// keep stores a window.
func (s *schedule) keep(ctx context.Context, w aca.Window, warned []error) error {
	if n := len(s.measured); n > 0 && w.Start.Before(s.measured[n-1].End) {
		return s.clockSet(ctx)
	}
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	s.planned, s.measured = s.planned[1:], append(s.measured, w)
	return s.runner.within(ctx, func(tx *state.Tx) error {
		for _, warning := range warned {
			if err := s.runner.note(ctx, tx, "measurement", map[string]string{"error": clip(warning.Error())}); err != nil {
				return err
			}
		}
		_, err := tx.AddWindow(ctx, state.Window{Checkpoint: s.checkpoint, Copying: w.Copy, Began: w.Start, Ended: w.End, Measurements: text})
		return err
	})
}

// complete takes the result of a window that has ended, and reports whether all
// windows have been measured.
func (s *schedule) complete(ctx context.Context, visited int64) (bool, error) {
	if s.running != nil {
		select {
		case <-s.running.ended:
			if err := s.collect(ctx, visited); err != nil {
				return false, err
			}
		default:
		}
	}
	return len(s.planned) == 0 && s.running == nil, nil
}

// copying returns the number of windows with the copy that have not ended.
func (s *schedule) copying() (n int) {
	for _, w := range s.planned {
		if w.Copy {
			n++
		}
	}
	return n
}

// abandon ends the window that runs.
func (s *schedule) abandon() {
	if s.running != nil {
		s.running.cancel()
		<-s.running.ended
		s.running = nil
	}
}

// renew begins the windows of the next checkpoint.
func (s *schedule) renew(ctx context.Context) error {
	s.checkpoint++
	return s.draw(ctx)
}

func (s *schedule) close() {
	s.abandon()
	if s.conn != nil {
		_ = s.conn.Close(context.Background())
	}
}
