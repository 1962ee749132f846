package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/go-json-experiment/json"

	"muniment.dev/muniment/clients/go/monitor"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/term"
)

type monitorCmd struct {
	Config    string `arg:"" help:"YAML file with the logs to follow and what to look for. 'muniment monitor --example' prints one." predictor:"file" optional:""`
	Once      bool   `help:"Check once and exit. The exit code reports the result."`
	Listen    string `help:"Serve Prometheus metrics on this address. Default: listen in the file." placeholder:"HOST:PORT"`
	LogFormat string `help:"text or json." enum:"text,json" default:"text"`
	JSON      bool   `help:"With --once: print one JSON object for each log."`
	Example   bool   `help:"Print an example file."`
}

func (monitorCmd) Help() string {
	return `In each round, checks that every log only grew since the last one, and looks for the listed identities and subjects in new entries. The state is kept in
a folder. An alert is a line in the log, a metric, a webhook call, and with --once an exit code.

Exit code of --once: 0 no alert; 1 an alert: stalled, unsound, unread, an incomplete stream or an unexpected entry; 5 a log has forked or is shorter than it
was; 2 a log could not be read, or another failure, and there is no alert.

Examples:
  muniment monitor --example > monitor.yaml
  muniment monitor monitor.yaml --once --json
  muniment monitor monitor.yaml --listen 127.0.0.1:9480`
}

const monitorExample = `# The logs that 'muniment monitor' follows. Paths are relative to this file.

# Folder for the state of each log. Keep it: forks are detected by comparison with it.
state: monitor-state

# Time between two rounds.
interval: 1m

# Serve Prometheus metrics on this address.
# listen: 127.0.0.1:9480

# Receives each alert as a JSON object by POST.
# webhook:
#   url: https://alerts.example.com/muniment
#   token_file: webhook.token

logs:
  - name: ledger
    url: https://ledger.example.com
    policy: policy
    # Alert if the log has not grown for this time.
    quiet: 24h
    # Alert if the newest cosignature by a witness of the policy is older than this.
    # max_age: 10m
    # Alert if the log could not be read for this time. Default: 15m.
    # unread: 15m
    # Limit of a round. Default: 1h. The first reading of a large log may need more.
    # timeout: 1h
    # For a tenant: prove its stream complete, and read its entries over the API.
    # stream_key: acme.key
    # token_file: acme.token
    # api: https://ledger.example.com
    # Alert if an entry has one of these identities (signers and submitters; * matches any text) or subjects, and none of the expected subjects.
    # identities: ["*@acme.example"]
    # subjects: ["sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"]
    # expected: []

  # A Rekor v2 log. The public ones are too large to be read from the start.
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
		return errors.New("no configuration given: start with: muniment monitor --example > monitor.yaml")
	}
	log := a.ServiceLogger(c.LogFormat)
	cfg, m, err := loadMonitor(c.Config)
	if err != nil {
		return err
	}
	if err := ownfolder.CheckFolder(m.Dir); err != nil {
		return fmt.Errorf("%s: state: %w", c.Config, err)
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

// once checks all logs once.
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

// worse returns the more severe exit code: a fork outranks an alert, and an
// alert a failure.
func worse(a, b int) int {
	rank := map[int]int{term.ExitOK: 0, term.ExitFailed: 1, term.ExitNo: 2, term.ExitForked: 3}
	if rank[a] >= rank[b] {
		return a
	}
	return b
}

func (c *monitorCmd) print(a *term.App, r *monitor.Round) error {
	if c.JSON || a.JSON {
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

// logRound logs the new alerts and the error of a round.
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

// follow checks the logs until the context ends.
func (c *monitorCmd) follow(a *term.App, cfg *MonitorConfig, m *monitor.Monitor, log *slog.Logger) error {
	metrics := monitor.NewMetrics()
	var failed chan error
	if cfg.Listen != "" {
		mux, metricsRoute := http.NewServeMux(), "GET /metrics"
		mux.Handle(metricsRoute, doors("monitor")(metricsRoute, metrics.Handler()))
		site := sites["monitor"]
		site.Handler, site.Errors = mux, HTTPErrors(log)
		l, err := edge.Listen(cfg.Listen, site)
		if err != nil {
			return err
		}
		a.Listening("monitor", "listening on", l.URL)
		failed = l.Failed
		defer l.Close()
	}
	ctx, stop := context.WithCancel(a.Ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer crash.Report()
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
