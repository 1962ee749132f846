package operate

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/clients/go/monitor"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
)

// A MonitorConfig is the content of monitor.yaml, whose paths are relative to
// its folder. monitorExample describes the settings.
type MonitorConfig struct {
	State    string        `yaml:"state"`
	Interval time.Duration `yaml:"interval"`
	Listen   string        `yaml:"listen"`
	Webhook  struct {
		URL       string `yaml:"url"`
		TokenFile string `yaml:"token_file"`
	} `yaml:"webhook"`
	Logs []monitoredLog `yaml:"logs"`
}

type monitoredLog struct {
	Name       string        `yaml:"name"`
	URL        string        `yaml:"url"`
	Policy     string        `yaml:"policy"`
	Format     string        `yaml:"format"`
	From       string        `yaml:"from"`
	TokenFile  string        `yaml:"token_file"`
	API        string        `yaml:"api"`
	Tenant     string        `yaml:"tenant"`
	StreamKey  string        `yaml:"stream_key"`
	ExpectNext *uint64       `yaml:"expect_next"`
	Quiet      time.Duration `yaml:"quiet"`
	MaxAge     time.Duration `yaml:"max_age"`
	Unread     time.Duration `yaml:"unread"`
	Timeout    time.Duration `yaml:"timeout"`
	Identities []string      `yaml:"identities"`
	Subjects   []string      `yaml:"subjects"`
	Expected   []string      `yaml:"expected"`
}

const (
	maxMonitorConfig = 4 << 20
	maxMonitoredLogs = 64
	maxWatched       = 10_000

	defaultUnread  = 15 * time.Minute
	defaultTimeout = time.Hour
)

var monitorName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// loadMonitor reads the configuration.
func loadMonitor(path string) (*MonitorConfig, *monitor.Monitor, error) {
	data, err := bounded.ReadFile(path, maxMonitorConfig)
	if err != nil {
		return nil, nil, err
	}
	c := &MonitorConfig{State: "monitor-state", Interval: time.Minute}
	if err := datadir.DecodeYAML(data, c); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	m, err := c.build(filepath.Dir(path))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, m, nil
}

func (c *MonitorConfig) build(dir string) (*monitor.Monitor, error) {
	switch {
	case c.Interval < time.Second:
		return nil, errors.New("interval: must be at least 1s")
	case len(c.Logs) == 0 || len(c.Logs) > maxMonitoredLogs:
		return nil, fmt.Errorf("logs: must list 1 to %d", maxMonitoredLogs)
	case c.Webhook.URL == "" && c.Webhook.TokenFile != "":
		return nil, errors.New("webhook.token_file: requires webhook.url")
	}
	m := &monitor.Monitor{Dir: relTo(dir, c.State), Now: time.Now}
	if c.Webhook.URL != "" {
		token := ""
		if c.Webhook.TokenFile != "" {
			var err error
			if token, err = remote.ReadBearer(relTo(dir, c.Webhook.TokenFile)); err != nil {
				return nil, fmt.Errorf("webhook.token_file: %w", err)
			}
		}
		w, err := monitor.NewWebhook(c.Webhook.URL, token)
		if err != nil {
			return nil, fmt.Errorf("webhook.url: %w", err)
		}
		m.Deliver = w.Deliver
	}
	seen := map[string]bool{}
	for i := range c.Logs {
		l, err := c.Logs[i].build(dir)
		if err != nil {
			return nil, fmt.Errorf("logs[%d].%w", i, err)
		}
		if seen[l.Name] {
			return nil, fmt.Errorf("logs[%d].name: %q is listed twice", i, l.Name)
		}
		seen[l.Name] = true
		m.Logs = append(m.Logs, *l)
	}
	return m, nil
}

func relTo(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// build returns the log to monitor. An error begins with the name of the field.
func (c *monitoredLog) build(dir string) (*monitor.Log, error) {
	l := &monitor.Log{Name: c.Name, ExpectNext: c.ExpectNext, Quiet: c.Quiet, MaxAge: c.MaxAge, Unread: cmp.Or(c.Unread, defaultUnread), Timeout: cmp.Or(c.Timeout, defaultTimeout), Watch: monitor.Watch{Identities: c.Identities, Subjects: c.Subjects, Expected: c.Expected}}
	if !monitorName.MatchString(c.Name) {
		return nil, errors.New("name: must be 1 to 63 of a-z, 0-9, dot, dash and underscore, because it also names the state's file")
	}
	text, err := bounded.ReadFile(relTo(dir, c.Policy), bounded.Config)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if l.Policy, err = datadir.ParsePolicy(c.Policy, text); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	switch c.Format {
	case "", "muniment":
	case "tlog-tiles":
		l.AnyLeaf = true
	case "rekor-v2":
		l.AnyLeaf, l.Rekor = true, true
	default:
		return nil, fmt.Errorf("format: %q: must be muniment, rekor-v2 or tlog-tiles", c.Format)
	}
	switch c.From {
	case "", "start":
	case "now":
		l.FromNow = true
	default:
		return nil, fmt.Errorf("from: %q: must be start or now", c.From)
	}
	if c.Quiet < 0 || c.MaxAge < 0 || c.Unread < 0 || c.Timeout < 0 {
		return nil, errors.New("quiet, max_age, unread, timeout: must be at least 0")
	}
	if c.MaxAge > 0 && len(l.Policy.Witnesses()) == 0 {
		return nil, errors.New("max_age: requires a policy with witnesses, whose cosignatures date checkpoints: use quiet")
	}
	if len(c.Identities)+len(c.Subjects)+len(c.Expected) > maxWatched {
		return nil, fmt.Errorf("identities, subjects and expected: must be at most %d together", maxWatched)
	}
	for name, list := range map[string][]string{"subjects": c.Subjects, "expected": c.Expected} {
		for j, s := range list {
			if alg, v, ok := strings.Cut(s, ":"); !ok || alg == "" || v == "" {
				return nil, fmt.Errorf("%s[%d]: %q: must be algorithm:value, such as sha256:2cf2…", name, j, s)
			}
		}
	}
	tokenFile := ""
	if c.TokenFile != "" {
		tokenFile = relTo(dir, c.TokenFile)
	}
	if l.Source, err = remote.OpenSource(c.URL, tokenFile); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if err := c.tenant(dir, l); err != nil {
		return nil, err
	}
	if len(c.Identities)+len(c.Subjects) > 0 && !l.Rekor && l.Entries == nil {
		return nil, errors.New("identities: the leaves of this log contain none: give token_file and api to read a tenant's entries, or set format: rekor-v2")
	}
	return l, nil
}

// tenant sets the parts of the log that need a tenant's secrets.
func (c *monitoredLog) tenant(dir string, l *monitor.Log) (err error) {
	if (c.StreamKey != "" || c.API != "") && l.AnyLeaf {
		return errors.New("stream_key, api: require format: muniment")
	}
	if c.StreamKey != "" {
		if l.FromNow {
			return errors.New("from: must be start with stream_key, because a stream can only be proven complete from its start")
		}
		if l.StreamKey, err = datadir.ReadStreamKey(relTo(dir, c.StreamKey)); err != nil {
			return fmt.Errorf("stream_key: %w", err)
		}
	}
	if c.ExpectNext != nil && l.StreamKey == nil {
		return errors.New("expect_next: requires stream_key")
	}
	if c.API == "" {
		return nil
	}
	if c.TokenFile == "" {
		return errors.New("token_file: required by api")
	}
	token, err := remote.ReadLedgerToken(relTo(dir, c.TokenFile))
	if err != nil {
		return fmt.Errorf("token_file: %w", err)
	}
	client, err := muniment.New(muniment.Options{Server: c.API, Token: token, Tenant: c.Tenant, UserAgent: "muniment-monitor"})
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	if client.Tenant == "" {
		return errors.New("tenant: set it, because the token does not name its tenant")
	}
	l.Entries = monitor.TenantEntries(client)
	return nil
}
