package datadir

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/logkey"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/witness"
)

// An OpenLedger is the ledger of a data folder whose server is stopped.
type OpenLedger struct {
	*ledger.Ledger
	Policy *receipt.TrustPolicy // of the key that has signed the checkpoint
	store  interface{ Close() error }
}

// Close closes the ledger and its store.
func (o *OpenLedger) Close() error {
	o.Ledger.Close()
	return o.store.Close()
}

// OpenLedger opens the ledger of the folder for reading. The folder of a
// replica is locked, and its recorded erasures are repeated.
func (d *Dir) OpenLedger(ctx context.Context, log *slog.Logger) (*OpenLedger, error) {
	if d.Replica != nil {
		return d.openReplica(ctx, log)
	}
	policies, _, err := d.LoadPolicies()
	if err != nil {
		return nil, err
	}
	kind := d.LogStore()
	kind.Small = true
	store, mark, err := OpenStoreReadOnly(ctx, d.Path, kind, log)
	if err != nil {
		return nil, AdviseStart(err)
	}
	var signer note.Signer
	if policies[0], signer, err = d.signerOf(mark.Checkpoint, policies[0]); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	cfg := ledger.Config{Store: store, Signer: signer, Quorum: witness.Quorum(policies), Logger: log}
	l, err := ledger.OpenReadOnly(ctx, cfg, policies[0], mark.Checkpoint, errors.New("the log is open read-only"))
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &OpenLedger{l, policies[0], store}, nil
}

func (d *Dir) openReplica(ctx context.Context, log *slog.Logger) (*OpenLedger, error) {
	store, err := OpenStore(ctx, d.Path, d.ReplicaStore(), log)
	if err != nil {
		return nil, err
	}
	l, err := ledger.OpenReplica(ctx, ledger.Config{Store: store, Logger: log}, d.Replica)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &OpenLedger{l, d.Replica, store}, nil
}

// signerOf returns the newest key that signed the checkpoint, and its policy.
// Between a rotation and the server's restart, that is the old key.
func (d *Dir) signerOf(signed []byte, newest *receipt.TrustPolicy) (*receipt.TrustPolicy, note.Signer, error) {
	for _, signer := range append([]note.Signer{d.Signer}, d.Overlap...) {
		policy := newest
		for i := range d.Keys {
			if signer != d.Signer && d.Keys[i].ID() == logkey.ID(signer) {
				var err error
				if policy, err = ReadPolicyFile(filepath.Join(d.Path, d.Keys[i].PolicyPath())); err != nil {
					return nil, nil, err
				}
			}
		}
		if _, err := note.Open(signed, note.VerifierList(policy.LogKey())); err == nil {
			return policy, signer, nil
		}
	}
	return nil, nil, errors.New("no current key of the log has signed its newest checkpoint: start the server once")
}
