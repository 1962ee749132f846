package operate

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
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

// TestReloadLimits checks that a changed file of limits is applied until that
// succeeds, also if it changes meanwhile, and that each error is logged once.
func TestReloadLimits(t *testing.T) {
	d := &datadir.Dir{Path: t.TempDir(), Tenants: []auth.Tenant{{Name: "acme"}}}
	d.Config.Tenants, d.Config.Limits.File = []datadir.TenantConfig{{Name: "acme"}}, "limits.yaml"
	write := func(rate string) {
		t.Helper()
		text := "tenants: [{name: acme, limits: {requests_per_second: " + rate + "}}]\n"
		if err := os.WriteFile(filepath.Join(d.Path, "limits.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	r := &reloader{inForce: d, log: slog.New(slog.NewTextHandler(&log, nil))}
	calls, meanwhile := 0, func() error { return nil }
	check := func(rate float64, wantCalls, wantErrors int) {
		t.Helper()
		calls = 0
		for range 3 {
			r.reloadLimits(t.Context(), func(context.Context, api.Settings) error { calls++; return meanwhile() })
		}
		errs := strings.Count(log.String(), "level=ERROR")
		if got := float64(r.inForce.Tenants[0].Limits.Requests); got != rate || calls != wantCalls || errs != wantErrors {
			t.Errorf("limit %v, %d calls, %d errors, want %v, %d, %d", got, calls, errs, rate, wantCalls, wantErrors)
		}
	}
	write("5")
	check(5, 1, 0)
	write("6")
	meanwhile = func() error {
		if calls == 1 {
			return errors.New("the store is busy")
		}
		return nil
	}
	check(6, 2, 1)
	write("7")
	meanwhile = func() error { write("8"); return nil }
	check(8, 2, 1)
	write("wrong")
	check(8, 0, 2)
	write("8")
	check(8, 0, 2)
}
