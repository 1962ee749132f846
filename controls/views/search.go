package views

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/graph"
	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of a search.
const (
	maxHits   = 500
	maxOfKind = 100 // hits of one meaning
	minName   = 2   // characters of a part of a name
	minDigits = 8   // of the beginning of a digest
)

// A search collects what a query stands for.
type search struct {
	*Reader
	*Viewer
	query string
	res   *munimentv1.SearchResponse
	hits  []*munimentv1.SearchHit
	seen  map[string]bool // targets
}

// Search finds what a query stands for, in the viewer's stream. Errors:
// ErrPageToken.
func (r *Reader) Search(ctx context.Context, v *Viewer, req *munimentv1.SearchRequest) (*munimentv1.SearchResponse, error) {
	s := &search{Reader: r, Viewer: v, query: strings.TrimSpace(req.Query), res: &munimentv1.SearchResponse{}, seen: map[string]bool{}}
	for _, look := range []func(context.Context) error{s.index, s.digest, s.control, s.finding, s.exception, s.people, s.incident, s.names} {
		if s.query == "" {
			break
		}
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	p, next, err := pageOf(v.Stream, req, req.PageSize, req.PageToken, len(s.hits))
	if err != nil {
		return nil, err
	}
	s.res.Hits, s.res.NextPageToken = s.hits[p.from:p.to], next
	return s.res, nil
}

// means adds a meaning of the query.
func (s *search) means(m munimentv1.SearchMeaning) {
	if !slices.Contains(s.res.Meanings, m) {
		s.res.Meanings = append(s.res.Meanings, m)
	}
}

// add adds a hit, unless its target was found before. The key is unique to the
// target.
func (s *search) add(key string, m munimentv1.SearchMeaning, hit *munimentv1.SearchHit) {
	switch {
	case s.seen[key]:
		return
	case len(s.hits) == maxHits:
		s.res.Truncated = true
		return
	}
	s.means(m)
	s.seen[key] = true
	hit.Meaning = m
	s.hits = append(s.hits, hit)
}

func (s *search) addEntry(e *ledger.Entry, m munimentv1.SearchMeaning) {
	hit := &munimentv1.SearchHit{Target: &munimentv1.SearchHit_Entry{Entry: e.Index}, Title: "Entry " + strconv.FormatUint(e.Index, 10), Time: timestamp(timeOf(e))}
	if e.Header != nil {
		ev := graph.NewEvidence(s.Message(e))
		hit.Kind, hit.Detail = e.Header.Kind, ev.Summary()
	}
	s.add("entry "+strconv.FormatUint(e.Index, 10), m, hit)
}

func (s *search) addArtifact(e *ledger.Entry, sub *entry.Subject, digest entry.Digest, m munimentv1.SearchMeaning) {
	title := sub.Name
	if title == "" {
		title = digest.String()
	}
	s.add("artifact "+digest.String(), m, &munimentv1.SearchHit{Target: &munimentv1.SearchHit_Artifact{Artifact: digest.String()}, Title: title, Detail: digest.String(), Time: timestamp(timeOf(e)), Kind: e.Header.Kind})
}

// entryAt returns an entry of the stream with its header, or nil.
func (s *search) entryAt(ctx context.Context, index uint64) (*ledger.Entry, error) {
	e, err := s.Reader.entry(ctx, s.Stream, index)
	if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrOutOfRange) {
		return nil, nil
	}
	return e, err
}

func (s *search) index(ctx context.Context) error {
	index, err := strconv.ParseUint(strings.TrimPrefix(s.query, "#"), 10, 64)
	if err != nil {
		return nil
	}
	s.means(munimentv1.SearchMeaning_SEARCH_MEANING_INDEX)
	e, err := s.entryAt(ctx, index)
	if e != nil {
		s.addEntry(e, munimentv1.SearchMeaning_SEARCH_MEANING_INDEX)
	}
	return err
}

var (
	hexadecimal = regexp.MustCompile(`^[0-9a-fA-F]+$`)
	// bare lists the algorithms of digests that are written without one, by the
	// number of their digits.
	bare = map[int][]string{40: {"sha1", "gitCommit", "gitTree", "gitBlob", "gitTag"}, 56: {"sha224"}, 64: {"sha256", "sha512_256", "blake2s", "sha3_256", "gitCommit"}, 96: {"sha384", "sha3_384"}, 128: {"sha512", "blake2b", "sha3_512"}}
)

// digest looks for artifacts by their digest, or by its beginning.
func (s *search) digest(ctx context.Context) error {
	text := s.query
	if i := strings.LastIndex(text, "@"); i >= 0 { // NAME@ALGORITHM:VALUE
		text = text[i+1:]
	}
	alg, digits, ok := strings.Cut(text, ":")
	if !ok {
		alg, digits = "", text
	}
	if !hexadecimal.MatchString(digits) || len(digits) < minDigits {
		return nil
	}
	algorithms := bare[len(digits)]
	if alg != "" {
		if strings.ContainsAny(alg, "/. ") || entry.CanonicalDigest(alg, digits).Algorithm() == alg && bareAlgorithm(alg) == "" {
			return nil
		}
		algorithms = []string{alg}
	}
	for _, alg := range algorithms {
		d, err := entry.NewDigest(alg, digits)
		if err != nil {
			continue // a beginning
		}
		if err := s.wholeDigest(ctx, d); err != nil {
			return err
		}
	}
	digits = strings.ToLower(digits)
	return s.beginning(ctx, alg, digits)
}

// bareAlgorithm returns the algorithm in the table of digits, or "".
func bareAlgorithm(alg string) string {
	for _, all := range bare {
		if slices.Contains(all, alg) {
			return alg
		}
	}
	return ""
}

func (s *search) wholeDigest(ctx context.Context, d entry.Digest) error {
	s.means(munimentv1.SearchMeaning_SEARCH_MEANING_DIGEST)
	for _, f := range []ledger.Filter{{Subject: d.String()}, {Material: d.String()}} {
		page, err := s.Log.List(ctx, s.Stream, ledger.Query{Filter: f, Limit: 1})
		if err != nil {
			return err
		}
		for i := range page.Entries {
			e := &page.Entries[i]
			for _, list := range [][]entry.Subject{e.Header.Subjects, e.Header.Materials} {
				if at := slices.IndexFunc(list, func(sub entry.Subject) bool { return sub.Has(d) }); at >= 0 {
					s.addArtifact(e, &list[at], d, munimentv1.SearchMeaning_SEARCH_MEANING_DIGEST)
				}
			}
		}
	}
	return nil
}

// beginning looks for artifacts by the beginning of a digest.
func (s *search) beginning(ctx context.Context, alg, digits string) error {
	found, err := s.indexed(ctx, func(x *index) ([]uint64, bool) { return x.beginnings(digits, maxOfKind) })
	if err != nil {
		return err
	}
	s.means(munimentv1.SearchMeaning_SEARCH_MEANING_DIGEST_PREFIX)
	return s.artifacts(ctx, found, munimentv1.SearchMeaning_SEARCH_MEANING_DIGEST_PREFIX, func(_ string, d entry.Digest) bool {
		return strings.HasPrefix(d.Value(), digits) && (alg == "" || strings.EqualFold(alg, d.Algorithm()))
	})
}

// indexed asks the index of names, which reads new entries before.
func (s *search) indexed(ctx context.Context, f func(*index) ([]uint64, bool)) ([]uint64, error) {
	x := s.Reader.names.of(s.Stream)
	if err := x.lock.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer x.lock.Release(1)
	behind, err := x.refresh(ctx, s.Log, s.Stream)
	s.Reader.names.grown(x, x.bytes())
	if err != nil {
		return nil, err
	}
	found, more := f(x)
	s.res.Behind, s.res.Truncated = behind, s.res.Truncated || more || x.lost
	return found, nil
}

// artifacts adds the artifacts of entries that pass a test.
func (s *search) artifacts(ctx context.Context, found []uint64, m munimentv1.SearchMeaning, test func(name string, d entry.Digest) bool) error {
	for _, index := range found {
		e, err := s.entryAt(ctx, index)
		if err != nil {
			return err
		}
		if e == nil || e.Header == nil {
			continue
		}
		if len(s.hits) == maxHits {
			s.res.Truncated = true
			return nil
		}
		for _, list := range [][]entry.Subject{e.Header.Subjects, e.Header.Materials} {
			for i := range list {
				if d, ok := preferred(list[i].Digest, func(d entry.Digest) bool { return test(list[i].Name, d) }); ok {
					s.addArtifact(e, &list[i], d, m)
				}
			}
		}
	}
	return nil
}

// preferred returns the SHA-256 of a digest set if it passes a test, or else
// the first digest by name that does.
func preferred(set map[string]string, test func(entry.Digest) bool) (best entry.Digest, ok bool) {
	for alg, value := range set {
		d := entry.CanonicalDigest(alg, value)
		if test(d) && (!ok || d.Algorithm() == "sha256" || best.Algorithm() != "sha256" && d.String() < best.String()) {
			best, ok = d, true
		}
	}
	return best, ok
}

func (s *search) control(ctx context.Context) error {
	set, err := s.Decider.Set(ctx, s.Stream)
	if err != nil {
		return err
	}
	add := func(id, title string) {
		s.add("control "+id, munimentv1.SearchMeaning_SEARCH_MEANING_CONTROL, &munimentv1.SearchHit{Target: &munimentv1.SearchHit_Control{Control: id}, Title: id, Detail: title, Kind: kindname.Control})
	}
	if set != nil {
		for _, c := range set.Controls {
			if strings.EqualFold(c.ID, s.query) || len(s.query) > minName && containsFold(c.ID+"\n"+c.Title, s.query) {
				add(c.ID, c.Title)
			}
		}
	}
	return s.entriesWith(ctx, func(q string) ledger.Filter { return ledger.Filter{Control: q} }, 1, func(e *ledger.Entry) {
		for _, id := range e.Header.Controls {
			if strings.EqualFold(id, s.query) && posture.Control(set, id) == nil {
				add(id, "")
			}
		}
	})
}

func containsFold(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

func (s *search) finding(ctx context.Context) error {
	w, err := s.follower(ctx, s.Stream)
	if err != nil {
		return err
	}
	return s.Findings.Use(ctx, s.Stream, func(all []*finding.Finding, _ uint64) {
		for _, exact := range []bool{true, false} {
			for i := len(all) - 1; i >= 0; i-- {
				f := w.follow(all[i])
				is := func(id string) bool {
					return strings.EqualFold(id, s.query) || !exact && len(s.query) > minName && containsFold(id, s.query)
				}
				if is(f.ID) || slices.ContainsFunc(f.Aliases, is) {
					s.add("finding "+strings.ToLower(f.ID), munimentv1.SearchMeaning_SEARCH_MEANING_FINDING, &munimentv1.SearchHit{Target: &munimentv1.SearchHit_Finding{Finding: f.ID}, Title: f.ID,
						Detail: f.Newest().Severity + ", " + string(f.state) + ": " + f.Title, Time: timestamp(f.Newest().Time), Kind: kindname.Finding})
				}
			}
		}
	})
}

func (s *search) exception(ctx context.Context) error {
	h, err := s.hearing(ctx, s.Viewer)
	if err != nil {
		return err
	}
	all, err := s.Exceptions.All(ctx, s.Stream)
	if err != nil {
		return err
	}
	for i := len(all) - 1; i >= 0; i-- {
		x := all[i]
		if !strings.EqualFold(x.ID, s.query) && (len(s.query) <= minName || !containsFold(x.ID, s.query)) {
			continue
		}
		s.add("exception "+x.ID, munimentv1.SearchMeaning_SEARCH_MEANING_EXCEPTION, &munimentv1.SearchHit{Target: &munimentv1.SearchHit_Exception{Exception: x.Index}, Title: x.ID,
			Detail: string(h.at(x).State) + ", from " + x.Control, Time: timestamp(x.Time), Kind: kindname.ExceptionRequest})
	}
	return nil
}

// people looks for entries by the identity or key ID of a signer, or by the
// submitter.
func (s *search) people(ctx context.Context) error {
	for _, filter := range []func(string) ledger.Filter{
		func(q string) ledger.Filter { return ledger.Filter{Signer: q} },
		func(q string) ledger.Filter { return ledger.Filter{Submitter: q} },
	} {
		err := s.entriesWith(ctx, filter, maxOfKind, func(e *ledger.Entry) { s.addEntry(e, munimentv1.SearchMeaning_SEARCH_MEANING_SIGNER) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *search) incident(ctx context.Context) error {
	return s.entriesWith(ctx, func(q string) ledger.Filter {
		return ledger.Filter{Kind: kindname.TriageAction, Attribute: "incident=" + q}
	}, maxOfKind,
		func(e *ledger.Entry) { s.addEntry(e, munimentv1.SearchMeaning_SEARCH_MEANING_INCIDENT) })
}

// entriesWith visits the newest entries that match the query, or the query in
// upper or lower case.
func (s *search) entriesWith(ctx context.Context, filter func(string) ledger.Filter, most int, visit func(*ledger.Entry)) error {
	spellings := []string{s.query, strings.ToUpper(s.query), strings.ToLower(s.query)}
	for i, q := range spellings {
		if slices.Contains(spellings[:i], q) {
			continue
		}
		page, err := s.Log.List(ctx, s.Stream, ledger.Query{Filter: filter(q), Limit: most})
		if err != nil {
			return err
		}
		s.res.Truncated = s.res.Truncated || page.Next != "" && most > 1
		for i := range page.Entries {
			visit(&page.Entries[i])
		}
	}
	return nil
}

// names looks for artifacts and signers by a part of their names.
func (s *search) names(ctx context.Context) error {
	text, meaning := s.query, munimentv1.SearchMeaning_SEARCH_MEANING_NAME
	switch {
	case strings.HasPrefix(strings.ToLower(text), "pkg:"):
		meaning = munimentv1.SearchMeaning_SEARCH_MEANING_PURL
	case strings.Contains(text, "/") && strings.ContainsAny(text, ":@"):
		meaning = munimentv1.SearchMeaning_SEARCH_MEANING_IMAGE
	}
	if name, _, ok := strings.Cut(text, "@sha"); ok && meaning != munimentv1.SearchMeaning_SEARCH_MEANING_PURL {
		text = name
	}
	if len(text) < minName {
		return nil
	}
	if meaning == munimentv1.SearchMeaning_SEARCH_MEANING_PURL {
		err := s.entriesWith(ctx, func(q string) ledger.Filter { return ledger.Filter{Attribute: "location=" + q} }, maxOfKind, func(e *ledger.Entry) { s.addEntry(e, meaning) })
		if err != nil {
			return err
		}
	}
	found, err := s.indexed(ctx, func(x *index) ([]uint64, bool) { return x.names(text, maxOfKind) })
	if err != nil {
		return err
	}
	if err := s.artifacts(ctx, found, meaning, func(name string, _ entry.Digest) bool { return containsFold(name, text) }); err != nil {
		return err
	}
	return s.signed(ctx, found, text)
}

// signed adds the entries whose signers or submitter have the text in their
// names.
func (s *search) signed(ctx context.Context, found []uint64, text string) error {
	for _, index := range found {
		e, err := s.entryAt(ctx, index)
		if err != nil {
			return err
		}
		if e == nil || e.Header == nil {
			continue
		}
		if containsFold(e.Header.Submitter, text) || slices.ContainsFunc(e.Header.Signers, func(g entry.Signer) bool { return containsFold(g.Identity, text) }) {
			s.addEntry(e, munimentv1.SearchMeaning_SEARCH_MEANING_SIGNER)
		}
	}
	return nil
}
