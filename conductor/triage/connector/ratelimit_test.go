package connector_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// limits is a file whose form must be kept.
const limits = `domain: gateway
descriptors:
  # the free plan: ask sales before you change it
  - {key: plan, value: free, rate_limit: {unit: second, requests_per_unit:   10}}
  - key: generic_key
    value: surge
    rate_limit:
      requests_per_unit: 100 # größer
      unit: minute
    descriptors:
      - key: user
        rate_limit: {unit: day, requests_per_unit: 3}
`

// TestRateLimit changes the limits of the real rate limit service of Envoy. It
// reads the state itself, as its page /rlconfig shows it.
func TestRateLimit(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "config", "gateway.yaml")
	if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	write(limits)
	debug := startRateLimit(t, root)
	c := connect(t, "type: ratelimit, file: %q", name)
	for _, at := range []struct{ target, shown, pattern string }{
		{"limit/plan=free", "gateway.plan_free: unit=SECOND requests_per_unit=%s,", `requests_per_unit: +(\d+)}}`},
		{"limit/generic_key=surge", "gateway.generic_key_surge: unit=MINUTE requests_per_unit=%s,", `requests_per_unit: (\d+) #`},
		{"limit/generic_key=surge/user", "gateway.generic_key_surge.user: unit=DAY requests_per_unit=%s,", `requests_per_unit: (\d+)}\n`},
	} {
		connectortest.Run(t, connectortest.Subject{
			Connector: c, Target: at.target, Parameters: map[string]string{"requests_per_unit": "4000"}, Wrong: map[string]string{"requests_per_unit": "-1"},
			State: func(t *testing.T) string {
				text, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				number := regexp.MustCompile(at.pattern).FindSubmatch(text)[1]
				return string(text) + shown(t, debug, fmt.Sprintf(at.shown, number))
			},
			Change: func(*testing.T) {
				write(strings.Replace(strings.Replace(strings.Replace(limits, "  10}", "11}", 1), " 100 ", " 101 ", 1), " 3}", " 4}", 1))
			},
		})
		write(limits)
	}
	for _, c := range []struct{ old, new, target, want string }{
		{"", "", "limit/plan", "not exactly one descriptor plan"},
		{"", "", "limit/plan=free/user", "not exactly one descriptor user"},
		{"", "", "flag/plan", "is not a limit"},
		{"value: surge", "value: free\n  - key: plan\n    value: free", "limit/plan=free", "not exactly one descriptor"},
		{"requests_per_unit:   10", "unlimited: true", "limit/plan=free", "has no requests_per_unit"},
		{"  10}", `"10"}`, "limit/plan=free", "has no requests_per_unit"},
		{"  10}", `!!int "10"}`, "limit/plan=free", "must be a number without quotes"},
		{"descriptors:", "descriptors: [", "limit/plan=free", "line 3: invalid YAML"},
		{"domain: gateway", "\xff: a", "limit/plan=free", "not UTF-8"},
	} {
		write(strings.Replace(limits, c.old, c.new, 1))
		if image, err := connect(t, "type: ratelimit, file: %q", name).Read(t.Context(), c.target); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: %q, %v, want %q", c.target, c.new, image, err, c.want)
		}
	}
}

// startRateLimit starts the service with the files below a folder, and returns
// the address of its pages. It counts in memcached, which no limit needs here.
func startRateLimit(t *testing.T, root string) (debug string) {
	t.Helper()
	ports, err := peers.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	debug = "http://127.0.0.1:" + ports[2]
	start(t, peers.Program{Name: "ratelimit", Probe: debug + "/rlconfig", Env: []string{
		"HOST=127.0.0.1", "PORT=" + ports[0], "GRPC_HOST=127.0.0.1", "GRPC_PORT=" + ports[1], "DEBUG_HOST=127.0.0.1", "DEBUG_PORT=" + ports[2],
		"USE_STATSD=false", "DISABLE_STATS=true", "BACKEND_TYPE=memcache", "MEMCACHE_HOST_PORT=127.0.0.1:1",
		"RUNTIME_ROOT=" + root, "RUNTIME_WATCH_ROOT=false", "RUNTIME_IGNOREDOTFILES=true",
	}})
	return debug
}

// shown returns the limits that the service shows, once they contain a line.
func shown(t *testing.T, debug, line string) string {
	t.Helper()
	for end := time.Now().Add(soak.Patience); ; time.Sleep(5 * time.Millisecond) {
		res, err := http.Get(debug + "/rlconfig")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), line) {
			// The service lists its limits in no particular order.
			return strings.Join(slices.Sorted(strings.Lines(string(text))), "")
		}
		if time.Now().After(end) {
			t.Fatalf("the service does not show %s:\n%s", line, text)
		}
	}
}
