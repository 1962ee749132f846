//go:build unix

package datadir

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"muniment.dev/muniment/ledger"
)

// TestSilentClients checks that clients that connect and send nothing, or take
// no answer, keep no other from importing, and that the server still stops.
func TestSilentClients(t *testing.T) {
	before := handOverTime
	handOverTime = time.Hour
	t.Cleanup(func() { handOverTime = before })
	folder := t.TempDir()
	stop, err := TakeImports(folder, func(_ context.Context, f *os.File, progress func(done, total uint64)) (*ledger.ImportReport, error) {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		progress(1, uint64(info.Size()))
		return &ledger.ImportReport{Origin: "log.example", To: uint64(info.Size())}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range maxHandOvers - 1 {
		c, err := net.Dial("unix", filepath.Join(folder, importSocket))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	path := filepath.Join(folder, "a.delta")
	if err := os.WriteFile(path, []byte("a delta"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for range 3 {
		r, err := HandOver(t.Context(), folder, file, func(uint64, uint64) {})
		if err != nil || r.To != 7 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	stop()
	if _, err := HandOver(t.Context(), folder, file, func(uint64, uint64) {}); err == nil {
		t.Error("a server that has stopped takes an import")
	}
}
