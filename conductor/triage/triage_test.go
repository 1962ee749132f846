package triage

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// files returns the first three files of the specification: the catalogue, the
// playbooks and the actions.
func files(t *testing.T) [3]string {
	t.Helper()
	all := examples(t)
	return [3]string(all[:3])
}

func examples(t *testing.T) (all []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/spec/triage.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(m) != 5 {
		t.Fatalf("docs/spec/triage.md has %d examples of files, want 5", len(m))
	}
	for _, example := range m {
		all = append(all, example[1])
	}
	return all
}

func load(f [3]string) (*Config, error) {
	return Load(File{"catalogue.yaml", []byte(f[0])}, File{"playbooks.yaml", []byte(f[1])}, File{"actions.yaml", []byte(f[2])})
}

func TestExamples(t *testing.T) {
	c, err := load(files(t))
	if err != nil {
		t.Fatal(err)
	}
	of := c.Catalogue.Type("P1-gateway-5xx-surge")
	if of == nil || of.Severity != "P1" || len(of.Signals) != 2 || of.Signals[0].For != 15*time.Second || of.Signals[1].Count != 2 || of.Window != 10*time.Minute || !of.Topology || of.Traces {
		t.Errorf("type: %+v", of)
	}
	steps := c.Playbooks["P1-gateway-5xx-surge"]
	if len(steps) != 3 || steps[0].Target != "limit/gateway" || steps[0].Parameters["burst"].Text != "200" || steps[2].Target != "flag/subs.optimizedBuffer" || steps[2].Parameters["variant"].Text != "on" {
		t.Errorf("steps: %+v", steps)
	}
	if err := c.Connect(File{"connectors.yaml", []byte(examples(t)[3])}); err != nil {
		t.Error(err)
	}
	a := c.Actions.Actions["toggle_flag"]
	if a.Undo != "restore" || a.PerTarget.Actions != 2 || a.PerTarget.Within != time.Hour || !a.ActWithoutLedger || a.Approval || c.Actions.Budgets.ActionsPerHour != 20 {
		t.Errorf("action: %+v", a)
	}
}

// TestProblems breaks each rule in the examples, and checks the message.
func TestProblems(t *testing.T) {
	const catalogue, playbooks, actions = 0, 1, 2
	for _, c := range []struct {
		in             int
		old, new, want string
	}{
		{catalogue, "version: 1\n", "", "version: must be specified"},
		{catalogue, "severity: P1", "severity: P3", "severity: must be P1 or P2"},
		{catalogue, "severity: P1", "severty: P1", "did you mean severity"},
		{catalogue, "P1-gateway-5xx-surge:", "5xx surge:", "must be 1 to 128 letters"},
		{catalogue, "correlate: [cluster, service]", "correlate: [cluster]", "requires the topology of the catalogue, and its label in correlate"},
		{catalogue, "correlate: [cluster, service]", "correlate: [service, alertname]", "alertname is the name of the alert, and no label"},
		{catalogue, "gateway: [subscriptions, auth]", "gateway: [gateway]", `"gateway" cannot depend on itself`},
		{catalogue, "  label: service\n", "", "topology: must have label and depends_on"},
		{catalogue, "changes: 4", "changes: 1", "must be a whole number from 2 to 16"},
		{catalogue, "within: 10m", "within: 10", "must be a duration from 1s to 24h0m0s"},
		{catalogue, "for: 15s", "for: 10m", "for of signal errors must be less than window"},
		{catalogue, "for: 15s", "for: -1s", "must be a duration"},
		{catalogue, "- name: latency", "- name: errors", `duplicate name "errors"`},
		{catalogue, "count: 2", "count: 0", "must be a whole number from 1 to 1000"},
		{catalogue, `labels.service == "gateway"`, `label.service == "gateway"`, "line 15, column 50: types.P1-gateway-5xx-surge.signals[0].when: undeclared reference to 'label'"},
		{catalogue, `labels.service == "gateway"`, `labels.service == 1`, "found no matching overload"},
		{catalogue, `name == "DeploymentInProgress"`, `name`, "evaluates to type string: must be true or false"},
		{catalogue, `name == "DeploymentInProgress"`, `name.matches(labels.x)`, "the pattern of matches must be a literal"},
		{catalogue, "        reason: a deployment explains the errors\n", "", "must have when and reason"},
		{catalogue, "twins: [replica, prometheus_replica]", "twins: []", "must not be empty"},
		{catalogue, "twins: [replica, prometheus_replica]", "twins: &a [replica]", "anchors and aliases are not allowed"},
		{catalogue, "    signals:", "    signal:", "did you mean signals"},
		{playbooks, "action: toggle_flag", "action: togle_flag", `P1-gateway-5xx-surge[2].action: unknown action "togle_flag": did you mean toggle_flag?`},
		{playbooks, "P1-gateway-5xx-surge", "P1-gateway-5xx-surg", "the catalogue has no such incident type: did you mean P1-gateway-5xx-surge?"},
		{playbooks, "P1-gateway-5xx-surge", "P2-other", "P1-gateway-5xx-surge: the incident type has no playbook"},
		{playbooks, "key: subs.optimizedBuffer", "key: payments.enabled", "key: payments.enabled is not one of the values subs.optimizedBuffer"},
		{playbooks, "key: subs.optimizedBuffer", "key: 17", "key: must be of type string"},
		{playbooks, "    key: subs.optimizedBuffer\n", "", "the action toggle_flag requires the parameter key"},
		{playbooks, "key: subs.optimizedBuffer", "key: subs.optimizedBuffer\n    until: 1", "the action toggle_flag has no such parameter"},
		{playbooks, "key: subs.optimizedBuffer", "key: [subs.optimizedBuffer]", "must be a string, a whole number, true or false"},
		{playbooks, "key: subs.optimizedBuffer", "key: 1.5", "must be a string in quotes, a whole number, true or false"},
		{playbooks, "- action: increase_rate_limit_burst", "- action: increase_rate_limit_burst\n    burst: 401", "burst: must be a whole number from 100 to 400"},
		{playbooks, "- action: enable_cache_prefetch", "- cache: assets", "must have an action"},
		{playbooks, "- action: enable_cache_prefetch", "- enable_cache_prefetch", "must be a map"},
		{actions, "    undo: restore\n    undo_after: 30m", "    undo_after: 30m", "toggle_flag.undo: must be specified: an action that cannot be undone is not allowed"},
		{actions, "undo: restore", "undo: none", "undo: must be one of restore, lapse"},
		{actions, "cooldown: 10m", "cooldown: 1ms", "must be a duration from 1s"},
		{actions, "    connector: flagd\n", "", "must have connector, target, cooldown and per_target"},
		{actions, "target: flag/{key}", "target: flag/{flag}", `"flag" is not a parameter of the action`},
		{actions, "target: flag/{key}", "target: flag/{key", "a brace without its counterpart"},
		{actions, "target: flag/{key}", "target: flag}/{key}", "a brace without its counterpart"},
		{actions, "target: flag/{key}", "target: " + strings.Repeat("x", 256) + "/{key}", "up to 277 bytes, above the limit of 256"},
		{actions, "approval: none", "approval: person", "act_without_ledger and approval by a person exclude each other"},
		{actions, "oidc:https://id.acme.example#ada", "token:ci", "approvers[0]: must be a person"},
		{actions, "approvers: [\"oidc:https://id.acme.example#ada\", \"oidc:https://id.acme.example#kim\"]\nactions:\n  increase_rate_limit_burst:", "actions:\n  increase_rate_limit_burst:\n    approval: person",
			"actions.increase_rate_limit_burst.approval: no person could approve it: list some in approvers"},
		{actions, "min: 100, ", "", "min and max are required for integers"},
		{actions, "min: 100", "min: 500", "min must be at most max"},
		{actions, "default: 200", "default: 99", "default: must be a whole number from 100 to 400"},
		{actions, `values: ["on", "off"]`, `values: ["off"]`, "variant.default: on is not one of the values off"},
		{actions, ", values: [gateway]", "", "values are required for strings"},
		{actions, "per_target: {actions: 2, within: 1h}", "per_target: {actions: 2}", "per_target: must have actions and within"},
		{actions, "actions_per_hour: 20", "actions_per_hour: 0", "must be a whole number from 1 to 1000"},
		{actions, "version: 1\n", "version: 2\n", "version: must be 1"},
	} {
		f := files(t)
		broken := strings.Replace(f[c.in], c.old, c.new, 1)
		if broken == f[c.in] {
			t.Errorf("the example has no %q", c.old)
			continue
		}
		f[c.in] = broken
		name := [3]string{"catalogue.yaml", "playbooks.yaml", "actions.yaml"}[c.in]
		if _, err := load(f); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), name+":\nline ") {
			t.Errorf("%s for %s: %v, want %q", c.new, c.old, err, c.want)
		}
	}
}

// TestAllProblems checks that the problems of two files are reported together.
func TestAllProblems(t *testing.T) {
	f := files(t)
	f[0] = strings.Replace(f[0], "severity: P1", "severity: P9", 1)
	f[2] = strings.Replace(f[2], "undo: restore", "undo: maybe", 1)
	_, err := load(f)
	if err == nil || !strings.Contains(err.Error(), "must be P1 or P2") || !strings.Contains(err.Error(), "must be one of restore, lapse") {
		t.Errorf("%v", err)
	}
	if _, err := load([3]string{"", strings.Repeat("a", 256<<10+1), "[]"}); err == nil {
		t.Error("empty files are accepted")
	}
}
