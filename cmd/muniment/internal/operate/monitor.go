package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"muniment.dev/muniment/clients/go/monitor"
	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/owner"
)

type monitorCmd struct {
	Config    string `arg:"" help:"YAML file: which logs, and what to look for. 'muniment monitor --example' prints one." predictor:"file" optional:""`
	Once      bool   `help:"Look once, and end with a code that says what was found."`
	Listen    string `help:"Serve Prometheus metrics here. Default: from the file." placeholder:"HOST:PORT"`
	LogFormat string `help:"text or json." enum:"text,json" default:"text"`
	JSON      bool   `help:"With --once: print one JSON object for each log."`
	Example   bool   `help:"Print an example of the file."`
}

func (monitorCmd) Help() string {
	return `Checks in each round that every log only grew, keeping what it has seen in a folder, and looks for the listed identities and subjects in the new entries. An
alert is a line in the log, a metric, a webhook, and with --once an exit code.

Exit code of --once: 0 all is well; 1 an alert: stalled, unsound, unread, an incomplete stream or an unexpected entry; 5 a log is forked or shorter than it was; 2 a log could not
be read, or something else not be done, and there is no alert.

Examples:
  muniment monitor --example > monitor.yaml
  muniment monitor monitor.yaml --once --json
  muniment monitor monitor.yaml --listen 127.0.0.1:9480`
}

const monitorExample = `# What 'muniment monitor' follows. Paths are relative to this file.

# What was seen of each log. Keep it: a fork is measured against it.
state: monitor-state

# Time between two rounds.
interval: 1m

# Serve Prometheus metrics here.
# listen: 127.0.0.1:9480

# Told of each alert, by POST of a JSON object.
# webhook:
#   url: https://alerts.example.com/muniment
#   token_file: webhook.token

logs:
  - name: ledger
    url: https://ledger.example.com
    policy: policy
    # Alert if the log has not grown for so long.
    quiet: 24h
    # Alert if the newest cosignature of a witness of the policy is older.
    # max_age: 10m
    # Alert if the log could not be read for so long. Default: 15m.
    # unread: 15m
    # Longest time of a round. Default: 1h. Reading a large log for the first time may need more.
    # timeout: 1h
    # A tenant: prove its stream complete, and read its entries over the API.
    # stream_key: acme.key
    # token_file: acme.token
    # api: https://ledger.example.com
    # Alert if an entry has one of these identities (signers and submitters; * stands for any text) or subjects, and none of the expected subjects.
    # identities: ["*@acme.example"]
    # subjects: ["sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"]
    # expected: []

  # Any Rekor v2 log. It is too large to be read from its start.
  # - name: rekor
  #   url: https://log2025-1.rekor.sigstore.dev/api/v2/
  #   policy: rekor.policy
  #   format: rekor-v2
  #   from: now
  #   identities: ["https://github.com/acme/*"]
`

func (c *monitorCmd) Run(a *term.App) error {
	if c.Example {
		_, err := io.WriteString(a.Stdout, monitorExample)
		return err
	}
	if c.Config == "" {
		return errors.New("the configuration is missing; begin with: muniment monitor --example > monitor.yaml")
	}
	log := a.ServiceLogger(c.LogFormat)
	cfg, m, err := loadMonitor(c.Config)
	if err != nil {
		return err
	}
	if err := owner.MkdirAll(m.Dir, 0o700); err != nil {
		return err
	}
	if c.Once {
		return c.once(a, m, log)
	}
	if c.Listen != "" {
		cfg.Listen = c.Listen
	}
	return c.follow(a, cfg, m, log)
}

// once looks once.
func (c *monitorCmd) once(a *term.App, m *monitor.Monitor, log *slog.Logger) error {
	rounds := m.Rounds(a.Ctx)
	code := term.ExitOK
	for i := range rounds {
		r := &rounds[i]
		logRound(log, r)
		for _, alert := range r.Standing {
			switch alert.Kind {
			case monitor.Forked, monitor.Truncated:
				code = term.ExitForked
			default:
				code = worse(code, term.ExitNo)
			}
		}
		if r.Err != nil {
			code = worse(code, term.ExitFailed)
		}
		if err := c.print(a, r); err != nil {
			return err
		}
	}
	if code == term.ExitOK {
		return nil
	}
	return term.ExitWith(code, nil)
}

// worse prefers a fork to an alert, and an alert to a failure.
func worse(a, b int) int {
	rank := map[int]int{term.ExitOK: 0, term.ExitFailed: 1, term.ExitNo: 2, term.ExitForked: 3}
	if rank[a] >= rank[b] {
		return a
	}
	return b
}

func (c *monitorCmd) print(a *term.App, r *monitor.Round) error {
	if c.JSON {
		o := struct {
			*monitor.Round
			Error string `json:"error,omitempty"`
		}{Round: r}
		if r.Err != nil {
			o.Error = r.Err.Error()
		}
		data, err := json.Marshal(&o)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.Stdout, "%s\n", data)
		return err
	}
	mark := "✓"
	if r.Err != nil || len(r.Standing) > 0 {
		mark = "✗"
	}
	fmt.Fprintf(a.Stdout, "%s %-20s %s, %s (%d read now)\n", mark, r.Log, r.Origin, term.Count(r.Size, "entry"), r.New)
	for _, alert := range r.Standing {
		fmt.Fprintf(a.Stdout, "  %s: %s\n", alert.Kind, term.Quoted(alert.Message))
	}
	if r.Err != nil {
		fmt.Fprintf(a.Stdout, "  %s\n", term.Quoted(r.Err.Error()))
	}
	return nil
}

// logRound writes what is new into the log.
func logRound(log *slog.Logger, r *monitor.Round) {
	for _, a := range r.Found {
		args := []any{"log", a.Log, "kind", a.Kind, "message", term.Escape(a.Message)}
		if a.Index != nil {
			args = append(args, "index", *a.Index, "matched", term.Escape(a.Matched))
		}
		if a.Offered != "" {
			args = append(args, "kept", a.Kept, "offered", term.Escape(a.Offered))
		}
		if a.Kind == monitor.Recovered {
			log.Info("recovered", args...)
			continue
		}
		log.Error("ALERT", args...)
	}
	if r.Err != nil {
		log.Warn("round failed", "log", r.Log, "err", term.Escape(r.Err.Error()))
	}
}

// follow looks until the context ends.
func (c *monitorCmd) follow(a *term.App, cfg *MonitorConfig, m *monitor.Monitor, log *slog.Logger) error {
	metrics := monitor.NewMetrics()
	var failed chan error
	if cfg.Listen != "" {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", metrics.Handler())
		l, err := listen(cfg.Listen, &http.Server{Handler: mux, ErrorLog: HTTPErrors(log), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}, 64, nil)
		if err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, "listening on", l.url)
		failed = l.failed
		defer l.srv.Close()
	}
	ctx, stop := context.WithCancel(a.Ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx, cfg.Interval, func(r *monitor.Round) {
			logRound(log, r)
			metrics.Observe(r, m.Now())
		})
	}()
	select {
	case <-done:
		return nil
	case err := <-failed:
		stop()
		<-done
		return fmt.Errorf("serve: %w", err)
	}
}
