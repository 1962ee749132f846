package datadir

import (
	"path/filepath"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/verifiers/facts"
)

// Imports returns the options of an import into the replica.
func (d *Dir) Imports() ledger.ImportOptions {
	o := ledger.ImportOptions{Policy: d.Replica, Derive: facts.Derive, ReserveBytes: d.Config.Limits.DiskReserveBytes}
	for _, t := range d.Tenants {
		o.Streams = append(o.Streams, t.Stream)
	}
	return o
}

// AnchorImport writes the imported checkpoint to the anchor of the replica in
// the folder.
func AnchorImport(folder string) error {
	dir := filepath.Join(folder, StoreDir)
	m, err := mark.Read(dir)
	if err != nil {
		return err
	}
	return anchor.Write(dir+AnchorSuffix, m.Checkpoint)
}
