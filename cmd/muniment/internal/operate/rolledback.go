package operate

import (
	"errors"
	"fmt"
	"log/slog"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/witness"
)

// A log was rolled back if its store is whole and a newer checkpoint of it
// exists elsewhere. It is served read-only, because its receipts are valid. A
// fork, or a store that nothing proves whole, is not served.

const (
	rolledBackLine   = "the log is older than its newest checkpoint and is served read-only: see \"A log that was rolled back\" in docs/operator.md"
	rolledBackRemedy = "%w: restore the newest copy of its data folder, or begin a new log under another origin"
)

// isRolledBack reports whether a log that could not be opened because of the
// error can be served read-only.
func isRolledBack(err error) bool {
	return errors.As(err, new(*datadir.RolledBackError)) || errors.Is(err, witness.ErrAhead)
}

// refuseFork adds serve's exit code to an error of OpenStore that means a fork.
func refuseFork(err error) error {
	if errors.Is(err, anchor.ErrInconsistent) {
		return term.ExitWith(term.ExitRollback, fmt.Errorf(rollback, err))
	}
	return err
}

// serveRolledBack serves the log as it was when its publish mark was written.
// It neither signs nor writes, and serves no Rekor log.
func (c *serveCmd) serveRolledBack(a *term.App, d *datadir.Dir, log *slog.Logger, reload *reloader, cause error) error {
	log.Error(rolledBackLine, "err", cause)
	policies, _, err := d.LoadPolicies()
	if err != nil {
		return err
	}
	s, mark, err := datadir.OpenStoreReadOnly(a.Ctx, c.Data, d.LogStore(), log)
	if err != nil {
		return term.ExitWith(term.ExitRollback, errors.Join(fmt.Errorf(rollback, cause), err))
	}
	reason := fmt.Errorf(rolledBackRemedy, ledger.ErrRolledBack)
	cfg := ledger.Config{Store: s, Logger: log, Quorum: witness.Quorum(policies)}
	l, err := ledger.OpenReadOnly(a.Ctx, cfg, policies[0], mark.Checkpoint, reason)
	if err != nil {
		return term.ExitWith(term.ExitRollback, errors.Join(fmt.Errorf(rollback, cause), err, s.Close()))
	}
	return errors.Join(c.serveReadOnly(a, d, log, l, s.FreeBytes, reload), s.Close())
}

func (c *serveCmd) serveReadOnly(a *term.App, d *datadir.Dir, log *slog.Logger, l *ledger.Ledger, freeBytes func() (uint64, error), reload *reloader) error {
	defer l.Close()
	metrics := api.NewMetrics(a.Version)
	metrics.Watch(l, freeBytes)
	audit, err := openAuditLog(d, log, a.Stderr)
	if err != nil {
		return err
	}
	defer audit.Close()
	access, err := openAccessLog(d, a.Stderr)
	if err != nil {
		return err
	}
	defer access.Close()
	admission, err := datadir.NewAdmission(d, l, log)
	if err != nil {
		return err
	}
	s, err := api.New(a.Ctx, api.Config{Ledger: l, Admission: admission, Settings: d.Settings(), Portal: d.Portal(), FreeBytes: freeBytes, Version: a.Version, Logger: log, Audit: audit.logger, Metrics: metrics, Access: access.logger})
	if err != nil {
		return err
	}
	reload.server, reload.admission, reload.files = s, admission, append(audit.files, access.files...)
	return c.serve(a, d, log, l, s, nil, nil, reload)
}

// heldBack holds the appends of a log that was opened before a witness reported
// that it was rolled back. It returns false if entries were recorded meanwhile:
// then the log has forked.
func (w *watch) heldBack(l *ledger.Ledger, cause error) bool {
	if !errors.Is(cause, witness.ErrAhead) || l.Published().Size != w.opened {
		return false
	}
	l.Hold(fmt.Errorf(rolledBackRemedy, ledger.ErrRolledBack))
	w.log.Error(rolledBackLine, "err", cause)
	w.close()
	return l.Published().Size == w.opened
}
