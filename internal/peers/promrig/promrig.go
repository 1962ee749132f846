// Package promrig runs Prometheus and Alertmanager on loopback, for tests of
// metrics, alerts and dashboards.
package promrig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// A Config describes what to run.
type Config struct {
	Dir string // for configuration, data and output

	// Target is the host and port of the server to scrape every second as the
	// job muniment, with the token as its credentials.
	Target string
	Token  string

	// Backfill, if not empty, is the host and port of a process that runs a
	// backfill. It is scraped every second as the job muniment-backfill.
	Backfill string

	// Cache, if not empty, is the host and port of a service with an adaptive
	// cache. It is scraped every second as the job cache.
	Cache string

	// Triage, if not empty, is the host and port of a process that runs triage.
	// It is scraped every second as the job triage.
	Triage string

	Rules   string // path of a file with alerts
	Webhook string // URL that receives the alerts
}

// A Rig is a running Prometheus with its Alertmanager.
type Rig struct {
	URL string // of Prometheus

	processes []*peers.Process
}

// Start starts both, and waits until Prometheus knows the Alertmanager:
// alerts before that are dropped. The caller must stop the rig.
func Start(ctx context.Context, c Config) (_ *Rig, err error) {
	ports, err := peers.FreePorts(2)
	if err != nil {
		return nil, err
	}
	r := &Rig{URL: "http://127.0.0.1:" + ports[0]}
	defer func() {
		if err != nil {
			r.Stop()
		}
	}()
	manager := "127.0.0.1:" + ports[1]
	if err := c.write(manager); err != nil {
		return nil, err
	}
	for _, p := range []peers.Program{
		{Name: "alertmanager", Probe: "http://" + manager + "/-/ready", Args: []string{
			"--config.file=" + c.path("alertmanager.yaml"), "--storage.path=" + c.path("alerts"), "--web.listen-address=" + manager, "--cluster.listen-address=",
		}},
		{Name: "prometheus", Probe: r.URL + "/-/ready", Args: []string{
			"--config.file=" + c.path("prometheus.yaml"), "--storage.tsdb.path=" + c.path("series"), "--web.listen-address=127.0.0.1:" + ports[0],
		}},
	} {
		p.Dir = c.Dir
		if err := r.start(ctx, p); err != nil {
			return nil, err
		}
	}
	return r, r.awaitManagers(ctx, 1)
}

// awaitManagers waits until Prometheus knows n Alertmanagers.
func (r *Rig) awaitManagers(ctx context.Context, n int) error {
	return r.await(ctx, "/api/v1/alertmanagers", func(data json.RawMessage) bool {
		var known struct{ ActiveAlertmanagers []any }
		return json.Unmarshal(data, &known) == nil && len(known.ActiveAlertmanagers) >= n
	})
}

func (c *Config) path(name string) string { return filepath.Join(c.Dir, name) }

// write writes the two configurations. JSON is YAML.
func (c *Config) write(manager string) error {
	type object = map[string]any
	targets := func(host string) []object {
		return []object{{"static_configs": []object{{"targets": []string{host}}}}}
	}
	scrape := targets(c.Target)
	scrape[0]["job_name"] = "muniment"
	scrape[0]["authorization"] = object{"credentials": c.Token}
	for job, host := range map[string]string{"muniment-backfill": c.Backfill, "cache": c.Cache, "triage": c.Triage} {
		if host != "" {
			more := targets(host)
			more[0]["job_name"] = job
			scrape = append(scrape, more...)
		}
	}
	for name, config := range map[string]object{
		"prometheus.yaml": {
			"global":         object{"scrape_interval": "1s", "evaluation_interval": "1s"},
			"rule_files":     []string{c.Rules},
			"scrape_configs": scrape,
			"alerting":       object{"alertmanagers": targets(manager)},
		},
		"alertmanager.yaml": {
			"route":     object{"receiver": "test", "group_by": []string{"alertname"}, "group_wait": "0s", "group_interval": "1s"},
			"receivers": []object{{"name": "test", "webhook_configs": []object{{"url": c.Webhook}}}},
		},
	} {
		text, err := json.Marshal(config)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.path(name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Stop stops both.
func (r *Rig) Stop() {
	for _, p := range r.processes {
		p.Stop()
	}
}

// A Sample is one element of the result of a query.
type Sample struct {
	Metric map[string]string
	Value  [2]any // the time, and the value as a text
}

// Query evaluates an expression in PromQL as of now.
func (r *Rig) Query(ctx context.Context, expression string) ([]Sample, error) {
	data, err := r.get(ctx, "/api/v1/query?query="+url.QueryEscape(expression))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expression, err)
	}
	var v struct{ Result []Sample }
	return v.Result, json.Unmarshal(data, &v)
}

// Await repeats a query until it has a result.
func (r *Rig) Await(ctx context.Context, expression string) error {
	return r.await(ctx, "/api/v1/query?query="+url.QueryEscape(expression), func(data json.RawMessage) bool {
		var v struct{ Result []any }
		return json.Unmarshal(data, &v) == nil && len(v.Result) > 0
	})
}

// await repeats a request until the answer is as wanted, or for a minute.
func (r *Rig) await(ctx context.Context, path string, wanted func(json.RawMessage) bool) error {
	ctx, cancel := context.WithTimeout(ctx, soak.Patience)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		data, err := r.get(ctx, path)
		if err == nil && wanted(data) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("prometheus: %s: %w", path, errors.Join(ctx.Err(), err))
		case <-again.C:
		}
	}
}

func (r *Rig) get(ctx context.Context, path string) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 16<<20)).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return answer.Data, nil
}
