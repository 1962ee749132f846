package connector_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/internal/peers"
)

// connect returns the one connector of a file with these settings.
func connect(t *testing.T, format string, args ...any) connector.Connector {
	t.Helper()
	all, err := connector.Load([]byte("{version: 1, connectors: {one: {" + fmt.Sprintf(format, args...) + "}}}"))
	if err != nil {
		t.Fatal(err)
	}
	return all["one"]
}

// output runs a program, and returns its output.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// freePort returns a port on loopback.
func freePort(t *testing.T) string {
	t.Helper()
	ports, err := peers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

// start starts a peer for the time of a test.
func start(t *testing.T, p peers.Program) {
	t.Helper()
	p.Dir = t.TempDir()
	run, err := p.Start(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(run.Stop)
}

// startToxiproxy starts toxiproxy with a proxy and a toxic. It returns the
// address of its API, and a function that runs its command line.
func startToxiproxy(t *testing.T) (address string, cli func(args ...string) string) {
	t.Helper()
	port := freePort(t)
	address = "http://127.0.0.1:" + port
	start(t, peers.Program{Name: "toxiproxy-server", Args: []string{"-host", "127.0.0.1", "-port", port}, Probe: address + "/version"})
	program := peers.Path(t, "toxiproxy-cli")
	cli = func(args ...string) string {
		t.Helper()
		return output(t, program, append([]string{"-host", address}, args...)...)
	}
	cli("create", "-l", "127.0.0.1:0", "-u", "127.0.0.1:1", "gateway")
	cli("toxic", "add", "-t", "bandwidth", "-n", "limit", "-a", "rate=100", "gateway")
	cli("toxic", "add", "-t", "latency", "-n", "slow", "-a", "latency=5", "-a", "jitter=2", "gateway")
	return address, cli
}

// TestToxiproxy changes limits of the real toxiproxy. Its own command line
// reads the state.
func TestToxiproxy(t *testing.T) {
	address, cli := startToxiproxy(t)
	c := connect(t, "type: toxiproxy, url: %q", address)
	state := func(*testing.T) string { return cli("list") + cli("inspect", "gateway") }
	connectortest.Run(t, connectortest.Subject{
		Connector: c, Target: "toxic/gateway/limit", State: state,
		Parameters: map[string]string{"rate": "400", "which": "limit"}, Wrong: map[string]string{"rate": "many"},
		Change: func(*testing.T) { cli("toxic", "update", "-n", "limit", "-a", "rate=1", "gateway") },
	})
	connectortest.Run(t, connectortest.Subject{
		Connector: c, Target: "toxic/gateway/slow", State: state,
		Parameters: map[string]string{"latency": "0", "jitter": "0"}, Wrong: map[string]string{"rate": "4"},
	})
	connectortest.Run(t, connectortest.Subject{
		Connector: c, Target: "proxy/gateway", State: state,
		Parameters: map[string]string{"enabled": "false"}, Wrong: map[string]string{"enabled": "no"},
	})
	connectortest.Run(t, connectortest.Subject{
		Connector: c, Target: "proxy/gateway", State: state,
		Parameters: map[string]string{"upstream": "127.0.0.1:2"}, Wrong: map[string]string{"listen": "127.0.0.1:3"},
		Change: func(*testing.T) { cli("toggle", "gateway") },
	})
	for _, target := range []string{"toxic/gateway", "toxic/gateway/none", "toxic/none/limit", "toxic/../gateway", "toxic/gateway/..", "proxy/", "proxy/none", "flag/a"} {
		if image, err := c.Read(t.Context(), target); err == nil {
			t.Errorf("%s: %q", target, image)
		}
	}
	f := newFront(t, address, nil)
	rehearse(t, rehearsal{front: f, connector: connect(t, "type: toxiproxy, url: %q", f.url), target: "toxic/gateway/slow", parameters: map[string]string{"latency": "9"}})
	rehearse(t, rehearsal{front: f, connector: connect(t, "type: toxiproxy, url: %q", f.url), target: "proxy/gateway", parameters: map[string]string{"upstream": "127.0.0.1:3"}})
}
