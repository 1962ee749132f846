package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/store"
)

var _ store.Configurations = (*Store)(nil)

const (
	// maxConfiguration is the size limit of a version of the configuration.
	maxConfiguration = 16 << 20
	// keptConfigurations is the number of versions that are kept.
	keptConfigurations = 10
)

// Configuration implements store.Configurations.
func (s *Store) Configuration(ctx context.Context, after uint64) (uint64, []byte, error) {
	if err := s.enter(); err != nil {
		return 0, nil, err
	}
	defer s.uses.Done()
	var version, size int64
	var content []byte
	err := s.pool.QueryRow(ctx, s.sql(`SELECT version, octet_length(content),
		CASE WHEN version > $1 AND octet_length(content) <= $2 THEN content END
		FROM $configurations ORDER BY version DESC LIMIT 1`), int64(after), maxConfiguration).Scan(&version, &size, &content)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, nil, nil
	case err != nil:
		return 0, nil, fmt.Errorf("shared configuration: %w", err)
	case size > maxConfiguration:
		return 0, nil, fmt.Errorf("version %d of the shared configuration has %d bytes, above the limit of %d: %w", version, size, maxConfiguration, store.ErrDamaged)
	}
	return uint64(version), content, nil
}

// PublishConfiguration implements store.Configurations.
func (s *Store) PublishConfiguration(ctx context.Context, version uint64, content []byte) (bool, error) {
	if len(content) > maxConfiguration {
		return false, fmt.Errorf("the shared configuration has %d bytes, above the limit of %d", len(content), maxConfiguration)
	}
	if err := s.enterWrite(); err != nil {
		return false, err
	}
	defer s.uses.Done()
	published := false
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.sql(`INSERT INTO $configurations (version, content, published)
			SELECT $1::bigint, $2::bytea, now() WHERE $1::bigint = 1 + (SELECT coalesce(max(version), 0) FROM $configurations)
			ON CONFLICT DO NOTHING`), int64(version), content)
		if err != nil {
			return err
		}
		if published = tag.RowsAffected() == 1; !published {
			return nil
		}
		_, err = tx.Exec(ctx, s.sql(`DELETE FROM $configurations WHERE version <= $1`), int64(version)-keptConfigurations)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("shared configuration: %w", err)
	}
	return published, nil
}
