package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// TestDamagedColumns changes bytes and lengths of columns. What is read of them
// is what was written, nothing, or an error.
func TestDamagedColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const first = 1000
	c := column{kind: payloadColumn}
	contents := map[uint64][]byte{}
	for i := range 20 {
		index := uint64(first + i)
		if i%5 == 3 {
			c.slots = append(c.slots, nil)
			continue
		}
		content := make([]byte, 20*(i%4))
		for j := range content {
			content[j] = byte(rng.Uint32())
		}
		contents[index] = content
		c.slots = append(c.slots, newSlot(payloadColumn, index, &entry.Salt{byte(i)}, content))
	}
	read := func(b []byte, entries int, kind byte, at uint64) (same int) {
		d, err := decodeColumn(kind, entries, b)
		if err != nil {
			if !errors.Is(err, store.ErrDamaged) {
				t.Fatalf("the error of a damaged column is %v", err)
			}
			return 0
		}
		for i := range d.slots {
			switch o, err := d.at(at, at+uint64(i)); {
			case err != nil && !errors.Is(err, store.ErrDamaged):
				t.Fatalf("the error of a damaged slot is %v", err)
			case o == nil:
			case !bytes.Equal(o.content, contents[at+uint64(i)]) || o.salt[0] != byte(at+uint64(i)-first):
				t.Fatalf("entry %d has other bytes than were written", at+uint64(i))
			default:
				same++
			}
		}
		return same
	}
	whole := c.encode()
	if n := read(whole, len(c.slots), payloadColumn, first); n != len(contents) {
		t.Fatalf("%d of %d openings can be read", n, len(contents))
	}
	for range 20_000 {
		b := bytes.Clone(whole)
		switch rng.IntN(4) {
		case 0: // a flipped bit
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		case 1: // lengths that add up, but are others
			i, j, by := rng.IntN(20), rng.IntN(20), byte(1+rng.IntN(40))
			b[2*i+1] += by
			b[2*j+1] -= by
		case 2: // torn
			b = b[:rng.IntN(len(b))]
		case 3: // too long
			b = append(b, whole[:1+rng.IntN(len(whole))]...)
		}
		read(b, len(c.slots), payloadColumn, first)
	}
	for _, entries := range []int{-1, 0, 1, 19, 21, 5000} {
		read(whole, entries, payloadColumn, first)
	}
	if n := read(whole, len(c.slots), headerColumn, first); n != 0 {
		t.Errorf("%d payloads were read as headers", n)
	}
	if n := read(whole, len(c.slots), payloadColumn, first+1); n != 0 {
		t.Errorf("%d payloads were read in the place of others", n)
	}
}

// filled returns a log of some commits with large payloads and erasures.
func filled(t *testing.T, s *Store, src *storetest.Source, m *storetest.Model) {
	t.Helper()
	for range 2 {
		c := src.Next(12)
		if err := storetest.Spool(t.Context(), s, c, func(i int) bool { return i%9 == 0 }); err != nil {
			t.Fatal(err)
		}
		c.Entries[5].Payload.Content = bytes.Repeat([]byte("long"), 5000)
		if err := s.Commit(t.Context(), storetest.Unspooled(c)); err != nil {
			t.Fatal(err)
		}
		m.Commit(c)
	}
	var erasures []store.Erasure
	for i := uint64(0); i < m.Size(); i += 7 {
		erasures = append(erasures, m.Erasure(i, i%2 == 0))
	}
	if err := s.Erase(t.Context(), erasures); err != nil {
		t.Fatal(err)
	}
	m.Erase(erasures)
}

// unpack gives the log the shape that version 3 of the schema had.
func unpack(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := s.pool.Exec(ctx, s.sql(query), args...); err != nil {
			t.Fatal(err)
		}
	}
	st, err := s.Follow(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	skeletons, err := s.Skeletons(ctx, 0, st.Size)
	if err != nil {
		t.Fatal(err)
	}
	for i := range skeletons {
		exec(`INSERT INTO $entries (index, skeleton) VALUES ($1, $2)`, int64(i), encodeSkeleton(&skeletons[i]))
		h, err := s.Header(ctx, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		if h != nil {
			exec(`INSERT INTO $headers (index, salt, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, int64(i), h.Salt[:], h.Content)
		}
		p, err := s.Payload(ctx, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		if p != nil && p.Content != nil {
			exec(`INSERT INTO $payloads (index, salt, size, content) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, int64(i), p.Salt[:], int64(len(p.Content)), p.Content)
		}
	}
	exec(`INSERT INTO $postings (term, index) SELECT term, first + unnest(offsets) FROM $posting_lists`)
	exec(`ALTER TABLE $commits DROP COLUMN packed CASCADE`)
	for _, version := range schemas[3:] {
		for _, table := range regexp.MustCompile(`CREATE TABLE (\w+)`).FindAllStringSubmatch(version, -1) {
			exec("DROP TABLE $" + table[1])
		}
	}
	exec(`UPDATE $log SET version = 3`)
}

// TestOlderShape continues a log that version 3 of the schema has begun. All of
// it can be read and erased, before and after an index was made anew.
func TestOlderShape(t *testing.T) {
	location := newLocation(t)
	src, m := storetest.NewSource(41), storetest.NewModel()
	s := openAt(t, location)
	filled(t, s, src, m)
	unpack(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, location)
	check := func(when string) {
		t.Helper()
		if err := errors.Join(m.Check(t.Context(), s), s.CheckLarge(t.Context())); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	check("after the migration")
	old := m.Size()
	filled(t, s, src, m)
	check("after further commits")
	for _, from := range []uint64{0, old - 3, old, old + 5} {
		headers, err := s.Headers(t.Context(), from, m.Size())
		if err != nil {
			t.Fatal(err)
		}
		for i, h := range headers {
			one, err := s.Header(t.Context(), from+uint64(i))
			if err != nil || (one == nil) != (h == nil) || h != nil && !bytes.Equal(one.Content, h.Content) {
				t.Fatalf("header %d from %d differs (error %v)", i, from, err)
			}
		}
	}
	heads, err := s.StreamHeads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ReplaceProjections(t.Context(), s.Projections(t.Context()), heads); err != nil {
		t.Fatal(err)
	}
	check("after the index was replaced")
	if n, err := value[int64](t.Context(), s, "rows of postings", `SELECT count(*) FROM $postings`); err != nil || n != 0 {
		t.Errorf("%d postings have rows of their own (error %v)", n, err)
	}
	filled(t, s, src, m)
	check("in the end")
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Purge()
	check("after the purge")
}

// TestOlderProgram commits as programs for version 3 do. The log refuses it,
// and the error names the remedy.
func TestOlderProgram(t *testing.T) {
	s := openAt(t, newLocation(t))
	_, err := s.pool.Exec(t.Context(), s.sql(`INSERT INTO $commits (first, size, follows, id, root, time, durable) SELECT 0, 1, NULL, '\x', '\x', 0, true`))
	if err == nil || !strings.Contains(err.Error(), "server_is_older_than_its_log_restart_it_with_the_newer_program") || !definite(err) || again(err) {
		t.Errorf("an older server's commit: %v", err)
	}
}

// TestErasureOfChangedRun erases an opening of a run from which another server
// erases one at the same time. Neither brings the other back.
func TestErasureOfChangedRun(t *testing.T) {
	location := newLocation(t)
	s, other := openAt(t, location), openAt(t, location)
	src, m := storetest.NewSource(42), storetest.NewModel()
	c := src.Next(10)
	for i := range c.Entries {
		c.Entries[i].Payload.Content = fmt.Appendf(nil, "secret %d", i)
	}
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	m.Commit(c)
	next := named(src.Next(1), 7)
	next.Erase = []store.Erasure{{Index: 4}}
	read, err := s.changes(t.Context(), s.pool, next.Erase)
	if err != nil {
		t.Fatal(err)
	}
	theirs := []store.Erasure{{Index: 5}, {Index: 6}}
	if err := other.Erase(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	m.Erase(theirs)
	if err := s.send(t.Context(), s.batch(next, read)); !changedMeanwhile(err) || !definite(err) {
		t.Fatalf("a run that has changed was replaced (error %v)", err)
	}
	if err := m.Check(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	m.Commit(next)
	if err := m.Check(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	var rows []byte
	if err := s.pool.QueryRow(context.Background(), s.sql(`SELECT string_agg(payloads, '') FROM $opening_runs`)).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if erased := 4 <= i && i <= 6; bytes.Contains(rows, fmt.Appendf(nil, "secret %d", i)) == erased {
			t.Errorf("payload %d, erased %t", i, erased)
		}
	}
}

// TestDamagedRuns damages the rows of a log. Reads return errors.
func TestDamagedRuns(t *testing.T) {
	for what, damage := range map[string]string{
		"a length":              `UPDATE $opening_runs SET headers = set_byte(headers, 1, get_byte(headers, 1) # 1), payloads = set_byte(payloads, 1, get_byte(payloads, 1) # 1)`,
		"a byte":                `UPDATE $opening_runs SET headers = set_byte(headers, entries * 2 + 40, get_byte(headers, entries * 2 + 40) # 1), payloads = set_byte(payloads, entries * 2 + 3, get_byte(payloads, entries * 2 + 3) # 1)`,
		"the number of entries": `UPDATE $opening_runs SET entries = entries + 1`,
		"no entries":            `UPDATE $opening_runs SET entries = 0, headers = '', payloads = ''`,
		"the place":             `UPDATE $opening_runs SET first = first + 1 WHERE first = 0`,
		"the end":               `UPDATE $opening_runs SET headers = substr(headers, 1, length(headers) - 1), payloads = payloads || '\x00'`,
		"the skeletons":         `UPDATE $skeleton_runs SET content = substr(content, 2)`,
		"the postings":          `UPDATE $posting_lists SET offsets = offsets || 0`,
	} {
		t.Run(what, func(t *testing.T) {
			s := openAt(t, newLocation(t))
			c := storetest.NewSource(43).Next(3)
			if err := s.Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if _, err := s.pool.Exec(t.Context(), s.sql(damage)); err != nil {
				t.Fatal(err)
			}
			var errs []error
			add := func(err error) { errs = append(errs, err) }
			switch what {
			case "the skeletons":
				_, err := s.Skeletons(t.Context(), 0, 3)
				add(err)
			case "the postings":
				p, err := s.Postings(t.Context(), c.Postings[0].Term)
				if err != nil {
					t.Fatal(err)
				}
				_, _, err = p.SeekGE(0)
				add(err)
				_, _, err = p.SeekLE(10)
				add(err)
				add(p.Close())
				errs = errs[:2]
				for _, err := range s.Projections(t.Context()) {
					if err != nil {
						add(err)
					}
				}
			default:
				h, err := s.Header(t.Context(), 0)
				wantWritten(t, h, &c.Entries[0].Header, err)
				if errors.Is(err, store.ErrNoAnswer) {
					t.Errorf("a damaged header looks as if the database were away: %v", err)
				}
				if _, err := s.changes(t.Context(), s.pool, []store.Erasure{{Index: 0, Header: true}}); errors.Is(err, store.ErrNoAnswer) {
					t.Errorf("the erasure of a damaged run looks as if the database were away: %v", err)
				}
				_, err = s.Payload(t.Context(), 0)
				add(err)
				_, err = s.PayloadInfo(t.Context(), 0)
				add(err)
			}
			for i, err := range errs {
				if !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("read %d of a damaged row: %v", i, err)
				}
				if errors.Is(err, store.ErrNoAnswer) {
					t.Errorf("read %d of a damaged row looks as if the database were away: %v", i, err)
				}
			}
		})
	}
}

func wantWritten(t *testing.T, got, want *receipt.HeaderOpening, err error) {
	t.Helper()
	if err == nil && (got == nil || got.Salt != want.Salt || !bytes.Equal(got.Content, want.Content)) {
		t.Errorf("a damaged run yields another header")
	}
}
