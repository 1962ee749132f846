package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/seal"
	"muniment.dev/muniment/internal/term"
)

// Every setting that a reload applies is shared, or stays with the server.
func TestSharedSettings(t *testing.T) {
	absent := map[string]bool{"identity": true, "webhooks": true} // they are empty here
	ofServer := map[string]bool{"log_level": true, "tls": true, "trusted_roots": true}
	d := &datadir.Dir{}
	d.Config.Operators, d.Config.Tenants = []datadir.OperatorConfig{{}}, []datadir.TenantConfig{{}}
	s, err := d.Shared()
	if err != nil {
		t.Fatal(err)
	}
	for name := range reloadable {
		if shared := strings.Contains("\n"+s.Settings, "\n"+name+":"); shared == ofServer[name] && !absent[name] {
			t.Errorf("the setting %s is shared: %t", name, shared)
		}
	}
}

// A versions is the shared configuration in a test.
type versions struct {
	version uint64
	content []byte
	err     error
	read    int // how often the content was read
}

func (v *versions) Configuration(_ context.Context, after uint64) (uint64, []byte, error) {
	switch {
	case v.err != nil:
		return 0, nil, v.err
	case after >= v.version:
		return v.version, nil, nil
	}
	v.read++
	return v.version, v.content, nil
}

func (v *versions) PublishConfiguration(_ context.Context, version uint64, content []byte) (bool, error) {
	if version != v.version+1 {
		return false, nil
	}
	v.version, v.content = version, content
	return true, nil
}

// TestCannotShare publishes versions that a server cannot apply. It keeps what
// it has, reports each reason once, and is behind until the reason is gone.
func TestCannotShare(t *testing.T) {
	path := filepath.Join(t.TempDir(), seal.Generate()[:8])
	d := &datadir.Dir{Path: t.TempDir()}
	d.Config.Origin, d.Config.Portal.Idle, d.Config.Portal.Life, d.Config.Tiles.Every = "ledger.test", time.Hour, time.Hour, time.Hour
	if err := datadir.WriteNew(path, seal.Generate(), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	v := &versions{}
	h := &sharing{store: v, key: key, metrics: api.NewMetrics("test"), log: slog.New(slog.NewTextHandler(&log, nil))}
	r := &reloader{inForce: d, sharing: h}
	sealed := func(origin, text string) func(uint64) []byte {
		return func(version uint64) []byte { return key.Seal(sealContext(origin, version), []byte(text)) }
	}
	own := func(text string) func(uint64) []byte { return sealed("ledger.test", text) }
	errorLines := func() int { return strings.Count(log.String(), "level=ERROR") }
	for i, c := range []struct {
		content func(version uint64) []byte
		want    string
	}{
		{sealed("other.test", "x"), "copy shared.key from the data folder of another server"},
		{own("x"), "use a newer one"},
		{own("muniment.dev/shared-configuration/v1\n{\"later\":1}"), "use the program that has published it"},
		{own(`muniment.dev/shared-configuration/v1` + "\n" + `{"settings":"tenants: [{name: acme, stream_key: a.key}]\nlimits: {payload_bytes: 1, stream_bytes: 1, pending_entries: 1, connections: 1}\n","files":{}}`), "a.key: file does not exist in the shared configuration"},
	} {
		v.version, v.read = uint64(i+1), 0
		v.content = c.content(v.version)
		before := errorLines()
		for range 3 {
			r.followShared(t.Context())
		}
		if got := errorLines() - before; got != 1 || !strings.Contains(h.failure, c.want) {
			t.Errorf("%d errors were logged, and the server is behind because of %q, want one that contains %q", got, h.failure, c.want)
		}
		if v.read != 1 {
			t.Errorf("the version was read %d times, want once until it is tried again", v.read)
		}
		if r.inForce != d || h.version != 0 {
			t.Errorf("version %d is in force", h.version)
		}
	}

	// A server without an answer reports that once, and then the version again.
	before, reason := errorLines(), h.failure
	for i := range 3 {
		v.err = fmt.Errorf("no answer to port %d", i)
		r.followShared(t.Context())
	}
	if got := errorLines() - before; got != 1 || !strings.Contains(h.failure, "no answer to port 2") {
		t.Errorf("%d errors were logged, and the server is behind because of %q", got, h.failure)
	}
	v.err = nil
	if r.followShared(t.Context()); h.failure != reason || v.read != 1 {
		t.Errorf("the server is behind because of %q, want %q", h.failure, reason)
	}

	// It is tried again after some time, and when files have changed.
	h.failed.again = time.Now()
	r.followShared(t.Context())
	if v.read != 2 || h.failed.wait.delay != 2*firstRetry {
		t.Errorf("after its time the version was read %d times, and is tried again after %s", v.read, h.failed.wait.delay)
	}
	if err := os.MkdirAll(filepath.Join(d.Path, datadir.RootsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path, datadir.RootsDir, "a.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.followShared(t.Context())
	}
	if v.read != 3 || h.failed.wait.delay != firstRetry {
		t.Errorf("after a change of files the version was read %d times, and is tried again after %s", v.read, h.failed.wait.delay)
	}
	v.version = 0
	if r.followShared(t.Context()); h.failure != "" || h.failed.version != 0 {
		t.Errorf("the server is behind without a newer version: %s", h.failure)
	}
}

func settleAndPublish(ctx context.Context, h *sharing, folder *datadir.Dir) (*publication, error) {
	p, err := h.settle(ctx, folder)
	if err == nil {
		err = h.publish(ctx, p)
	}
	return p, err
}

// TestShareWhole checks that a folder's whole configuration survives its
// publication, and that nothing of it is in the database in clear text.
func TestShareWhole(t *testing.T) {
	folders := make([]*datadir.Dir, 2)
	for i := range folders {
		dir := filepath.Join(t.TempDir(), "data")
		a := &term.App{Ctx: t.Context(), Stdout: term.NewOutput(io.Discard, nil), Stderr: term.NewEscaper(io.Discard)}
		if err := (&initCmd{Dir: dir, Origin: "ledger.test", Tenant: "acme"}).Run(a); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"muniment.yaml": `
    limits: {entries_per_day: 7}
    identities: [{issuer: "https://ci.example.com", claims: {sub: "repo:x"}, role: appender, life: 5m}]
  - name: globex
    stream_key: streams/globex.key
identity: {issuers: [{issuer: "https://ci.example.com", jwks_file: jwks.json}]}
webhooks: [{name: hook, url: "https://hooks.example.com/x", secret_file: hook.secret, tenants: [acme], events: [finding.overdue]}]
default_policy: admission.yaml
`,
			"jwks.json":          `{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
			"hook.secret":        "whsec_" + strings.Repeat("AAAA", 8),
			"admission.yaml":     "version: 1\nmode: record\nrules: [{name: everything, unsigned: true}]\n",
			"streams/globex.key": strings.Repeat("bb", 32) + "\n",
		} {
			if i == 1 {
				break // it has its own configuration
			}
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteString(text)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if folders[i], err = datadir.Load(dir); err != nil {
			t.Fatal(err)
		}
	}
	one, two := folders[0], folders[1]
	key, err := one.SharedKey()
	if err != nil {
		t.Fatal(err)
	}
	v := &versions{}
	publisher := &sharing{store: v, key: key, metrics: api.NewMetrics("test"), log: slog.New(slog.DiscardHandler)}
	if _, err := settleAndPublish(t.Context(), publisher, one); err != nil || v.version != 1 {
		t.Fatalf("version %d was published (error %v)", v.version, err)
	}
	for _, secret := range []string{"acme", "bbbb", "AAAA", "whsec"} {
		if strings.Contains(string(v.content), secret) {
			t.Errorf("the database has %q", secret)
		}
	}
	_, shared, err := publisher.newest(t.Context(), "ledger.test", 0)
	if err != nil {
		t.Fatal(err)
	}
	two.Config.Listen = "127.0.0.1:1"
	got, err := two.WithShared(shared)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Config.Tenants, one.Config.Tenants) || !reflect.DeepEqual(got.Config.Identity, one.Config.Identity) || got.Tenants[0].Stream.ID != one.Tenants[0].Stream.ID || !reflect.DeepEqual(got.Operators, one.Operators) || len(got.Settings().Webhooks) != 1 || got.Config.Listen != "127.0.0.1:1" {
		t.Errorf("published were the tenants\n%+v\nand applied\n%+v", one.Tenants, got.Tenants)
	}
	if _, digest, err := encodeShared(got); err != nil {
		t.Error(err)
	} else if _, want, _ := encodeShared(one); digest != want {
		t.Error("what was applied is not what was published")
	}

	// The other folder is based on no version: its change is refused.
	if _, err := settleAndPublish(t.Context(), publisher, two); err == nil || !strings.Contains(err.Error(), "reload --based-on 1") {
		t.Errorf("a change of version 0 was published after version 1 (error %v)", err)
	}
	if err := datadir.WriteSharedBase(two.Path, datadir.SharedVersion{Version: 1}); err != nil {
		t.Fatal(err)
	}
	if p, err := settleAndPublish(t.Context(), publisher, two); err != nil || p.version != 2 || p.text == nil {
		t.Errorf("a change of version 1 was not published: %+v (error %v)", p, err)
	}
	// A folder that has not changed is no change, and gets the newest version.
	if p, err := settleAndPublish(t.Context(), publisher, one); err != nil || p.version != 2 || p.text != nil || len(p.folder.Tenants) != 1 {
		t.Errorf("an unchanged folder: %+v (error %v)", p, err)
	}
}
