package pgstore

import (
	"context"
	"fmt"

	"muniment.dev/muniment/ledger/store"
)

// secretContext separates the sealed secret from other uses of the key.
const secretContext = "muniment deduplication secret, version 1"

// sealSecret returns the secret as the database keeps it.
func sealSecret(k store.Sealer, secret []byte) []byte {
	if k == nil {
		return secret
	}
	return k.Seal(secretContext, secret)
}

// unseal reads the secret from what the database has. A sealed one is longer
// than one in clear text.
func (s *Store) unseal(k store.Sealer) error {
	secret := s.kept
	if len(secret) > len(s.secret) {
		if k == nil {
			return store.ErrSealed
		}
		var err error
		if secret, err = k.Open(secretContext, secret); err != nil {
			return store.ErrSealed
		}
	}
	if len(secret) != len(s.secret) {
		return fmt.Errorf("the secret has %d bytes: %w", len(secret), store.ErrDamaged)
	}
	copy(s.secret[:], secret)
	return nil
}

// seal seals a secret that the database has in clear text. If another server
// has sealed it meanwhile, its key must be the same.
func (s *Store) seal(ctx context.Context, o store.Options) error {
	if o.Sealer == nil || len(s.kept) != len(s.secret) {
		return nil
	}
	_, err := s.pool.Exec(ctx, s.sql(`UPDATE $log SET secret = $1 WHERE secret = $2`), sealSecret(o.Sealer, s.kept), s.kept)
	if err != nil {
		return fmt.Errorf("seal the secret: %w", err)
	}
	if _, err := s.load(ctx, o); err != nil {
		return err
	}
	return s.unseal(o.Sealer)
}
