package main

import (
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/term"
)

// TestPersonFlags checks the help and the wrong uses of the commands for
// persons. The page docs/triage.md has their output.
func TestPersonFlags(t *testing.T) {
	dir, _ := triageFolder(t)
	policy := filepath.Join(dir, "ledger.policy")
	arguments := map[string][]string{
		"list": nil, "show": {"T/0123456789ab-1"}, "approve": {"T/0123456789ab-1"}, "reject": {"T/0123456789ab-1"}, "undo": {"T/0123456789ab-1"}, "misfire": {"T/0123456789ab-1"},
		"release": {"T"}, "kill": nil, "unkill": nil,
	}
	for command, given := range arguments {
		code, out, _ := conductor(t, "triage", command, "--help")
		if code != term.ExitOK || !strings.Contains(out, "Exit code: ") || !strings.Contains(out, "    conductor triage "+command) {
			t.Errorf("help of %s: exit code %d\n%s", command, code, out)
		}
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"--server", "http://127.0.0.1:1"}, "missing flags: --policy"},
			{[]string{"--server", "http://127.0.0.1:1", "--policy", policy}, "no credentials for the ledger: use --token-file or set MUNIMENT_TOKEN"},
			{[]string{"--server", "http://127.0.0.1:1", "--policy", filepath.Join(dir, "senders.yaml"), "--token-file", policy}, "--policy: "},
			{[]string{"--server", "http://127.0.0.1:1", "--policy", policy, "--identity-token", "env"}, "--identity-token: requires --tenant"},
			{[]string{"--server", "http://127.0.0.1:1", "--policy", policy, "--identity-token", "env", "--tenant", "acme"}, "--identity-token env: MUNIMENT_ID_TOKEN is not set"},
			{[]string{"--server", "http://127.0.0.1:1", "--policy", policy, "--token-file", filepath.Join(dir, "ledger.token"), "--tenant", "acme"}, "127.0.0.1:1"},
		} {
			code, _, messages := conductor(t, append(append([]string{"triage", command}, given...), c.args...)...)
			if code != term.ExitFailed || !strings.Contains(messages, c.want) {
				t.Errorf("%s %q: exit code %d: %s, want %q", command, c.args, code, messages, c.want)
			}
		}
	}
	args := []string{"--server", "http://127.0.0.1:1", "--policy", policy, "--token-file", filepath.Join(dir, "ledger.token"), "--tenant", "acme"}
	if code, _, messages := conductor(t, append([]string{"triage", "kill", "--reason", strings.Repeat("x", 1001)}, args...)...); code != term.ExitFailed || !strings.Contains(messages, "--reason: at most 1000 characters") {
		t.Errorf("a long reason: exit code %d: %s", code, messages)
	}
	if code, _, messages := conductor(t, append([]string{"triage", "list", "--since=-1h"}, args...)...); code != term.ExitFailed || !strings.Contains(messages, "--since: must be positive") {
		t.Errorf("since: exit code %d: %s", code, messages)
	}
}
