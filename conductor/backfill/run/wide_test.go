package run_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/backfill/job"
	"muniment.dev/muniment/conductor/backfill/run"
	"muniment.dev/muniment/internal/soak"
)

// wide fills the table with rows whose name is stored outside of them.
func (r *rig) wide(rows int) {
	r.t.Helper()
	r.exec(fmt.Sprintf(`ALTER TABLE asset ALTER name SET STORAGE EXTERNAL;
		INSERT INTO asset SELECT i, (SELECT string_agg(md5(i || '.' || k), '') FROM generate_series(1, 150) AS k), i %% 100 FROM generate_series(1, %d) AS i`, rows))
	r.exec("VACUUM ANALYZE asset")
}

// toast returns the size of the values of the table that are outside of rows.
func (r *rig) toast() int {
	return r.number("SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'asset'::regclass")
}

// TestWideRows copies a column beside one with large values, which must not be
// written again.
func TestWideRows(t *testing.T) {
	rows := soak.Length(t, "wide rows", 500, 1_000_000)
	r := newRig(t, 0, right)
	r.wide(rows)
	before := r.toast()
	runner := r.open()
	if err := runner.Copy(t.Context()); err != nil {
		t.Fatalf("%v: %s", err, r.reports())
	}
	if after := r.toast(); after != before || before < 2000*rows {
		t.Errorf("%d bytes outside of rows, and %d before", after, before)
	}
	if v, err := runner.Validate(t.Context(), false); err != nil || v.Differences > 0 || v.Rows != int64(rows) {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestLargeValue checks that a value which is too large is refused by the plan.
func TestLargeValue(t *testing.T) {
	soak.WithoutRace(t)
	r := newRig(t, 3, right)
	text := strings.NewReplacer("column: size_kb", "column: name", "type: bigint", "type: text", right.up, "upper(name)", right.down, "lower(name)").
		Replace(string(r.options.Job.Text))
	var err error
	if r.options.Job, err = job.Parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	r.exec("UPDATE asset SET name = repeat('x', 256 << 20 | 1) WHERE id = 2")
	var blocked *run.BlockedError
	if _, err := run.Prepare(t.Context(), r.options); !errors.As(err, &blocked) || blocked.Findings[0].Code != "large-values" {
		t.Errorf("plan: %v", err)
	}
	r.exec("UPDATE asset SET name = repeat('x', 2 << 20) WHERE id = 2")
	if _, err := run.Prepare(t.Context(), r.options); err != nil {
		t.Errorf("plan: %v", err)
	}
}

// TestWideValues copies a column with large values.
func TestWideValues(t *testing.T) {
	rows := soak.Length(t, "wide values", 300, 100_000)
	r := newRig(t, 0, right)
	r.wide(rows)
	text := strings.NewReplacer("column: size_kb", "column: name", "type: bigint", "type: bytea", right.up, "decode(name, 'hex')", right.down, "encode(name, 'hex')").
		Replace(string(r.options.Job.Text))
	var err error
	if r.options.Job, err = job.Parse([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := attempt(t.Context(), r); err != nil {
		t.Fatalf("%v: %s", err, r.reports())
	}
	if n := r.number("SELECT count(*) FROM asset WHERE name__new IS DISTINCT FROM decode(name, 'hex') OR octet_length(name__new) <> 2400"); n > 0 {
		t.Errorf("%d rows differ", n)
	}
}
