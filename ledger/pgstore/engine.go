package pgstore

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"muniment.dev/muniment/ledger/store"
)

//go:embed schema.sql
var schema string

// version is that of the schema.
const version = 1

// An Engine keeps logs in schemas of PostgreSQL. A log may be open in several
// processes at once, each with another folder for its publish mark.
type Engine struct{}

var _ store.Engine = Engine{}

// Open implements store.Engine.
func (Engine) Open(ctx context.Context, location string, o store.Options) (store.Store, error) {
	s, there, err := open(ctx, location, o, true)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	if err := s.begin(ctx, there, o); err != nil {
		return nil, fmt.Errorf("open the store %s: %w", s.name, errors.Join(err, s.Close()))
	}
	return s, nil
}

// OpenReadOnly implements store.Engine.
func (Engine) OpenReadOnly(ctx context.Context, location string, o store.Options) (store.Store, error) {
	s, there, err := open(ctx, location, o, false)
	if err != nil {
		return nil, fmt.Errorf("open the store for reading: %w", err)
	}
	if !there {
		err = fmt.Errorf("there is no store: %w", store.ErrNotFound)
	} else {
		err = s.prove(ctx, there, o)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store %s for reading: %w", s.name, errors.Join(err, s.Close()))
	}
	return s, nil
}

// Examine implements store.Engine.
func (Engine) Examine(context.Context, string, store.Options) (store.Examination, error) {
	return nil, fmt.Errorf("examine a store in PostgreSQL: %w: use the tools of PostgreSQL, such as pg_amcheck", errors.ErrUnsupported)
}

// Snapshot implements store.Engine.
func (Engine) Snapshot(context.Context, string, string) (*store.Snapshot, error) {
	return nil, fmt.Errorf("snapshot of a store in PostgreSQL: %w: use its own backups, such as pg_basebackup", errors.ErrUnsupported)
}

// open connects, and returns the store for reading, and whether there is one.
func open(ctx context.Context, text string, o store.Options, forWriting bool) (*Store, bool, error) {
	l, err := parseLocation(text)
	if err != nil {
		return nil, false, err
	}
	pool, err := l.pool(ctx)
	if err != nil {
		return nil, false, err
	}
	s := newStore(l, pool)
	s.readOnly, s.marks = true, &marks{s: s}
	if forWriting {
		err = s.marks.lockFolder()
	}
	there := false
	if err == nil {
		there, err = s.load(ctx, o)
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", l.name, errors.Join(err, s.Close()))
	}
	return s, there, nil
}

// load reads the row that describes the log.
func (s *Store) load(ctx context.Context, o store.Options) (there bool, err error) {
	s.raw = o.Raw
	var table *string
	if err := s.pool.QueryRow(ctx, `SELECT to_regclass($1)::text`, s.schema+".log").Scan(&table); err != nil || table == nil {
		return false, err
	}
	var v int
	var raw bool
	var secret []byte
	switch err := s.pool.QueryRow(ctx, s.sql(`SELECT version, raw, secret FROM $log`)).Scan(&v, &raw, &secret); {
	case errors.Is(err, pgx.ErrNoRows):
		return false, fmt.Errorf("the schema %s describes no log: %w", s.schema, store.ErrDamaged)
	case err != nil:
		return false, err
	case v != version:
		return false, fmt.Errorf("the schema %s has version %d, and this program reads version %d: use the program that made it, or a newer one", s.schema, v, version)
	case raw != o.Raw:
		return false, errors.New("it holds a log of the other kind, raw or of streams")
	case len(secret) != len(s.secret):
		return false, fmt.Errorf("the secret has %d bytes: %w", len(secret), store.ErrDamaged)
	}
	copy(s.secret[:], secret)
	return true, nil
}

// prove asks whether the state is as new as everything that was acknowledged.
func (s *Store) prove(ctx context.Context, there bool, o store.Options) error {
	if o.Prove == nil {
		return nil
	}
	if !there && s.location.mark == "" {
		return o.Prove(nil, nil)
	}
	m, err := s.readMark(ctx)
	if err != nil {
		return err
	}
	if !there {
		return o.Prove(nil, m)
	}
	return o.Prove(s, m)
}

// begin makes the store ready for writing, after it was proven.
func (s *Store) begin(ctx context.Context, there bool, o store.Options) error {
	if there && o.Scratch {
		return errors.New("it is not empty")
	}
	if err := checkDurable(ctx, s.pool, s.location); err != nil {
		return err
	}
	if err := s.prove(ctx, there, o); err != nil {
		return err
	}
	if !there {
		if err := s.create(ctx, o); err != nil {
			return err
		}
	}
	m, err := s.readMark(ctx)
	if err != nil {
		return err
	}
	if err := s.marks.open(m); err != nil {
		return err
	}
	s.readOnly = false
	return s.dropAbandoned(ctx)
}

// create makes the schema and the row that describes the log, in one
// transaction. Another server may do it at the same time: then this one uses
// what the other has made.
func (s *Store) create(ctx context.Context, o store.Options) error {
	var secret [32]byte
	rand.Read(secret[:]) // never fails: see crypto/rand
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		for _, statement := range []string{"CREATE SCHEMA IF NOT EXISTS " + s.schema, "SET LOCAL search_path TO " + s.schema, schema} {
			if _, err := tx.Conn().PgConn().Exec(ctx, statement).ReadAll(); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, s.sql(`INSERT INTO $log (version, raw, secret) VALUES ($1, $2, $3)`), version, o.Raw, secret[:])
		return err
	})
	there, loadErr := s.load(ctx, o)
	if there && loadErr == nil {
		return nil
	}
	return errors.Join(err, loadErr)
}

// A settingError is a setting of the database without which a commit that it
// acknowledges can be lost.
type settingError struct{ setting, value, remedy string }

func (e *settingError) Error() string {
	return fmt.Sprintf("%s is %q, so the database can lose what it has confirmed: %s", e.setting, e.value, e.remedy)
}

// checkDurable returns an error unless a commit that the database acknowledges
// survives the loss of its power, and that of its disk if there must be a
// standby.
func checkDurable(ctx context.Context, pool *pgxpool.Pool, l *location) error {
	var fsync, commit, standbys *string
	var standby bool
	err := pool.QueryRow(ctx, `SELECT current_setting('fsync', true), current_setting('synchronous_commit', true), current_setting('synchronous_standby_names', true), pg_is_in_recovery()`).
		Scan(&fsync, &commit, &standbys, &standby)
	switch {
	case err != nil:
		return err
	case standby:
		return errors.New("it is a standby: connect to the primary, for example with all hosts and target_session_attrs=read-write")
	case fsync != nil && *fsync != "on":
		return &settingError{"fsync", *fsync, "set fsync = on"}
	case commit != nil && *commit != "on" && *commit != "remote_apply":
		return &settingError{"synchronous_commit", *commit, "set synchronous_commit = on"}
	case !l.single && standbys != nil && *standbys == "":
		return &settingError{"synchronous_standby_names", "", "name a synchronous standby, or give single_node=true if the loss of one disk may lose the log"}
	}
	return nil
}
