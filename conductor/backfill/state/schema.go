// Package state keeps the state of backfill jobs in the target database. It
// follows section 5 of [docs/spec/backfill.md].
//
// A runner holds a job by an advisory lock and a fence. It changes the state in
// a Tx, which verifies the fence. Other processes read the state, and leave
// requests and thresholds for the runner.
//
// [docs/spec/backfill.md]: https://muniment.dev/spec/backfill
package state

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Version is the version of the tables that this program supports.
const Version = 1

// Schema is the schema of the tables.
const Schema = "muniment_conductor"

// A Querier reads: a connection, a pool or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// A Beginner begins transactions: a connection or a pool.
type Beginner interface {
	Begin(context.Context) (pgx.Tx, error)
}

// A VersionError is a schema of another version. It was not changed.
type VersionError struct{ Found, Supported int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the state in schema %s has version %d, this program supports version %d: use a program of that version until its jobs have ended", Schema, e.Found, e.Supported)
}

// ErrNoSchema is the error of a database without the schema.
var ErrNoSchema = errors.New("the database contains no schema " + Schema + ": no job was started in it: start one with conductor backfill run")

// Check returns ErrNoSchema or a VersionError unless this program can read the
// state.
func Check(ctx context.Context, db Querier) error {
	var version int
	err := db.QueryRow(ctx, "SELECT version FROM muniment_conductor.format").Scan(&version)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && (pg.Code == undefinedTable || pg.Code == undefinedSchema):
		return ErrNoSchema
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("schema %s has no version: it was not created by this program", Schema)
	case err != nil:
		return fmt.Errorf("read the version of schema %s: %w", Schema, err)
	case version != Version:
		return &VersionError{version, Version}
	}
	return nil
}

const (
	undefinedTable  = "42P01"
	undefinedSchema = "3F000"
)

// Install creates the schema if it does not exist, and checks its version.
func Install(ctx context.Context, db Beginner) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		// Two programs can start at the same time.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", Schema); err != nil {
			return err
		}
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", Schema).Scan(&exists); err != nil {
			return err
		}
		if exists {
			return Check(ctx, tx)
		}
		if _, err := tx.Exec(ctx, tables); err != nil {
			return fmt.Errorf("create schema %s: %w", Schema, err)
		}
		_, err := tx.Exec(ctx, "INSERT INTO muniment_conductor.format VALUES ($1)", Version)
		return err
	})
}

// tables creates the schema. A change of it requires a new version.
const tables = `
CREATE SCHEMA muniment_conductor;
CREATE TABLE muniment_conductor.format (version integer NOT NULL);
CREATE TABLE muniment_conductor.job (
	name text PRIMARY KEY,
	digest text NOT NULL,
	source bytea NOT NULL,
	run text NOT NULL,
	phase text NOT NULL,
	fence bigint NOT NULL,
	holder json,
	relation text NOT NULL,
	table_oid bigint NOT NULL,
	columns json NOT NULL,
	plan json NOT NULL,
	created timestamptz NOT NULL,
	changed timestamptz NOT NULL,
	checksum text NOT NULL
);
CREATE TABLE muniment_conductor.position (
	job text PRIMARY KEY REFERENCES muniment_conductor.job,
	key text[] NOT NULL,
	pass integer NOT NULL,
	visited bigint NOT NULL,
	written bigint NOT NULL,
	chunk integer NOT NULL,
	finished boolean NOT NULL,
	table_oid bigint NOT NULL,
	saved timestamptz NOT NULL,
	checksum text NOT NULL
);
CREATE TABLE muniment_conductor.outbox (
	job text REFERENCES muniment_conductor.job,
	seq bigint,
	key text NOT NULL UNIQUE,
	kind text NOT NULL,
	payload bytea NOT NULL,
	created timestamptz NOT NULL DEFAULT now(),
	sent timestamptz,
	receipt bytea,
	index bigint,
	leaf_hash bytea,
	acknowledged timestamptz,
	PRIMARY KEY (job, seq)
);
CREATE TABLE muniment_conductor.checkpoint (
	job text REFERENCES muniment_conductor.job,
	number integer,
	percent double precision NOT NULL,
	from_key text[] NOT NULL,
	to_key text[] NOT NULL,
	visited bigint NOT NULL,
	score double precision,
	passed boolean NOT NULL,
	report json NOT NULL,
	seq bigint,
	taken timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (job, number)
);
CREATE TABLE muniment_conductor.threshold (
	job text,
	input text,
	value text NOT NULL,
	set_by text NOT NULL,
	set_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (job, input)
);
CREATE TABLE muniment_conductor.request (
	id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	job text NOT NULL,
	action text NOT NULL,
	details json NOT NULL,
	asked_by text NOT NULL,
	asked timestamptz NOT NULL DEFAULT now(),
	answer text,
	answered timestamptz
);
CREATE TABLE muniment_conductor.aca_window (
	job text REFERENCES muniment_conductor.job,
	number bigint,
	checkpoint integer NOT NULL,
	copying boolean NOT NULL,
	began timestamptz NOT NULL,
	ended timestamptz NOT NULL,
	measurements json NOT NULL,
	PRIMARY KEY (job, number)
);
CREATE TABLE muniment_conductor.validation (
	job text REFERENCES muniment_conductor.job,
	number integer,
	began timestamptz NOT NULL DEFAULT now(),
	ended timestamptz,
	key text[] NOT NULL DEFAULT '{}',
	rows bigint NOT NULL DEFAULT 0,
	differences bigint NOT NULL DEFAULT 0,
	repaired bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (job, number)
);
CREATE TABLE muniment_conductor.difference (
	job text,
	validation integer,
	key text[],
	primary_value text,
	secondary_value text,
	repaired boolean NOT NULL DEFAULT false,
	PRIMARY KEY (job, validation, key),
	FOREIGN KEY (job, validation) REFERENCES muniment_conductor.validation
);
CREATE TABLE muniment_conductor.counter (
	job text REFERENCES muniment_conductor.job,
	name text,
	value bigint NOT NULL,
	PRIMARY KEY (job, name)
);
CREATE TABLE muniment_conductor.event (
	id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	job text NOT NULL REFERENCES muniment_conductor.job,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	what text NOT NULL,
	details json NOT NULL
);
CREATE INDEX ON muniment_conductor.event (job, id);
`
