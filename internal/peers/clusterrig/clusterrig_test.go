package clusterrig_test

import (
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers/clusterrig"
)

// TestUsers checks the groups and rights of the users.
func TestUsers(t *testing.T) {
	cluster, err := clusterrig.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	for _, tt := range []struct {
		user clusterrig.User
		verb string
		what string
		can  string
	}{
		{clusterrig.Admin, "delete", "nodes", "yes"},
		{clusterrig.Platform, "delete", "validatingadmissionpolicies", "yes"},
		{clusterrig.Developer, "create", "pods", "yes"},
		{clusterrig.Developer, "delete", "validatingadmissionpolicies", "no"},
		{clusterrig.OnCall, "create", "pods", "yes"},
		{clusterrig.OnCall, "create", "clusterrolebindings", "no"},
	} {
		out, _ := cluster.Kubectl(t.Context(), "", "auth", "can-i", tt.verb, tt.what, "--context", tt.user.Name)
		if lines := strings.Split(strings.TrimSpace(out), "\n"); lines[len(lines)-1] != tt.can {
			t.Errorf("%s can %s %s: %s, want %s", tt.user.Name, tt.verb, tt.what, out, tt.can)
		}
		out, err := cluster.Kubectl(t.Context(), "", "auth", "whoami", "--context", tt.user.Name)
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		for _, group := range tt.user.Groups {
			if !strings.Contains(out, group) {
				t.Errorf("%s is not in the group %s:\n%s", tt.user.Name, group, out)
			}
		}
	}
}
