package promrig

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// A Pair describes a Prometheus with two Alertmanagers in high availability,
// for servers that are distinguished by a label.
type Pair struct {
	Dir     string // for configuration, data and output
	Rules   string // path of a file with alerts
	Servers []Server
}

// A Server is scraped every second as the job server.
type Server struct {
	Address  string // host and port of its metrics
	Cluster  string // its label cluster
	Service  string // its label service
	Webhooks []Webhook
}

// A Webhook receives the alerts of a server.
type Webhook struct{ URL, Token string }

// StartPair starts the programs, and waits until both Alertmanagers send
// alerts. The caller must stop the rig.
func StartPair(ctx context.Context, p Pair) (_ *Rig, err error) {
	ports, err := peers.FreePorts(5)
	if err != nil {
		return nil, err
	}
	r := &Rig{URL: "http://127.0.0.1:" + ports[0]}
	defer func() {
		if err != nil {
			r.Stop()
		}
	}()
	managers := []string{"127.0.0.1:" + ports[1], "127.0.0.1:" + ports[2]}
	gossip := []string{"127.0.0.1:" + ports[3], "127.0.0.1:" + ports[4]}
	if err := p.write(managers); err != nil {
		return nil, err
	}
	for i, address := range managers {
		dir := filepath.Join(p.Dir, fmt.Sprintf("alertmanager-%d", i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := r.start(ctx, peers.Program{Name: "alertmanager", Dir: dir, Probe: "http://" + address + "/-/ready", Args: []string{
			"--config.file=" + filepath.Join(p.Dir, "alertmanager.yaml"), "--storage.path=" + dir, "--web.listen-address=" + address,
			"--cluster.listen-address=" + gossip[i], "--cluster.advertise-address=" + gossip[i], "--cluster.peer=" + gossip[1-i],
			"--cluster.peer-timeout=2s", "--cluster.gossip-interval=50ms",
		}}); err != nil {
			return nil, err
		}
	}
	for _, address := range managers {
		if err := settled(ctx, address); err != nil {
			return nil, err
		}
	}
	if err := r.start(ctx, peers.Program{Name: "prometheus", Dir: p.Dir, Probe: r.URL + "/-/ready", Args: []string{
		"--config.file=" + filepath.Join(p.Dir, "prometheus.yaml"), "--storage.tsdb.path=" + filepath.Join(p.Dir, "series"), "--web.listen-address=127.0.0.1:" + ports[0],
	}}); err != nil {
		return nil, err
	}
	return r, r.awaitManagers(ctx, len(managers))
}

func (r *Rig) start(ctx context.Context, p peers.Program) error {
	process, err := p.Start(ctx)
	if err != nil {
		return err
	}
	r.processes = append(r.processes, process)
	return nil
}

// settled waits until an Alertmanager sees both, and sends alerts.
func settled(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, soak.Patience)
	defer cancel()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		var v struct {
			Cluster struct {
				Status string
				Peers  []any
			}
		}
		err := getJSON(ctx, "http://"+address+"/api/v2/status", &v)
		if err == nil && v.Cluster.Status == "ready" && len(v.Cluster.Peers) == 2 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("alertmanager: cluster %+v: %w", v.Cluster, ctx.Err())
		case <-again.C:
		}
	}
}

func getJSON(ctx context.Context, address string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(http.MaxBytesReader(nil, res.Body, 1<<20)).Decode(v)
}

func (p *Pair) write(managers []string) error {
	type object = map[string]any
	var targets, routes []object
	receivers := []object{{"name": "none"}}
	for i, s := range p.Servers {
		targets = append(targets, object{"targets": []string{s.Address}, "labels": object{"cluster": s.Cluster, "service": s.Service}})
		name := fmt.Sprintf("receiver-%d", i)
		routes = append(routes, object{"receiver": name, "matchers": []string{`cluster="` + s.Cluster + `"`}})
		var webhooks []object
		for _, w := range s.Webhooks {
			hook := object{"url": w.URL, "send_resolved": true}
			if w.Token != "" {
				hook["http_config"] = object{"authorization": object{"credentials": w.Token}}
			}
			webhooks = append(webhooks, hook)
		}
		receivers = append(receivers, object{"name": name, "webhook_configs": webhooks})
	}
	for name, config := range map[string]object{
		"prometheus.yaml": {
			"global":         object{"scrape_interval": "1s", "evaluation_interval": "1s"},
			"rule_files":     []string{p.Rules},
			"scrape_configs": []object{{"job_name": "server", "static_configs": targets}},
			"alerting":       object{"alertmanagers": []object{{"static_configs": []object{{"targets": managers}}}}},
		},
		"alertmanager.yaml": {
			"route": object{
				"receiver": "none", "group_by": []string{"cluster", "alertname"}, "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h", "routes": routes,
			},
			"receivers": receivers,
		},
	} {
		text, err := json.Marshal(config)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.Dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
