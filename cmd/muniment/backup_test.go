package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/receipt"
)

type backupResult struct {
	Backup, Digest           string
	Size                     uint64
	BytesCopied, BytesLinked int64
}

func (c *company) backup(to string, args ...string) backupResult {
	c.t.Helper()
	var r backupResult
	if err := json.Unmarshal([]byte(c.must(append([]string{"backup", "--data", c.data, "--to", to, "--json"}, args...)...)), &r); err != nil {
		c.t.Fatal(err)
	}
	return r
}

// Backups of a server that takes appends have every entry that was acknowledged
// before they began, and their receipts verify after a restore.
func TestBackupWhileAppending(t *testing.T) {
	c := newCompany(t, "east")
	c.startLog()
	token, err := os.ReadFile(filepath.Join(c.data, "tokens", "acme.token"))
	if err != nil {
		t.Fatal(err)
	}
	client, err := muniment.New(muniment.Options{Server: c.log.url, Token: strings.TrimSpace(string(token)), HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	acked := map[uint64][]byte{}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; !stop.Load() && i < 5000; i++ {
				r, err := client.Append(t.Context(), muniment.Submission{Kind: "attestation", MediaType: "text/plain", Payload: fmt.Appendf(nil, "writer %d, entry %d", w, i)})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[r.Index] = r.Receipt
				mu.Unlock()
			}
		})
	}
	known := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	to := t.TempDir()
	var last backupResult
	for i := range 3 {
		awaitThat(t, "entries are appended", func() bool { return known() >= 50*(i+1) })
		before := known()
		last = c.backup(to)
		if last.Size < uint64(before) {
			t.Fatalf("a backup of %d entries; %d were acknowledged before", last.Size, before)
		}
	}
	stop.Store(true)
	wg.Wait()
	c.stopLog()

	lost := c.data
	c.data = filepath.Join(t.TempDir(), "restored")
	out, code := c.run("restore", last.Backup, "--data", c.data, "--digest", last.Digest, "--policy", filepath.Join(lost, datadir.PolicyFile), "--anchor", filepath.Join(lost, datadir.StoreDir+datadir.AnchorSuffix))
	if want := map[bool]int{true: term.ExitRollback, false: term.ExitOK}[uint64(len(acked))+1 > last.Size]; code != want {
		t.Fatalf("restore: exit code %d, want %d\n%s", code, want, out)
	}
	c.startLog()
	leaves := fetchLeaves(t, c.log.url, last.Size)
	policies, err := datadir.LoadPolicies([]string{filepath.Join(lost, datadir.PolicyFile)})
	if err != nil {
		t.Fatal(err)
	}
	for index, rec := range acked {
		s, err := receipt.Verify(rec, []*receipt.TrustPolicy{policies[0]}, receipt.Options{HeaderOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if index < last.Size && leaves[index] != s.LeafHash {
			t.Fatalf("the acknowledged entry %d is lost or changed", index)
		}
	}
	c.must("audit", c.log.url, "--policy", filepath.Join(lost, datadir.PolicyFile), "--stream-key", filepath.Join(lost, "streams", "acme.key"))
	c.stopLog()
}

// withTables returns a company whose log is open and has entries in tables.
func withTables(t *testing.T) *company {
	t.Helper()
	c := newCompany(t, "east")
	c.startLog()
	if out, code := c.appendFile("evidence"); code != 0 {
		t.Fatal(out)
	}
	c.stopLog()
	c.startLog()
	return c
}

// A second backup of the same tables links to the first; one without secrets
// has none; every file is private.
func TestBackupIncrementsAndSecrets(t *testing.T) {
	c := withTables(t)
	to := t.TempDir()
	first := c.backup(to)
	second := c.backup(to)
	if first.BytesLinked != 0 || second.BytesLinked == 0 {
		t.Errorf("the first backup linked %d bytes, the second %d", first.BytesLinked, second.BytesLinked)
	}
	if full := c.backup(to, "--full"); full.BytesLinked != 0 {
		t.Errorf("a full backup linked %d bytes", full.BytesLinked)
	}
	public := c.backup(t.TempDir(), "--without-secrets")
	if err := filepath.WalkDir(public.Backup, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".key") || strings.Contains(path, datadir.TokenDir) {
			t.Errorf("%s is in a backup without secrets", path)
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.stopLog()
	offline := c.backup(to)
	// The leftovers of an interrupted backup are removed, and other backups are
	// not affected.
	if err := os.MkdirAll(filepath.Join(to, operate.PartialPrefix+"1", "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.backup(to)
	if left, _ := filepath.Glob(filepath.Join(to, operate.PartialPrefix+"*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	for _, b := range []backupResult{first, second, offline} {
		c.must("restore", b.Backup, "--data", filepath.Join(t.TempDir(), "data"))
	}
	if out, code := c.run("restore", first.Backup, "--data", c.data); code != term.ExitFailed || !strings.Contains(out, "is not empty") {
		t.Errorf("restore into a folder with files: exit code %d\n%s", code, out)
	}
}

// A damaged backup does not damage the next one, which could share its files.
func TestBackupAfterDamagedBackup(t *testing.T) {
	c := withTables(t)
	c.stopLog()
	to := t.TempDir()
	first := c.backup(to)
	tables, err := filepath.Glob(filepath.Join(first.Backup, "files", datadir.StoreDir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables in %s: %v", first.Backup, err)
	}
	for _, damage := range []func(path string, data []byte) error{
		func(path string, data []byte) error {
			data[len(data)/2] ^= 1
			return os.WriteFile(path, data, 0o600)
		},
		func(path string, data []byte) error { return os.Truncate(path, int64(len(data)/2)) },
		func(path string, _ []byte) error { return os.Remove(path) },
	} {
		for _, path := range tables {
			data, err := os.ReadFile(path)
			if err == nil {
				err = damage(path, data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if out, code := c.run("restore", first.Backup, "--data", filepath.Join(t.TempDir(), "data")); code != term.ExitNo {
			t.Fatalf("the damaged backup: exit code %d\n%s", code, out)
		}
		out, code := c.run("backup", "--data", c.data, "--to", to, "--json")
		warning, result, _ := strings.Cut(out, "{")
		var next backupResult
		if err := json.Unmarshal([]byte("{"+result), &next); err != nil || code != 0 {
			t.Fatalf("exit code %d, %v\n%s", code, err, out)
		}
		if _, err := os.Stat(tables[0]); err == nil && !strings.Contains(warning, "is damaged, in every backup that shares it") {
			t.Errorf("no warning: %s", out)
		}
		c.must("restore", next.Backup, "--data", filepath.Join(t.TempDir(), "data"))
		if tables, err = filepath.Glob(filepath.Join(next.Backup, "files", datadir.StoreDir, "*.sst")); err != nil {
			t.Fatal(err)
		}
		first = next
	}
}

// A damaged or foreign backup is refused, and leaves nothing behind.
func TestDamagedBackups(t *testing.T) {
	soak.WithoutRace(t)
	c := newCompany(t, "east")
	c.startLog()
	if out, code := c.appendFile("evidence"); code != 0 {
		t.Fatal(out)
	}
	c.stopLog()
	b := c.backup(t.TempDir(), "--full")
	other := newCompany(t, "west")
	other.startLog()
	other.stopLog()
	foreign := other.backup(t.TempDir())
	parent := t.TempDir()
	target := filepath.Join(parent, "data")
	refused := func(what string, args ...string) {
		t.Helper()
		out, code := c.run(append([]string{"restore", b.Backup, "--data", target}, args...)...)
		if code != term.ExitNo {
			t.Errorf("%s: exit code %d\n%s", what, code, out)
		}
		if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
			t.Fatalf("%s: left behind: %v %v", what, left, err)
		}
	}
	files := folderFiles(t, b.Backup)
	paths := slices.Sorted(maps.Keys(files))
	for _, path := range paths {
		data := files[path]
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		refused(path + " is missing")
		if len(data) > 0 {
			flipped := slices.Clone(data)
			flipped[len(data)/2] ^= 1
			if err := os.WriteFile(path, flipped, 0o600); err != nil {
				t.Fatal(err)
			}
			refused(path + " has another byte")
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused("another digest", "--digest", foreign.Digest)
	refused("the policy of another log", "--policy", filepath.Join(other.data, datadir.PolicyFile))
	manifest := filepath.Join(b.Backup, operate.BackupManifest)
	own, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(foreign.Backup, operate.BackupManifest))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifest, text, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("the manifest of another log")
	for _, path := range []string{"../escape", "/etc/escape", "a/../../b", ""} {
		i := &operate.BackupIndex{Origin: "log.east.example", Files: []operate.BackupFile{{Path: path}}}
		text, _, err := i.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(manifest, text, 0o600); err != nil {
			t.Fatal(err)
		}
		refused("a path " + path)
	}
	if err := os.WriteFile(manifest, own, 0o600); err != nil {
		t.Fatal(err)
	}
	c.must("restore", b.Backup, "--data", target)
}
