package operate

import (
	"slices"
	"testing"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
)

// Every setting is reloaded, or reported as needing a restart.
func TestNeedRestart(t *testing.T) {
	was := datadir.Config{Origin: "a", Listen: "b", Limits: datadir.LimitsConfig{PayloadBytes: 1}}
	is := was
	is.Listen, is.LogLevel, is.Tenants = "c", "debug", []datadir.TenantConfig{{Name: "x"}}
	is.Limits.PayloadBytes, is.Limits.Tenant = 2, datadir.TenantLimits{Requests: 1}
	if got := needRestart(&was, &is); !slices.Equal(got, []string{"listen"}) {
		t.Errorf("settings that need a restart: %v", got)
	}
}
