// Package kinds is the table of entry kinds, read from the options of the
// messages in proto/muniment/v1/kinds.proto. See docs/spec/kinds.md.
package kinds

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// MaxBreakGlass is the longest time that an exception counts before it is
// approved: from the submission of the request to the expiry.
const MaxBreakGlass = 24 * time.Hour

// BreakGlassType is the payload type of the envelope of a signed request for
// break-glass.
const BreakGlassType = "application/vnd.muniment.break-glass.v1+json"

// MaxClockSkew is how far ahead the clock of the signer of a request can be.
const MaxClockSkew = 5 * time.Minute

// A Kind is one row of the table.
type Kind struct {
	Name   string
	Class  munimentv1.KindClass
	Author munimentv1.Role // may append, besides admin; 0: only the server records it
	// NamedAppender reports that an appender may append the kind, too, if its
	// grant names the kind.
	NamedAppender bool
	OtherAuthors  []munimentv1.Role // further roles that may append
	MediaType     string            // of the payload; "": the payload is any document
	MaxBytes      int               // of a submitted payload; 0: the server's own limit
	Statements    bool              // the payload can also be a signed statement
	KeyFacts      []string          // attributes that summarize an entry, most important first

	Title       string // such as "Export manifest"
	Description string // what an entry records, in a phrase
	Relation    string // of an artifact to the entry, such as "found-by"; "": by predicate type
	Template    string // of Summary, as kind_options.proto specifies

	order   uint32
	message protoreflect.MessageType
	fields  []field
}

// table returns the kinds by name.
var table = sync.OnceValue(func() map[string]*Kind {
	all := map[string]*Kind{}
	messages := munimentv1.File_muniment_v1_kinds_proto.Messages()
	for i := range messages.Len() {
		if k := read(messages.Get(i)); k != nil {
			all[k.Name] = k
		}
	}
	return all
})

// read returns the kind that the message describes, or nil.
func read(d protoreflect.MessageDescriptor) *Kind {
	if !proto.HasExtension(d.Options(), munimentv1.E_Kind) {
		return nil
	}
	o := proto.GetExtension(d.Options(), munimentv1.E_Kind).(*munimentv1.Kind)
	message, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err)
	}
	show := o.GetDisplay()
	return &Kind{
		Name: o.GetName(), Class: o.GetClass(), Author: o.GetAuthor(), NamedAppender: o.GetNamedAppender(), OtherAuthors: o.GetOtherAuthors(), MediaType: o.GetMediaType(), MaxBytes: int(o.GetMaxBytes()), Statements: o.GetStatements(), KeyFacts: o.GetKeyFacts(),
		Title: show.GetTitle(), Description: show.GetDescription(), Relation: show.GetRelation(), order: show.GetOrder(), Template: show.GetSummary(),
		message: message, fields: fieldsOf(d),
	}
}

// All returns the kinds, sorted by name.
func All() []*Kind {
	all := make([]*Kind, 0, len(table()))
	for _, k := range table() {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *Kind) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Lookup returns the kind of the name.
func Lookup(name string) (k *Kind, ok bool) {
	k, ok = table()[name]
	return k, ok
}

// IsEvent reports whether submissions of the kind require an idempotency key.
func (k *Kind) IsEvent() bool { return k.Class == munimentv1.KindClass_KIND_CLASS_EVENT }

// ByServer reports whether only the server records entries of the kind.
func (k *Kind) ByServer() bool { return k.Author == munimentv1.Role_ROLE_UNSPECIFIED }

// Typed reports whether the payload is the JSON form of the kind's message.
func (k *Kind) Typed() bool { return k.MediaType != "" }

// HasPredicates reports whether entries of the kind can have a predicate type.
func (k *Kind) HasPredicates() bool { return !k.Typed() || k.Statements }

// New returns an empty message of a typed kind.
func (k *Kind) New() proto.Message { return k.message.New().Interface() }

// Relations returns the relations of artifacts to entries, in the order in
// which an artifact's evidence is listed.
func Relations() []string {
	all := slices.DeleteFunc(All(), func(k *Kind) bool { return k.Relation == "" })
	slices.SortFunc(all, func(a, b *Kind) int { return cmp.Compare(a.order, b.order) })
	names := make([]string, len(all))
	for i, k := range all {
		names[i] = k.Relation
	}
	return names
}
