package main

import (
	"slices"
	"testing"

	"github.com/alecthomas/kong"
)

// portable are the commands that run on every system.
var portable = []string{
	"append", "audit", "baseline check", "baseline control", "baseline explain", "bundle create", "bundle show", "bundle verify", "checkpoint", "completion", "control apply", "control init", "control list", "control replay", "control show", "control test", "control validate", "coverage", "erase", "exception approve", "exception list", "exception reject", "exception renew", "exception request", "exception revoke", "exception show", "exception submit", "export", "export-manifest create", "export-manifest release", "export-manifest sign", "export-manifest verify", "fetch-chart",
	"finding burndown", "finding import", "finding list", "finding set", "finding show", "gate", "get", "help", "hold list", "hold place", "hold release",
	"inventory cluster", "inventory decide", "inventory list", "inventory registry", "inventory release", "inventory retire",
	"list", "mirror", "monitor", "policy get", "policy lint", "policy set", "policy test", "prove", "receipt get", "receipt refresh",
	"retention apply", "retention set", "retention show", "scitt keys", "scitt register", "scitt sign", "scitt verify", "signer compromise", "signer id", "signer list", "signer register", "signer retire", "signing-config", "spool submit",
	"token issue", "token list", "token revoke", "trace", "trusted-root export", "trusted-root inspect", "verify", "verify-bundle", "verify-chart",
	"verify-envelope", "verify-image", "verify-statement", "version", "watch", "whoami", "why",
}

// TestPortableCommands checks that each command is refused where there are no
// data folders, or is listed as one that needs none.
func TestPortableCommands(t *testing.T) {
	var got []string
	for name, n := range leaves(t) {
		if !needsUnix(n, func(f *kong.Flag) bool { return f.Required }) {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, portable) {
		t.Errorf("commands that run everywhere:\n%q\nwant\n%q", got, portable)
	}
	export := leaves(t)["export"]
	if !needsUnix(export, func(*kong.Flag) bool { return true }) {
		t.Error("export --data runs without Unix")
	}
}
