package ingest

import (
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/intoto"
)

// A class says how the same submission is recognised when it comes again.
type class int

const (
	evidence class = iota // by its content
	event                 // by the idempotency key that the client gives
)

// An author is who may record entries of a kind.
type author int

const (
	clients author = iota // whoever may append
	server                // only the server, about what it did; see Ingester.Record
)

// A kind is one sort of record. See docs/spec/kinds.md.
type kind struct {
	class  class
	author author
	read   reader
}

// A reader checks a payload and says what is in it, as of a time.
type reader func(mediaType string, payload []byte, now time.Time) (contents, error)

// check reads a payload, and compares the predicate that is in it with the
// definition of its kind.
func (k *kind) check(mediaType string, payload []byte, now time.Time) (contents, error) {
	c, err := k.read(mediaType, payload, now)
	if err == nil && c.statement != nil {
		CheckPredicate(c.statement, now)
	}
	return c, err
}

// kinds is the table of all kinds. A new kind is a line here, a message in
// kinds.proto, what its header says in typed.go and a section in
// docs/spec/kinds.md.
var kinds = map[string]kind{
	"attestation":         {evidence, clients, readAttestation},
	"backfill-checkpoint": {event, clients, typed("backfill-checkpoint", describeBackfill)},
	"config":              {event, server, typed("config", describeConfig)},
	"control":             {event, clients, typed("control", describeControl)},
	"erasure":             {event, server, typed("erasure", describeErasure)},
	"exception":           {event, clients, typed("exception", describeException)},
	"export-manifest":     {evidence, clients, typed("export-manifest", describeExport)},
	"finding":             {event, clients, typed("finding", describeFinding)},
	"gate-decision":       {event, clients, typed("gate-decision", describeGateDecision)},
	"inventory":           {event, clients, typed("inventory", describeInventory)},
	"metric-snapshot":     {event, clients, typed("metric-snapshot", describeMetrics)},
	"triage-action":       {event, clients, typed("triage-action", describeTriage)},
	"verification-report": {event, clients, typed("verification-report", describeReport)},
}

// Kinds returns the names of all kinds, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// IsEvent says whether submissions of the kind need an idempotency key.
func IsEvent(name string) bool { return kinds[name].class == event }

// WrittenByLog says whether only the log itself writes entries of the kind.
func WrittenByLog(name string) bool { return kinds[name].author == server }

// clientKinds returns the names of the kinds that a client may submit, sorted.
func clientKinds() []string { return slices.DeleteFunc(Kinds(), WrittenByLog) }

// contents is what reading a payload has told about it.
type contents struct {
	mediaType     string
	subjects      []receipt.Subject
	predicateType string
	signers       []receipt.Signer
	materials     []receipt.Subject
	controls      []string
	attributes    map[string]string
	external      *receipt.External // nil: the payload is the evidence

	statement *intoto.Statement // nil: the payload neither is nor holds one
	// why the payload that is signed can't be read, though its type is that of
	// statements
	opaque error

	signed   policy.Signed // nil: there is nothing that has signatures
	document []byte        // the payload, if it is JSON
	unread   bool          // the payload is too large to be looked into
}
