package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/store/memstore"
	"muniment.dev/muniment/verifiers/facts"
	"muniment.dev/muniment/verifiers/intoto"
)

// checkFacts checks that the stored facts of an entry equal those derived from
// its header and payload, and returns them.
func checkFacts(t *testing.T, in *Ingester, who Submitter, index uint64) *facts.Facts {
	t.Helper()
	ctx := t.Context()
	e, err := in.Ledger.Entry(ctx, who.Stream, index)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := in.Ledger.Facts(ctx, e)
	if err != nil {
		t.Fatal(err)
	}
	derived, err := facts.Derive(ctx, e.Header, func() ([]byte, error) {
		r, err := in.Ledger.OpenPayload(ctx, e)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		var b bytes.Buffer
		_, err = b.ReadFrom(r)
		return b.Bytes(), err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, derived) || (stored != nil) != facts.Expected(e.Header) {
		t.Errorf("entry %d: %d bytes of facts are stored, and %d derived; expected: %t", index, len(stored), len(derived), facts.Expected(e.Header))
	}
	if stored == nil {
		return nil
	}
	f, err := facts.Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Facts extracted at intake equal those that reindex derives, for all envelopes
// and sizes.
func TestFactsAtIntake(t *testing.T) {
	soak.WithoutRace(t)
	s := memstore.New()
	in, who, _ := newIngesterOn(t, s)
	in.MaxStream = 100 << 20
	data, err := os.ReadFile("../docs/spec/vectors/facts.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors struct {
		Facts []struct {
			Name, Kind, MediaType, PredicateType, Document string
			Facts                                          json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	appended := 0
	add := func(name, kind, mediaType, payload string) *facts.Facts {
		s := &Stream{Kind: kind, MediaType: mediaType, Payload: strings.NewReader(payload)}
		if IsEvent(kind) {
			s.IdempotencyKey = name
		}
		r, err := in.AppendStream(t.Context(), who, s)
		if err != nil {
			t.Logf("%s: not recorded: %v", name, err)
			return nil
		}
		appended++
		return checkFacts(t, in, who, r.Index)
	}
	for i, v := range vectors.Facts {
		if v.Kind == "" {
			v.Kind = kindname.Attestation
		}
		if v.PredicateType == "" {
			add(v.Name, v.Kind, v.MediaType, v.Document)
			continue
		}
		padding := i % 8 / 7 * inlineBytes // a few are large payloads
		for _, statement := range []string{
			fmt.Sprintf(`{"_type":%q,"subject":[{"name":"app","digest":{"sha256":"%064d"}}],"predicateType":%q,"predicate":%s}`, intoto.TypeV1, 1, v.PredicateType, v.Document),
			fmt.Sprintf(`{"_type":%q,"subject":[{"name":"app","digest":{"sha256":"%064d"}}],"predicateType":%q,"predicate":%s}%s`, intoto.TypeV1, 2, v.PredicateType, v.Document, strings.Repeat(" ", padding)),
		} {
			for _, payload := range []string{statement, envelope(intoto.MediaType, []byte(statement), "key")} {
				f := add(v.Name, v.Kind, "", payload)
				if f == nil {
					continue
				}
				text, err := json.Marshal(f)
				var want, got any
				if err := errors.Join(err, json.Unmarshal(text, &got), json.Unmarshal(v.Facts, &want)); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %v, want %v", v.Name, got, want)
				}
			}
		}
	}
	if appended < 4*40 {
		t.Errorf("only %d entries were recorded", appended)
	}
	paths, err := filepath.Glob("testdata/kinds/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		payload, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kind := strings.TrimSuffix(filepath.Base(path), ".json")
		if f := add(path, kind, "", string(payload)); f != nil && f.ProblemCount > 0 {
			t.Errorf("%s: %v", path, f.Problems)
		}
	}
	if f := add("too large", kindname.Attestation, "application/spdx+json", `{"spdxVersion":"SPDX-2.3"`+strings.Repeat(" ", maxParsed)+"}"); f == nil || f.Exceeded != facts.LimitPayload {
		t.Errorf("a payload that is not parsed: %+v", f)
	}
	checkReindex(t, in, s)
}

// checkReindex checks that all projections of the log are those that reindex
// computes.
func checkReindex(t *testing.T, in *Ingester, s *memstore.Store) {
	t.Helper()
	r, err := ledger.Reindex(context.Background(), s, memstore.New(), in.Ledger.Origin(), facts.Derive, false, nil)
	if err != nil || !r.Same() || r.Facts == 0 {
		t.Errorf("reindex: %+v, %v", r, err)
	}
}
