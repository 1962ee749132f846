package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/store"
)

var _ store.Deliveries = (*Store)(nil)

// Webhook implements store.Deliveries.
func (s *Store) Webhook(ctx context.Context, name string) (since time.Time, err error) {
	if err := s.enter(); err != nil {
		return since, err
	}
	defer s.uses.Done()
	err = s.pool.QueryRow(ctx, s.sql(`SELECT since FROM $webhooks WHERE name = $1`), name).Scan(&since)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	return since, inDeliveries(err)
}

// AddWebhook implements store.Deliveries.
func (s *Store) AddWebhook(ctx context.Context, name string, since time.Time, received []store.Delivery) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.uses.Done()
	return inDeliveries(pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.sql(`INSERT INTO $webhooks (name, since) VALUES ($1, $2) ON CONFLICT DO NOTHING`), name, since)
		if err != nil || tag.RowsAffected() == 0 || len(received) == 0 {
			return err
		}
		var events []string
		var happened []time.Time
		for _, d := range received {
			events, happened = append(events, d.Event), append(happened, d.Happened)
		}
		_, err = tx.Exec(ctx, s.sql(`INSERT INTO $deliveries (webhook, event, happened)
			SELECT $1::text, * FROM unnest($2::text[], $3::timestamptz[]) ON CONFLICT DO NOTHING`), name, events, happened)
		return err
	}))
}

// Delivered implements store.Deliveries.
func (s *Store) Delivered(ctx context.Context, name string, events []string) ([]string, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	rows, err := s.pool.Query(ctx, s.sql(`SELECT event FROM $deliveries WHERE webhook = $1 AND event = ANY($2::text[])`), name, events)
	if err != nil {
		return nil, inDeliveries(err)
	}
	received, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return received, inDeliveries(err)
}

// Deliver implements store.Deliveries.
func (s *Store) Deliver(ctx context.Context, name string, d store.Delivery, before time.Time) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.uses.Done()
	_, err := s.pool.Exec(ctx, s.sql(`WITH old AS (DELETE FROM $deliveries WHERE webhook = $1 AND happened < $4)
		INSERT INTO $deliveries (webhook, event, happened) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`), name, d.Event, d.Happened, before)
	return inDeliveries(err)
}

func inDeliveries(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("deliveries to webhooks: %w", err)
}
