package main

import (
	"slices"
	"testing"
)

// Every setting is reloaded, or reported as needing a restart.
func TestNeedRestart(t *testing.T) {
	was := serverConfig{Origin: "a", Listen: "b", Limits: limitsConfig{PayloadBytes: 1}}
	is := was
	is.Listen, is.LogLevel, is.Tenants = "c", "debug", []tenantConfig{{Name: "x"}}
	is.Limits.PayloadBytes, is.Limits.Tenant = 2, tenantLimits{Requests: 1}
	if got := needRestart(&was, &is); !slices.Equal(got, []string{"listen"}) {
		t.Errorf("settings that need a restart: %v", got)
	}
}
