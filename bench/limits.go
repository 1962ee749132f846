package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"

	"muniment.dev/muniment/ledger/entry"
)

// measureLimits measures the lower bounds of any log on this machine.
func (b *bench) measureLimits() {
	f, err := os.Create(filepath.Join(b.dir, "fsync"))
	check(err)
	page := make([]byte, 4096)
	s := times(500, func(int) {
		_, err := f.Write(page)
		check(err)
		check(f.Sync())
	})
	check(f.Close())
	b.limits["fsync"] = s.quantile(0.5).Seconds()
	row("limit: write and fsync of 4 KiB", s.String(), "")

	db, err := pebble.Open(filepath.Join(b.dir, "limit"), &pebble.Options{Logger: quiet{}})
	check(err)
	value := make([]byte, 1400)
	s = times(500, func(i int) {
		rand.Read(value)
		check(db.Set(fmt.Appendf(nil, "%08d", i), value, pebble.Sync))
	})
	b.limits["pebble"] = s.quantile(0.5).Seconds()
	row("limit: Pebble, one synced record of 1.4 KiB", s.String(), "")
	check(db.Close())

	_, key, err := ed25519.GenerateKey(nil)
	check(err)
	s = times(2000, func(int) { ed25519.Sign(key, page[:150]) })
	row("limit: Ed25519 signature", s.String(), "")
	pub := key.Public().(ed25519.PublicKey)
	sig := ed25519.Sign(key, page[:150])
	s = times(2000, func(int) { ed25519.Verify(pub, page[:150], sig) })
	b.limits["verify"] = s.quantile(0.5).Seconds()
	row("limit: Ed25519 verification", s.String(), "")
	var l, r entry.Hash
	const n = 1000
	s = times(200, func(int) {
		for range n {
			l = entry.NodeHash(&l, &r)
		}
	})
	row("limit: SHA-256 of a tree node", fmt.Sprint(s.quantile(0.5)/n), "")
}

// quiet drops Pebble's talk.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	check(fmt.Errorf(format, args...))
}
