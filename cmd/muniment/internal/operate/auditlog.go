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

// An auditLog is the destination of the audit log, or of the access log.
type auditLog struct {
	logger *slog.Logger
	files  []*logFile // to be reopened by a reload
	io.Closer
}

// openAuditLog opens the audit log. Each line is appended by one write. Lines
// are not synced: administrative acts are also entries of the log, so a power
// failure loses at most the newest refusals. The first line of a run records
// the digest of the configuration.
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
	a.logger = slog.New(slog.NewJSONHandler(&reportingWriter{out, log}, nil))
	a.logger.Info("start", "origin", d.Config.Origin, "tenants", len(d.Tenants), "configuration_sha256", fmt.Sprintf("%x", sha256.Sum256(config)))
	return a, nil
}

// A reportingWriter reports failed writes, which slog ignores, to the server's
// log.
type reportingWriter struct {
	io.Writer
	log *slog.Logger
}

func (w *reportingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		w.log.Error("the audit log cannot be written", "err", err)
	}
	return n, err
}

// openAccessLog opens the access log. Its logger is nil if there is none.
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
