package checking

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Checksum identifies a set of rows: their number, and the sum of their
// hashes modulo 2^64 (section 6).
type Checksum struct {
	Rows int64  `json:"rows"`
	Sum  uint64 `json:"sum,string"`
}

// add adds a sum of signed 64-bit numbers, as PostgreSQL writes it.
func (c *Checksum) add(rows int64, sum string) error {
	n, ok := new(big.Int).SetString(sum, 10)
	if !ok {
		return fmt.Errorf("checksum %q is not a number", sum)
	}
	modulus := new(big.Int).Lsh(big.NewInt(1), 64)
	c.Rows += rows
	c.Sum += n.Mod(n, modulus).Uint64()
	return nil
}

// totals are the sums over the chunks of a range.
type totals struct {
	plan                                  Plan
	rows, marked, lost, secondaryOnly     int64
	forward, secondary, primary, backward Checksum
	violations                            []int64
	sample                                sample
}

func newTotals(plan Plan) *totals {
	plan.Sample = min(max(plan.Sample, 0), MaxSample)
	return &totals{plan: plan, violations: make([]int64, len(plan.Constraints))}
}

func (t *totals) fill(r *Report) {
	r.Rows, r.Marked, r.LostValues, r.SecondaryOnly = t.rows, t.marked, t.lost, t.secondaryOnly
	r.Forward, r.Secondary, r.Primary, r.Backward = t.forward, t.secondary, t.primary, t.backward
}

// collect visits the range of the plan.
func (t *totals) collect(ctx context.Context, s *Source, db DB, pace Pace) error {
	w := walk{source: s, db: db, pace: pace}
	w.visit = func(ctx context.Context, r Range, _ bool) (rows int64, err error) {
		before := *t
		before.violations, before.sample = slices.Clone(t.violations), slices.Clone(t.sample)
		err = s.transaction(ctx, db, pgx.ReadOnly, func(tx pgx.Tx) error {
			if rows, err = t.chunk(ctx, tx, s, r); err != nil {
				return err
			}
			return t.draw(ctx, tx, s, r)
		})
		if err != nil {
			*t = before // the chunk is repeated
		}
		return rows, err
	}
	return w.run(ctx, t.plan.Range)
}

// hash returns SQL for the first eight bytes, as a signed number, of the hash
// of the key and a value.
func (s *Source) hash(value string) string {
	return fmt.Sprintf("('x' || encode(substring(sha256(record_send(ROW(%s, %s))) FOR 8), 'hex'))::bit(64)::bigint",
		s.columns(), value)
}

// chunk adds the rows of a range. All sums are computed in one statement, so
// they belong to one snapshot. OFFSET 0 keeps PostgreSQL from evaluating an
// expression several times.
func (t *totals) chunk(ctx context.Context, tx pgx.Tx, s *Source, r Range) (int64, error) {
	condition, args := s.where(r)
	other := differ(s.secondary(), "f.v")
	backward := s.Backward
	if t.plan.Lossy {
		// It may fail for values that a lossy forward returns.
		backward = fmt.Sprintf("CASE WHEN %s THEN %s END", other, backward)
	}
	only := fmt.Sprintf("(%s AND NOT %s)", other, differ(s.primary(), "b.v"))
	sum := func(value, condition string) string {
		return fmt.Sprintf("coalesce(sum(%s) FILTER (WHERE %s), 0)::text", s.hash(value), condition)
	}
	copied := "NOT " + s.marked()
	up := copied + " AND NOT " + only
	down := copied
	if t.plan.Lossy {
		down = "false"
	}
	columns := []string{
		"count(*)",
		"count(*) FILTER (WHERE " + s.marked() + ")",
		fmt.Sprintf("count(*) FILTER (WHERE %s AND %s IS NULL AND %s IS NOT NULL)", copied, s.secondary(), s.primary()),
		"count(*) FILTER (WHERE " + copied + " AND " + only + ")",
		sum("f.v", up), sum(s.secondary(), up), sum(s.primary(), down), sum("b.v", down),
	}
	for _, c := range t.plan.Constraints {
		columns = append(columns, fmt.Sprintf("count(*) FILTER (WHERE %s AND (%s) IS FALSE)", copied, c.Holds))
	}
	sql := fmt.Sprintf(`SELECT %s FROM %s
		CROSS JOIN LATERAL (SELECT CASE WHEN %s THEN NULL ELSE %s END AS v OFFSET 0) AS f
		CROSS JOIN LATERAL (SELECT CASE WHEN %s THEN NULL ELSE %s END AS v OFFSET 0) AS b
		WHERE %s`, strings.Join(columns, ", "), s.from(), s.marked(), s.Forward, s.marked(), backward, condition)
	return t.scan(tx.QueryRow(ctx, sql, args...))
}

// scan adds the result of a chunk and returns its number of rows.
func (t *totals) scan(row pgx.Row) (int64, error) {
	var rows, marked, lost, only int64
	var sums [4]string
	violations := make([]int64, len(t.violations))
	targets := []any{&rows, &marked, &lost, &only, &sums[0], &sums[1], &sums[2], &sums[3]}
	for i := range violations {
		targets = append(targets, &violations[i])
	}
	if err := row.Scan(targets...); err != nil {
		return 0, err
	}
	t.rows += rows
	t.marked += marked
	t.lost += lost
	t.secondaryOnly += only
	for i, n := range violations {
		t.violations[i] += n
	}
	up, down := rows-marked-only, rows-marked
	if t.plan.Lossy {
		down = 0
	}
	for i, c := range []struct {
		checksum *Checksum
		rows     int64
	}{{&t.forward, up}, {&t.secondary, up}, {&t.primary, down}, {&t.backward, down}} {
		if err := c.checksum.add(c.rows, sums[i]); err != nil {
			return 0, err
		}
	}
	return rows, nil
}

// A sample contains the keys with the smallest random tags.
type sample []drawn

type drawn struct {
	tag float64
	key []string
}

// draw adds keys of a range to the sample.
func (t *totals) draw(ctx context.Context, tx pgx.Tx, s *Source, r Range) error {
	if t.plan.Sample == 0 {
		return nil
	}
	condition, args := s.where(r)
	rows, err := tx.Query(ctx, fmt.Sprintf("SELECT random() AS tag, to_json(%s)::text FROM %s WHERE %s ORDER BY tag LIMIT %d",
		s.position(), s.from(), condition, t.plan.Sample), args...)
	if err != nil {
		return err
	}
	var d drawn
	var text string
	_, err = pgx.ForEachRow(rows, []any{&d.tag, &text}, func() error {
		d.key = nil
		if err := json.Unmarshal([]byte(text), &d.key); err != nil {
			return err
		}
		t.sample = append(t.sample, d)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(t.sample, func(a, b drawn) int { return cmp.Compare(a.tag, b.tag) })
	t.sample = t.sample[:min(len(t.sample), t.plan.Sample)]
	return nil
}

func (s sample) keys() (keys [][]string) {
	for _, d := range s {
		keys = append(keys, d.key)
	}
	return keys
}
