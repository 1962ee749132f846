package ingest

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/intoto"
)

// A kind is a row of the table of kinds together with the reader of its
// payloads.
type kind struct {
	*kinds.Kind
	read reader
}

// A reader validates a payload at a given time and returns its contents.
type reader func(mediaType string, payload []byte, now time.Time) (contents, error)

// table contains all kinds by name. A kind whose payload is the JSON form of
// its message needs no reader of its own.
var table = func() map[string]kind {
	all := map[string]kind{}
	for _, k := range kinds.All() {
		read := readEvidence
		switch {
		case k.Name == kindname.ExportManifest:
			read = exportManifests(k)
		case k.Typed():
			read = typed(k)
		}
		all[k.Name] = kind{k, read}
	}
	return all
}()

// check reads a payload. If the payload contains a statement whose predicate is
// of a typed kind, check also validates the predicate.
func (k *kind) check(mediaType string, payload []byte, now time.Time) (contents, error) {
	c, err := k.read(mediaType, payload, now)
	if err == nil && c.statement != nil {
		CheckPredicate(c.statement, now)
	} else {
		c.payload = payload
	}
	return c, err
}

// maxDocument returns the size limit in bytes for predicates of this kind. The
// table sets no limit for kinds that only the server records.
func (k *kind) maxDocument() int {
	if k.MaxBytes > 0 {
		return k.MaxBytes
	}
	return maxTyped
}

// Kinds returns the names of all kinds, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(table)) }

// IsEvent reports whether submissions of the kind require an idempotency key.
func IsEvent(name string) bool {
	k, ok := kinds.Lookup(name)
	return ok && k.IsEvent()
}

// WrittenByLog reports whether only the log itself records entries of the kind.
func WrittenByLog(name string) bool {
	k, ok := kinds.Lookup(name)
	return ok && k.ByServer()
}

// clientKinds returns the names of the kinds that clients can submit, sorted.
func clientKinds() []string { return slices.DeleteFunc(Kinds(), WrittenByLog) }

// contents is the result of reading a payload.
type contents struct {
	mediaType     string
	subjects      []entry.Subject
	predicateType string
	signers       []entry.Signer
	materials     []entry.Subject
	controls      []string
	attributes    map[string]string
	external      *entry.External // nil: the payload is the evidence

	statement *intoto.Statement // nil: the payload is not and does not contain a statement
	// opaque is the reason that a signed payload, declared to be a statement,
	// cannot be read. Nil: it is readable or not a statement.
	opaque error

	message  proto.Message   // nil: the payload is not of a typed kind
	envelope *dsse.Envelope  // contains the message; nil: the payload is the message
	signed   evidence.Signed // nil: the payload has no signatures
	document []byte          // the payload, if it is JSON
	unread   bool            // the payload is too large to be parsed
	payload  []byte          // nil if it is unread or there is a statement

	facts   []byte // encoded; nil: none
	derived bool   // facts is set
}
