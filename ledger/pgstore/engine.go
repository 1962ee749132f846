package pgstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"muniment.dev/muniment/ledger/objects"
	"muniment.dev/muniment/ledger/store"
)

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
		err = s.unseal(o.Sealer)
	}
	if err == nil {
		_, err = s.prove(ctx, there, o)
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
	s.readOnly, s.marks, s.log = true, &marks{s: s}, cmp.Or(o.Logger, slog.Default())
	if l.objects != "" {
		s.bucket, err = objects.Open(ctx, l.objects)
	}
	if forWriting && err == nil {
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
	switch err := s.pool.QueryRow(ctx, s.sql(`SELECT version, raw, secret FROM $log`)).Scan(&v, &raw, &s.kept); {
	case errors.Is(err, pgx.ErrNoRows):
		return false, fmt.Errorf("the schema %s describes no log: %w", s.schema, store.ErrDamaged)
	case err != nil:
		return false, err
	case v < 1 || v > len(schemas):
		return false, fmt.Errorf("the schema %s has version %d, and this program reads versions up to %d: use the program that made it, or a newer one", s.schema, v, len(schemas))
	case raw != o.Raw:
		return false, errors.New("it holds a log of the other kind, raw or of streams")
	}
	s.version = v
	return true, nil
}

// prove asks whether the state is as new as everything that was acknowledged,
// and returns the publish mark, or nil if there is none.
func (s *Store) prove(ctx context.Context, there bool, o store.Options) (m *store.Mark, err error) {
	if there || s.location.mark != "" {
		if m, err = s.readMark(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case o.Prove == nil:
		return m, nil
	case !there:
		return m, o.Prove(nil, m)
	}
	return m, o.Prove(s, m)
}

// begin makes the store ready for writing, after it was proven.
func (s *Store) begin(ctx context.Context, there bool, o store.Options) error {
	if there && o.Scratch {
		return errors.New("it is not empty")
	}
	if there {
		if err := errors.Join(s.checkMoved(ctx), s.unseal(o.Sealer)); err != nil {
			return err
		}
	}
	if err := checkDurable(ctx, s.pool, s.location); err != nil {
		return err
	}
	if err := s.checkBucket(ctx); err != nil {
		return err
	}
	m, err := s.prove(ctx, there, o)
	if err != nil {
		return err
	}
	if !there {
		if err := s.create(ctx, o); err != nil {
			return err
		}
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.seal(ctx, o); err != nil {
		return err
	}
	if err := s.marks.open(m); err != nil {
		return err
	}
	s.readOnly = false
	if err := s.dropAbandoned(ctx); err != nil {
		return err
	}
	s.startSweeper()
	return nil
}

// create makes the schema and the row that describes the log, in one
// transaction. Another server may do it at the same time: then this one uses
// what the other has made.
func (s *Store) create(ctx context.Context, o store.Options) error {
	var secret [32]byte
	if o.Secret != nil {
		secret = *o.Secret
	} else {
		rand.Read(secret[:]) // never fails: see crypto/rand
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+s.schema); err != nil {
			return err
		}
		if err := s.extend(ctx, tx, 0); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.sql(`INSERT INTO $log (version, raw, secret) VALUES ($1, $2, $3)`), len(schemas), o.Raw, sealSecret(o.Sealer, secret[:]))
		return err
	})
	there, loadErr := s.load(ctx, o)
	if there && loadErr == nil {
		return s.unseal(o.Sealer)
	}
	return errors.Join(err, loadErr)
}

// A setting is one without which the database can lose what it has confirmed.
// One that the database does not have is null, and no reason to refuse.
type setting struct{ name, condition, remedy string }

// settings returns what the database must be set to.
func (l *location) settings() []setting {
	all := []setting{
		{"fsync", `= 'on'`, "set fsync = on"},
		{"synchronous_commit", `IN ('on', 'remote_apply')`, "set synchronous_commit = on"},
	}
	if !l.single {
		all = append(all, setting{"synchronous_standby_names", `<> ''`, "name a synchronous standby, or give single_node=true if the loss of one disk may lose the log"})
	}
	return all
}

// sql is an SQL expression of the setting's value.
func (s *setting) sql() string { return fmt.Sprintf("current_setting('%s', true)", s.name) }

// durable is an SQL expression that is true if the answer to a COMMIT proves
// that the commit survives.
func (l *location) durable() string {
	var all []string
	for _, s := range l.settings() {
		all = append(all, s.sql()+" "+s.condition)
	}
	return strings.Join(all, " AND ")
}

// checkDurable returns an error unless a commit that the database acknowledges
// survives the loss of its power, and that of its disk if there must be a
// standby.
func checkDurable(ctx context.Context, pool *pgxpool.Pool, l *location) error {
	var standby bool
	if err := pool.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err != nil {
		return err
	}
	if standby {
		return errors.New("it is a standby: connect to the primary, for example with all hosts and target_session_attrs=read-write")
	}
	for _, s := range l.settings() {
		var value string
		var holds bool
		err := pool.QueryRow(ctx, fmt.Sprintf(`SELECT coalesce(%[1]s, ''), coalesce(%[1]s %[2]s, true)`, s.sql(), s.condition)).Scan(&value, &holds)
		if err != nil {
			return err
		}
		if !holds {
			return fmt.Errorf("%s is %q, so the database can lose what it has confirmed: %s", s.name, value, s.remedy)
		}
	}
	return nil
}
