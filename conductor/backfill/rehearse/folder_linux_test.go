package rehearse

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/soak"
)

// killedVariable names the folder of the program that a process of TestKilled
// runs.
const killedVariable = "REHEARSE_KILLED"

// TestKilled kills a process that runs a program. The program ends with it.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\necho $$ >\"$1/new\" && mv \"$1/new\" \"$1/pid\"\nexec sleep 1000\n"
	if err := os.WriteFile(filepath.Join(dir, "program"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	self := exec.Command(os.Args[0])
	self.Env = append(os.Environ(), killedVariable+"="+dir)
	if err := self.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = self.Wait() }() // it was killed
	var pid string
	poll(t, func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "pid"))
		pid = strings.TrimSpace(string(text))
		return pid != ""
	})
	if err := self.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	poll(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%s/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// poll waits until a condition holds.
func poll(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soak.Patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the condition does not hold")
		}
	}
}

// TestFolders checks that the folder of a process that was killed is removed,
// and no other.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	live, killed := &account{}, &account{}
	used, err := live.folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	left, err := killed.folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = killed.lock.Close() // as the end of a process does
	other := filepath.Join(dir, strings.Replace(folders, "*", "other", 1))
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	made, err := (&account{}).folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	have, _ := filepath.Glob(filepath.Join(dir, "*"))
	want := []string{used, other, made}
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the folders are %q, want %q", have, want)
	}
}

// TestNoSecrets checks that programs do not get the secrets of this process.
func TestNoSecrets(t *testing.T) {
	t.Setenv("MUNIMENT_TOKEN", "secret")
	t.Setenv("ASSETS_DSN", "postgres://u:secret@h/d")
	out, err := command(t.Context(), "/usr/bin", "env", &account{}, []string{"PGHOST=h"})
	if err != nil || strings.Contains(out, "secret") || !strings.Contains(out, "PGHOST=h") || !strings.Contains(out, "PATH=") {
		t.Errorf("the environment of programs: %v\n%s", err, out)
	}
}

// TestInvalidDSN checks that errors do not quote passwords.
func TestInvalidDSN(t *testing.T) {
	const dsn = "host=h port=none password = secret"
	for _, c := range []Config{{CloneDSN: dsn}, {DSN: dsn, Bin: "bin"}} {
		if _, err := open(t.Context(), c); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("an invalid connection string: %v", err)
		}
	}
}
