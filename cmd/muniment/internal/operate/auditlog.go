package operate

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/bounded"
)

// An auditLog is where the server writes its audit log.
type auditLog struct {
	logger *slog.Logger
	files  []*logFile // to reopen
	io.Closer
}

// openAuditLog opens the file, at whose end each line is written in one piece.
// Lines are not synced: what was done is in the log itself, as an entry, and a
// power loss takes the newest refusals at the most. The first line of a run
// says which configuration is in force.
func openAuditLog(d *datadir.Dir, log *slog.Logger, stderr io.Writer) (*auditLog, error) {
	a := &auditLog{Closer: io.NopCloser(nil)}
	out := stderr
	if d.Config.AuditLog != "stderr" {
		f, err := openLogFile(d.Rel(d.Config.AuditLog))
		if err != nil {
			return nil, fmt.Errorf("%s: audit_log: %w", datadir.ConfigFile, err)
		}
		out, a.Closer, a.files = f, f, []*logFile{f}
	}
	config, err := bounded.ReadFile(filepath.Join(d.Path, datadir.ConfigFile), bounded.Config)
	if err != nil {
		return nil, err
	}
	a.logger = slog.New(slog.NewJSONHandler(&toldWriter{out, log}, nil))
	a.logger.Info("start", "origin", d.Config.Origin, "tenants", len(d.Tenants), "configuration_sha256", fmt.Sprintf("%x", sha256.Sum256(config)))
	return a, nil
}

// A toldWriter tells the server's log when it can't write, which slog passes
// over.
type toldWriter struct {
	io.Writer
	log *slog.Logger
}

func (w *toldWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		w.log.Error("the audit log can't be written", "err", err)
	}
	return n, err
}

// openAccessLog opens the access log; its logger is nil where there is none.
func openAccessLog(d *datadir.Dir, stderr io.Writer) (*auditLog, error) {
	a := &auditLog{Closer: io.NopCloser(nil)}
	out := stderr
	switch d.Config.AccessLog {
	case "":
		return a, nil
	case "stderr":
	default:
		f, err := openLogFile(d.Rel(d.Config.AccessLog))
		if err != nil {
			return nil, fmt.Errorf("%s: access_log: %w", datadir.ConfigFile, err)
		}
		out, a.Closer, a.files = f, f, []*logFile{f}
	}
	a.logger = slog.New(slog.NewJSONHandler(out, nil))
	return a, nil
}
