package ledger

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"muniment.dev/muniment/ledger/entry"
)

func sortedLines(lines []string) string {
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// searchLog makes a log of entries with all sorts of headers, at different
// times, of two tenants.
func searchLog(t *testing.T, n int) *testLog {
	t.Helper()
	tl := newTestLog(t, Config{})
	for i := range n {
		tt := acme
		if i%4 == 3 {
			tt = globex
		}
		tl.mustAppend(t, tt.draft(fmt.Sprint("entry ", i), func(h *entry.Header) {
			if i%3 == 0 {
				h.Kind = "inventory"
			}
			for j := range i % 4 {
				h.Subjects = append(h.Subjects, entry.Subject{Name: fmt.Sprint("app ", j), Digest: map[string]string{"sha256": fmt.Sprint("d", (i+j)%5), "sha512": fmt.Sprint("e", i%2)}})
			}
			h.PredicateType = []string{"", "p1", "p2"}[i%3]
			h.Submitter = []string{"token:a", "token:b"}[i%7%2]
			for j := range i % 3 {
				h.Materials = append(h.Materials, entry.Subject{Digest: map[string]string{"sha256": fmt.Sprint("d", (i+j)%4), "gitCommit": "g"}})
				h.Controls = append(h.Controls, fmt.Sprint("C", (i+2*j)%5))
			}
			if i%2 == 0 {
				h.Attributes = map[string]string{"incident": fmt.Sprint("INC-", i%3), "trace.1": fmt.Sprint("t", i%4), "trace.2": "t1", "metric:p.99": "t1"}
			}
			switch i % 5 {
			case 0:
				h.Signers = []entry.Signer{{Identity: "ci"}, {KeyID: "key"}}
			case 1:
				h.Signers = []entry.Signer{{Identity: "ci", KeyID: "key"}, {Identity: "ci"}}
			case 2:
				h.Signers = []entry.Signer{{Issuer: "issuer"}}
			}
		}))
		tl.clock.pass(time.Duration(i%3) * 500 * time.Microsecond)
	}
	return tl
}

// A naive filter looks at every entry of the log.
func naiveList(t testing.TB, tl *testLog, tt *testTenant, f Filter) []uint64 {
	t.Helper()
	var out []uint64
	for i := range tl.Published().Size {
		e, err := tl.Entry(context.Background(), tt.stream, i)
		if err != nil {
			continue
		}
		h := e.Header
		subject := f.Subject == "" || slices.ContainsFunc(h.Subjects, func(s entry.Subject) bool {
			alg, v, _ := strings.Cut(f.Subject, ":")
			got, ok := s.Digest[alg]
			return ok && got == v
		})
		signer := f.Signer == "" || slices.ContainsFunc(h.Signers, func(s entry.Signer) bool { return s.Identity == f.Signer || s.KeyID == f.Signer })
		material := f.Material == "" || slices.ContainsFunc(h.Materials, func(s entry.Subject) bool {
			alg, v, _ := strings.Cut(f.Material, ":")
			got, ok := s.Digest[alg]
			return ok && got == v
		})
		attribute := f.Attribute == ""
		for name, v := range h.Attributes {
			for _, n := range []string{name, strings.TrimSuffix(strings.TrimSuffix(name, ".1"), ".2")} {
				attribute = attribute || f.Attribute == n+"="+v && !(n == name && strings.HasPrefix(n, "trace"))
			}
		}
		control := f.Control == "" || slices.Contains(h.Controls, f.Control)
		at := time.UnixMilli(int64(e.Skeleton.Time))
		if material && attribute && control && (f.Submitter == "" || h.Submitter == f.Submitter) && subject && signer && (f.Kind == "" || h.Kind == f.Kind) && (f.PredicateType == "" || h.PredicateType == f.PredicateType) &&
			(f.From.IsZero() || !at.Before(f.From)) && (f.To.IsZero() || at.Before(f.To)) {
			out = append(out, i)
		}
	}
	return out
}

func TestListIsTheNaiveFilter(t *testing.T) {
	const n = 120
	tl := searchLog(t, n)
	start := newTestClock().wall
	instant := rapid.Custom(func(rt *rapid.T) time.Time {
		if rapid.Bool().Draw(rt, "open") {
			return time.Time{}
		}
		return start.Add(time.Duration(rapid.IntRange(-10, 80).Draw(rt, "ms")) * time.Millisecond).Add(time.Duration(rapid.IntRange(-1, 1).Draw(rt, "ns")))
	})
	filter := rapid.Custom(func(rt *rapid.T) Filter {
		return Filter{
			Kind:          rapid.SampledFrom([]string{"", "", "inventory", "attestation", "metric-snapshot"}).Draw(rt, "kind"),
			Subject:       rapid.SampledFrom([]string{"", "", "sha256:d0", "sha256:d3", "sha512:e1", "sha512:d0", "d0", "sha256:"}).Draw(rt, "subject"),
			PredicateType: rapid.SampledFrom([]string{"", "", "p1", "p2", "p3"}).Draw(rt, "predicate"),
			Signer:        rapid.SampledFrom([]string{"", "", "ci", "key", "issuer"}).Draw(rt, "signer"),
			Submitter:     rapid.SampledFrom([]string{"", "", "token:a", "token:b", "token:c"}).Draw(rt, "submitter"),
			Control:       rapid.SampledFrom([]string{"", "", "", "C0", "C3", "C9"}).Draw(rt, "control"),
			Attribute:     rapid.SampledFrom([]string{"", "", "", "incident=INC-1", "trace=t1", "trace=t3", "trace.1=t1", "metric:p=t1", "metric:p.99=t1", "t1"}).Draw(rt, "attribute"),
			Material:      rapid.SampledFrom([]string{"", "", "", "sha256:d1", "gitCommit:g", "sha512:e0"}).Draw(rt, "material"),
			From:          instant.Draw(rt, "from"), To: instant.Draw(rt, "to"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		f := filter.Draw(rt, "filter")
		tt := rapid.SampledFrom([]*testTenant{acme, globex, newTestTenant("nobody")}).Draw(rt, "tenant")
		want := naiveList(t, tl, tt, f)
		limit := rapid.OneOf(rapid.IntRange(1, 3), rapid.IntRange(1, n+1)).Draw(rt, "page size")
		if got := listIndexes(t, tl.Ledger, tt.stream, Query{Filter: f, OldestFirst: true, Limit: limit}); !slices.Equal(got, want) {
			rt.Fatalf("oldest first, pages of %d: got %v, want %v", limit, got, want)
		}
		newest := slices.Clone(want)
		slices.Reverse(newest)
		if got := listIndexes(t, tl.Ledger, tt.stream, Query{Filter: f, Limit: limit}); !slices.Equal(got, newest) {
			rt.Fatalf("newest first, pages of %d: got %v, want %v", limit, got, newest)
		}
		// Next ignores times.
		f.From, f.To = time.Time{}, time.Time{}
		from := rapid.Uint64Range(0, n+2).Draw(rt, "from index")
		want = slices.DeleteFunc(naiveList(t, tl, tt, f), func(i uint64) bool { return i < from })
		var got []uint64
		for at := from; ; {
			e, next, err := tl.Next(context.Background(), tl.Published(), tt.stream, f, at)
			if err != nil {
				rt.Fatal(err)
			}
			if e == nil {
				if next != max(at, n) {
					rt.Fatalf("from %d, where nothing is left: go on from %d", at, next)
				}
				break
			}
			got = append(got, e.Index)
			at = next
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("next from %d: got %v, want %v", from, got, want)
		}
	})
}

// Pages that are read while the log grows miss nothing and repeat nothing.
func TestPagesOfAGrowingLog(t *testing.T) {
	tl := searchLog(t, 40)
	for _, oldest := range []bool{true, false} {
		q := Query{OldestFirst: oldest, Limit: 7}
		var got []uint64
		for {
			page, err := tl.List(context.Background(), acme.stream, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				got = append(got, e.Index)
			}
			if q.Token = page.Next; q.Token == "" {
				break
			}
			if len(got) < 30 {
				tl.mustAppend(t, acme.draft(fmt.Sprint("meanwhile ", oldest, len(got))))
			}
			if page.Size > tl.Published().Size {
				t.Fatalf("the page is of size %d", page.Size)
			}
		}
		want := naiveList(t, tl, acme, Filter{})
		if !oldest {
			want = want[:len(want)-4] // those appended after the first page
			slices.Reverse(want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("oldest first %t: got %v, want %v", oldest, got, want)
		}
	}
}

func TestPageTokens(t *testing.T) {
	tl := searchLog(t, 40)
	ctx := context.Background()
	at := newTestClock().wall
	good := Query{Filter: Filter{Kind: "attestation", From: at}, Limit: 3}
	page, err := tl.List(ctx, acme.stream, good)
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	good.Token = page.Next
	good.Limit = 5 // may change
	if _, err := tl.List(ctx, acme.stream, good); err != nil {
		t.Fatal(err)
	}
	edit := func(f func(*Query)) Query {
		q := good
		f(&q)
		return q
	}
	raw, err := base64.RawURLEncoding.DecodeString(page.Next)
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]Query{
		"other kind":           edit(func(q *Query) { q.Filter.Kind = "inventory" }),
		"no kind":              edit(func(q *Query) { q.Filter.Kind = "" }),
		"other subject":        edit(func(q *Query) { q.Filter.Subject = "sha256:d0" }),
		"other predicate type": edit(func(q *Query) { q.Filter.PredicateType = "p1" }),
		"other signer":         edit(func(q *Query) { q.Filter.Signer = "ci" }),
		"other start":          edit(func(q *Query) { q.Filter.From = at.Add(1) }),
		"an end":               edit(func(q *Query) { q.Filter.To = at.Add(time.Hour) }),
		"other order":          edit(func(q *Query) { q.OldestFirst = true }),
		"kind moved":           edit(func(q *Query) { q.Filter.Kind, q.Filter.Subject = "", "attestation" }),
		"garbage":              edit(func(q *Query) { q.Token = "garbage" }),
		"not base64":           edit(func(q *Query) { q.Token = "!" + page.Next[1:] }),
		"cut":                  edit(func(q *Query) { q.Token = page.Next[:len(page.Next)-2] }),
		"longer":               edit(func(q *Query) { q.Token = page.Next + "AA" }),
		"padded":               edit(func(q *Query) { q.Token = base64.URLEncoding.EncodeToString(raw) }),
		"a line break":         edit(func(q *Query) { q.Token = page.Next[:4] + "\n" + page.Next[4:] }),
		"stray bits":           edit(func(q *Query) { q.Token = page.Next[:len(page.Next)-1] + "_" }),
	} {
		_, err := tl.List(ctx, acme.stream, q)
		if err == nil {
			t.Errorf("%s: the page token was taken", name)
			continue
		}
		wantErr(t, name, err, ErrPageToken, "page token: ")
	}
	_, err = tl.List(ctx, globex.stream, good)
	wantErr(t, "another tenant", err, ErrPageToken, "page token: ")
	tl.restart(t)
	if _, err := tl.List(ctx, acme.stream, good); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func FuzzPageToken(f *testing.F) {
	for _, oldest := range []bool{true, false} {
		f.Add(formatToken(Query{OldestFirst: oldest}, acme.stream, 7))
	}
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, token string) {
		q := Query{Token: token}
		index, err := parseToken(q, acme.stream)
		if err == nil && formatToken(q, acme.stream, index) != token {
			t.Errorf("%q and %q are the same token", token, formatToken(q, acme.stream, index))
		}
	})
}
