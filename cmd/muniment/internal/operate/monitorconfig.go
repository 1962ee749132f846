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

// A MonitorConfig is monitor.yaml. Paths are relative to its folder.
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
		return nil, errors.New("interval: less than a second")
	case len(c.Logs) == 0 || len(c.Logs) > maxMonitoredLogs:
		return nil, fmt.Errorf("logs: there must be 1 to %d", maxMonitoredLogs)
	case c.Webhook.URL == "" && c.Webhook.TokenFile != "":
		return nil, errors.New("webhook.token_file: there is no webhook.url")
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
			return nil, fmt.Errorf("logs[%d].name: %q is there twice", i, l.Name)
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

// build checks a log's lines. An error begins with the name of the field.
func (c *monitoredLog) build(dir string) (*monitor.Log, error) {
	l := &monitor.Log{Name: c.Name, ExpectNext: c.ExpectNext, Quiet: c.Quiet, MaxAge: c.MaxAge, Unread: cmp.Or(c.Unread, defaultUnread), Timeout: cmp.Or(c.Timeout, defaultTimeout), Watch: monitor.Watch{Identities: c.Identities, Subjects: c.Subjects, Expected: c.Expected}}
	if !monitorName.MatchString(c.Name) {
		return nil, errors.New("name: must be 1 to 63 of a-z, 0-9, dot, dash and underscore; it is the name of the state's file, too")
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
		return nil, fmt.Errorf("format: %q is none of muniment, rekor-v2, tlog-tiles", c.Format)
	}
	switch c.From {
	case "", "start":
	case "now":
		l.FromNow = true
	default:
		return nil, fmt.Errorf("from: %q is neither start nor now", c.From)
	}
	if c.Quiet < 0 || c.MaxAge < 0 || c.Unread < 0 || c.Timeout < 0 {
		return nil, errors.New("quiet, max_age, unread, timeout: must not be negative")
	}
	if c.MaxAge > 0 && len(l.Policy.Witnesses()) == 0 {
		return nil, errors.New("max_age: the policy lists no witness, whose cosignature would say how old a checkpoint is; use quiet")
	}
	if len(c.Identities)+len(c.Subjects)+len(c.Expected) > maxWatched {
		return nil, fmt.Errorf("identities: with subjects and expected more than %d", maxWatched)
	}
	for name, list := range map[string][]string{"subjects": c.Subjects, "expected": c.Expected} {
		for j, s := range list {
			if alg, v, ok := strings.Cut(s, ":"); !ok || alg == "" || v == "" {
				return nil, fmt.Errorf("%s[%d]: %q is not algorithm:value, such as sha256:2cf2…", name, j, s)
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
		return nil, errors.New("identities: the leaves of this log show none; give token_file and api for a tenant's entries, or format: rekor-v2")
	}
	return l, nil
}

// tenant sets what needs a tenant's secrets.
func (c *monitoredLog) tenant(dir string, l *monitor.Log) (err error) {
	if (c.StreamKey != "" || c.API != "") && l.AnyLeaf {
		return errors.New("stream_key, api: only for format: muniment")
	}
	if c.StreamKey != "" {
		if l.FromNow {
			return errors.New("from: a stream can only be proven complete from the start")
		}
		if l.StreamKey, err = datadir.ReadStreamKey(relTo(dir, c.StreamKey)); err != nil {
			return fmt.Errorf("stream_key: %w", err)
		}
	}
	if c.ExpectNext != nil && l.StreamKey == nil {
		return errors.New("expect_next: needs stream_key")
	}
	if c.API == "" {
		return nil
	}
	if c.TokenFile == "" {
		return errors.New("token_file: the API needs the tenant's token")
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
		return errors.New("tenant: the token does not say for which it is")
	}
	l.Entries = monitor.TenantEntries(client)
	return nil
}
