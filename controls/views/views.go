// Package views computes what the views of the portal show about a stream.
package views

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of an answer.
const (
	MaxPage      = 100
	maxSubjects  = 16 // of a finding or an exception in a list
	maxNames     = 32
	maxScope     = 64 // patterns of an exception
	maxTextLists = 64
)

// ErrPageToken reports a page token that is malformed or of another query.
var ErrPageToken = errors.New("it is of another query: repeat the query without it")

// A Log has the published entries of streams. A *ledger.Ledger is a Log.
type Log interface {
	decide.Log
	decide.FactsLog
	// StreamHead returns the end of the stream.
	StreamHead(ctx context.Context, p *ledger.Published, s *ledger.Stream) (ledger.StreamHead, error)
}

// A Reader reads what views show. Goroutines can share it.
type Reader struct {
	Log        Log
	Decider    *decide.Decider
	Exceptions *exception.Projection
	Findings   *finding.Projection
	Now        func() time.Time
	// Message returns an entry as the API does.
	Message func(*ledger.Entry) *munimentv1.Entry

	names   indexes
	tallies tallies
}

// entry returns an entry of the stream, unless the caller has gone.
func (r *Reader) entry(ctx context.Context, s *ledger.Stream, index uint64) (*ledger.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.Log.Entry(ctx, s, index)
}

// A Viewer is the caller for whom a view is made.
type Viewer struct {
	Tenant string
	Stream *ledger.Stream
	// Identity is the caller's, as entries record it.
	Identity string
	// MayDecide reports that the caller's role allows decisions about
	// exceptions.
	MayDecide bool
	// Names has the display names of persons by their identities.
	Names map[string]string
	// Approvers are the persons who may approve by the configuration.
	Approvers []string
}

func (v *Viewer) person(id string) *munimentv1.Person {
	if id == "" {
		return nil
	}
	return &munimentv1.Person{Id: id, Name: v.Names[id], IsPerson: exception.IsPerson(id)}
}

func (v *Viewer) people(ids []string) (all []*munimentv1.Person) {
	for _, id := range ids {
		all = append(all, v.person(id))
	}
	return all
}

// ApproverPeople returns the persons who may approve.
func (v *Viewer) ApproverPeople() []*munimentv1.Person { return v.people(v.Approvers) }

// timestamp returns a time as messages have it. The zero value is absent.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeOf(e *ledger.Entry) time.Time { return time.UnixMilli(int64(e.Skeleton.Time)).UTC() }

// first returns the first n elements.
func first[T any](all []T, n int) []T { return all[:min(len(all), n)] }

// last returns the last n elements.
func last[T any](all []T, n int) []T { return all[max(0, len(all)-n):] }

const hashSize = 12

// about returns a hash of a query: of a request without the fields of its page.
func about(s *ledger.Stream, request proto.Message) []byte {
	m := proto.Clone(request)
	r := m.ProtoReflect()
	for _, name := range []protoreflect.Name{"page_size", "page_token"} {
		if f := r.Descriptor().Fields().ByName(name); f != nil {
			r.Clear(f)
		}
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // it was decoded from such bytes
	}
	h := sha256.New()
	h.Write(s.ID[:])
	h.Write(text)
	return h.Sum(nil)[:hashSize]
}

// A page is a part of a list in memory.
type page struct{ from, to int }

// pageOf returns the page of a request about n elements, and the token of the
// next one.
func pageOf(s *ledger.Stream, request proto.Message, size uint32, token string, n int) (p page, next string, err error) {
	query := about(s, request)
	if token != "" {
		b, err := base64.RawURLEncoding.Strict().DecodeString(token)
		if err != nil || len(b) != 8+hashSize || string(b[8:]) != string(query) {
			return p, "", ErrPageToken
		}
		p.from = int(min(binary.BigEndian.Uint64(b), uint64(n)))
	}
	if size == 0 {
		size = MaxPage
	}
	p.to = min(n, p.from+int(size))
	if p.to < n {
		next = base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, uint64(p.to)), query...))
	}
	return p, next, nil
}
