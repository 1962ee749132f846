package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/internal/term"
)

// A watcher shows the progress of a job: a bar on a terminal, a line for each
// event, or with --json one object for each.
type watcher struct {
	app  *term.App
	json bool

	mu     sync.Mutex // guards the rest
	bar    *progressbar.ProgressBar
	last   time.Time // of the latest line about the progress
	reason string
	failed string // reason why the ledger has not recorded an entry
}

func newWatcher(a *term.App, json bool) *watcher { return &watcher{app: a, json: json} }

// every is the time between two lines about the progress.
const every = 5 * time.Second

type line struct {
	Event   string    `json:"event"`
	At      time.Time `json:"at"`
	Details any       `json:"details,omitempty"`
}

func (w *watcher) write(event string, details any, text string) {
	if w.json {
		// The output keeps the error.
		_ = term.WriteJSON(w.app.Stdout, line{event, time.Now().UTC(), details})
		return
	}
	if text == "" {
		return
	}
	if w.bar != nil {
		_ = w.bar.Clear() // a bar that can't be drawn changes nothing
	}
	fmt.Fprintln(w.app.Stderr, term.Indented(text))
}

// Event implements run.Watcher.
func (w *watcher) Event(what string, details any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write(what, details, run.Describe(what, details))
}

// Copied implements run.Watcher.
func (w *watcher) Copied(p run.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bar == nil && !w.json {
		w.bar = w.app.ProgressOf(max(p.Estimate, 10), "copy", "rows")
	}
	if w.bar != nil {
		if p.Estimate > w.bar.GetMax64() {
			w.bar.ChangeMax64(p.Estimate)
		}
		w.bar.Describe(caption(p))
		// A bar that can't be drawn changes nothing.
		_ = w.bar.Set64(min(p.Visited, w.bar.GetMax64()))
	}
	now := time.Now()
	if now.Sub(w.last) < every && p.Reason == w.reason {
		return
	}
	w.last, w.reason = now, p.Reason
	text := fmt.Sprintf("%5.1f%%  %d rows, %.0f rows/s", 100*p.Share, p.Visited, p.Rate)
	if p.Left > 0 {
		text += fmt.Sprintf(", about %s left", p.Left)
	}
	switch p.Reason {
	case "":
	case run.PausedReason:
		text += ", paused: run conductor backfill resume, or rollback"
	default:
		text += ", slowed by " + p.Reason
	}
	w.write("progress", p, text)
}

func caption(p run.Progress) string {
	if p.Reason != "" {
		return "copy (" + p.Reason + ")"
	}
	return "copy"
}

// Sent implements run.Watcher.
func (w *watcher) Sent(a record.Attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.Err == nil {
		w.failed = ""
		return
	}
	if reason := a.Err.Error(); reason != w.failed {
		w.failed = reason
		w.write("ledger", map[string]string{"error": reason}, "the ledger has not recorded an entry: "+reason)
	}
}

// Waiting implements run.Watcher.
func (w *watcher) Waiting(h state.Holder) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write("waiting", h, fmt.Sprintf("waiting for %s, which runs the job", h))
}

// finish removes the bar.
func (w *watcher) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bar != nil {
		_ = w.bar.Finish() // a bar that can't be drawn changes nothing
		w.bar = nil
	}
}
