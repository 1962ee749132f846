package entry

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"muniment.dev/muniment/ledger/entry/strictjson"
)

// MaxHeaderSize is the largest header that the format allows, in bytes.
const MaxHeaderSize = 1 << 20

// Results of the verification of the evidence's own signatures.
const (
	Verified = "verified" // the header's signers made them
	// There are none, or there is no key or trusted root to check them with.
	Unverified = "unverified"
	Failed     = "failed" // they are wrong, and the policy keeps such evidence
)

// Results of admission.
const (
	Admitted = "admitted"
	Recorded = "recorded" // not admitted by the policy, but kept
)

// A Header is the log's record of a submission. Everything in it except Payload
// is the log's claim. See docs/spec/entry.md, section 4.
type Header struct {
	Origin        string
	Tenant        string
	Kind          string
	MediaType     string
	Subjects      []Subject
	PredicateType string
	Signers       []Signer
	Materials     []Subject // what the subjects were made from, or contain
	Controls      []string
	// Key facts of typed kinds. Verifiers need not understand them.
	Attributes      map[string]string
	External        *External // nil: the payload is the evidence
	Submitter       string
	IdempotencyKey  string
	AdmissionPolicy string     // "sha256:" and hexadecimal digits
	Admission       *Admission // nil: there was no policy
	Verification    Verification
	Payload         PayloadRef
}

// A Subject is an artifact that the payload describes, as in an in-toto
// ResourceDescriptor.
type Subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"` // algorithm → value
}

// A Signer is a signer of the payload, as named in the payload's signature.
type Signer struct {
	Identity string `json:"identity,omitempty"` // subject alternative name of the certificate
	Issuer   string `json:"issuer,omitempty"`   // OIDC issuer of the certificate
	KeyID    string `json:"keyId,omitempty"`
}

// Name returns the identity and the key ID, of which a signer has at least one.
func (s *Signer) Name() string { return strings.TrimSpace(s.Identity + " " + s.KeyID) }

// Verification is the result of the log's check of the payload's signatures.
type Verification struct {
	Result      string // Verified, Unverified or Failed
	Format      string // of the evidence, such as "sigstore"; may be empty
	TrustedRoot string // "sha256:" and hexadecimal digits; empty if none was used
	Reason      string // may be empty
}

// Admission is the decision of the admission policy.
type Admission struct {
	Result string // Admitted or Recorded
	Rule   string // name of the rule that decided; may be empty
	Reason string // may be empty
}

// External refers to evidence that is kept outside of the log. The payload is
// the reference.
type External struct {
	Digest    map[string]string // algorithm → value
	Size      uint64            // bytes
	Location  string            // URI
	MediaType string            // of the evidence
}

// A PayloadRef binds the payload to the header.
type PayloadRef struct {
	Commitment Hash
	Size       uint64
}

var (
	errNotSHA256  = errors.New("not sha256: and 64 lowercase hexadecimal digits")
	errTenantName = errors.New("not a tenant name: use 1 to 63 characters of a-z, 0-9 and -, without - at either end")
	errKindName   = errors.New("not a kind: use 1 to 63 characters of a-z, 0-9 and -, starting with a letter")
)

// CheckTenantName returns an error if name is not valid for a tenant.
func CheckTenantName(name string) error {
	if !isName(name) || name[0] == '-' || name[len(name)-1] == '-' {
		return errTenantName
	}
	return nil
}

func checkKind(kind string) error {
	if !isName(kind) || kind[0] < 'a' {
		return errKindName
	}
	return nil
}

// isName reports whether s is 1 to 63 characters of a-z, 0-9 and -.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 63
}

func checkSHA256(s string) error {
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(digits) != 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return errNotSHA256
	}
	return nil
}

// ParseHeader reads a header by the strict rules of docs/spec/entry.md, section
// 7. The error names the invalid member.
func ParseHeader(data []byte) (*Header, error) {
	if len(data) > MaxHeaderSize {
		return nil, fmt.Errorf("header: %d bytes, more than %d", len(data), MaxHeaderSize)
	}
	h := &Header{}
	if err := strictjson.Parse(data, h.read); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return h, nil
}

func (h *Header) read(o *strictjson.Object) error {
	h.Origin = o.String("origin")
	h.Tenant = o.String("tenant")
	h.Kind = o.String("kind")
	h.MediaType = o.String("mediaType")
	h.Subjects = readSubjects(o, "subjects")
	h.PredicateType = o.OptionalString("predicateType")
	o.Objects("signers", func(o *strictjson.Object) error {
		s := Signer{Identity: o.OptionalString("identity"), Issuer: o.OptionalString("issuer"), KeyID: o.OptionalString("keyId")}
		h.Signers = append(h.Signers, s)
		if s == (Signer{}) {
			return errors.New("none of identity, issuer and keyId")
		}
		return nil
	})
	h.Materials = readSubjects(o, "materials")
	h.Controls = o.StringArray("controls")
	o.Object("attributes", func(o *strictjson.Object) error {
		h.Attributes = o.Strings()
		return nil
	})
	o.Object("external", func(o *strictjson.Object) error {
		h.External = &External{}
		h.External.read(o)
		return nil
	})
	h.Submitter = o.String("submitter")
	h.IdempotencyKey = o.OptionalString("idempotencyKey")
	h.AdmissionPolicy = o.OptionalString("admissionPolicy")
	o.Object("admission", func(o *strictjson.Object) error {
		h.Admission = &Admission{Result: o.String("result"), Rule: o.OptionalString("rule"), Reason: o.OptionalString("reason")}
		return nil
	})
	o.RequiredObject("verification", func(o *strictjson.Object) error {
		h.Verification = Verification{Result: o.String("result"), Format: o.OptionalString("format"),
			TrustedRoot: o.OptionalString("trustedRoot"), Reason: o.OptionalString("reason")}
		return nil
	})
	o.RequiredObject("payload", func(o *strictjson.Object) error {
		o.Base64Fixed("commitment", h.Payload.Commitment[:])
		h.Payload.Size = o.Integer("size")
		return nil
	})
	return h.check()
}

func readSubjects(o *strictjson.Object, name string) (all []Subject) {
	o.Objects(name, func(o *strictjson.Object) error {
		s := Subject{Name: o.OptionalString("name")}
		o.RequiredObject("digest", func(o *strictjson.Object) error {
			s.Digest = o.Strings()
			return nil
		})
		all = append(all, s)
		return nil
	})
	return all
}

func (e *External) read(o *strictjson.Object) {
	o.RequiredObject("digest", func(o *strictjson.Object) error {
		e.Digest = o.Strings()
		return nil
	})
	e.Size = o.Integer("size")
	e.Location = o.OptionalString("location")
	e.MediaType = o.OptionalString("mediaType")
}

func (h *Header) check() error {
	if err := CheckTenantName(h.Tenant); err != nil {
		return fmt.Errorf("tenant: %w", err)
	}
	if err := checkKind(h.Kind); err != nil {
		return fmt.Errorf("kind: %w", err)
	}
	if h.AdmissionPolicy != "" {
		if err := checkSHA256(h.AdmissionPolicy); err != nil {
			return fmt.Errorf("admissionPolicy: %w", err)
		}
	}
	switch {
	case h.Origin == "":
		return errors.New("origin: empty")
	case h.MediaType == "":
		return errors.New("mediaType: empty")
	case h.Submitter == "":
		return errors.New("submitter: empty")
	}
	switch h.Verification.Result {
	case Verified, Unverified, Failed:
	default:
		return fmt.Errorf("verification.result: %q is not a result of this version", h.Verification.Result)
	}
	if h.Verification.TrustedRoot != "" {
		if err := checkSHA256(h.Verification.TrustedRoot); err != nil {
			return fmt.Errorf("verification.trustedRoot: %w", err)
		}
	}
	if h.Admission != nil && h.Admission.Result != Admitted && h.Admission.Result != Recorded {
		return fmt.Errorf("admission.result: %q is not a result of this version", h.Admission.Result)
	}
	return nil
}

// AppendJSON appends the header's JSON to b. Once hashed, these bytes are the
// header, and are never encoded again from the struct. AppendJSON returns an
// error if a string is not valid UTF-8, if the header violates a rule of the
// format, or if the result is too long.
func (h *Header) AppendJSON(b []byte) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	start := len(b)
	w := &strictjson.Writer{Text: append(b, '{')}
	w.Member("origin", h.Origin)
	w.Member("tenant", h.Tenant)
	w.Member("kind", h.Kind)
	w.Member("mediaType", h.MediaType)
	writeSubjects(w, "subjects", h.Subjects)
	w.Optional("predicateType", h.PredicateType)
	h.writeSigners(w)
	writeSubjects(w, "materials", h.Materials)
	if len(h.Controls) > 0 {
		w.Name("controls")
		w.Open('[')
		for _, c := range h.Controls {
			w.Comma()
			w.Required("controls", c)
		}
		w.Close(']')
	}
	if len(h.Attributes) > 0 {
		w.Strings("attributes", h.Attributes)
	}
	if e := h.External; e != nil {
		w.Name("external")
		w.Open('{')
		w.Strings("digest", e.Digest)
		w.Integer("size", e.Size)
		w.Optional("location", e.Location)
		w.Optional("mediaType", e.MediaType)
		w.Close('}')
	}
	h.writeDecisions(w)
	w.Name("payload")
	w.Open('{')
	w.Member("commitment", h.Payload.Commitment.Base64())
	w.Integer("size", h.Payload.Size)
	w.Close('}')
	w.Close('}')
	if w.Err != nil {
		return nil, fmt.Errorf("header: %w", w.Err)
	}
	if n := len(w.Text) - start; n > MaxHeaderSize {
		return nil, fmt.Errorf("header: %d bytes, more than %d", n, MaxHeaderSize)
	}
	return w.Text, nil
}

// writeDecisions writes the submitter, and the results of admission and
// verification.
func (h *Header) writeDecisions(w *strictjson.Writer) {
	w.Member("submitter", h.Submitter)
	w.Optional("idempotencyKey", h.IdempotencyKey)
	w.Optional("admissionPolicy", h.AdmissionPolicy)
	if a := h.Admission; a != nil {
		w.Name("admission")
		w.Open('{')
		w.Member("result", a.Result)
		w.Optional("rule", a.Rule)
		w.Optional("reason", a.Reason)
		w.Close('}')
	}
	w.Name("verification")
	w.Open('{')
	w.Member("result", h.Verification.Result)
	w.Optional("format", h.Verification.Format)
	w.Optional("trustedRoot", h.Verification.TrustedRoot)
	w.Optional("reason", h.Verification.Reason)
	w.Close('}')
}

func (h *Header) writeSigners(w *strictjson.Writer) {
	if len(h.Signers) == 0 {
		return
	}
	w.Name("signers")
	w.Open('[')
	for _, s := range h.Signers {
		w.Open('{')
		w.Optional("identity", s.Identity)
		w.Optional("issuer", s.Issuer)
		w.Optional("keyId", s.KeyID)
		w.Close('}')
	}
	w.Close(']')
}

// writeSubjects writes a member for the artifacts, unless there are none.
func writeSubjects(w *strictjson.Writer, name string, all []Subject) {
	if len(all) == 0 {
		return
	}
	w.Name(name)
	w.Open('[')
	for _, s := range all {
		w.Open('{')
		w.Optional("name", s.Name)
		w.Strings("digest", s.Digest)
		w.Close('}')
	}
	w.Close(']')
}

// HasSubject reports whether digest, in the form algorithm:value, is a digest
// of one of the subjects.
func (h *Header) HasSubject(digest string) bool { return hasDigest(h.Subjects, digest) }

// HasMaterial reports whether digest, in the form algorithm:value, is a digest
// of one of the materials.
func (h *Header) HasMaterial(digest string) bool { return hasDigest(h.Materials, digest) }

func hasDigest(all []Subject, digest string) bool {
	alg, value, ok := strings.Cut(digest, ":")
	if !ok || alg == "" || value == "" {
		return false
	}
	d := CanonicalDigest(alg, value)
	return slices.ContainsFunc(all, func(s Subject) bool { return s.Has(d) })
}

// HasSigner reports whether name is the identity or key ID of a signer.
func (h *Header) HasSigner(name string) bool {
	return slices.ContainsFunc(h.Signers, func(s Signer) bool { return s.Identity == name || s.KeyID == name })
}

// NotAdmitted reports whether the log kept the entry although the admission
// policy did not admit it.
func (h *Header) NotAdmitted() bool { return h.Admission != nil && h.Admission.Result == Recorded }

// HasAttribute reports whether the header has the attribute, which has the form
// name=value.
func (h *Header) HasAttribute(attribute string) bool {
	for name, v := range h.Attributes {
		if AttributeName(name)+"="+v == attribute {
			return true
		}
	}
	return false
}

// AttributeValues returns the values of an attribute with several values, in
// their order.
func (h *Header) AttributeValues(name string) (all []string) {
	for i := 1; ; i++ {
		v, ok := h.Attributes[name+"."+strconv.Itoa(i)]
		if !ok {
			return all
		}
		all = append(all, v)
	}
}

// AttributeName returns the name of the attribute in a member of a header. An
// attribute with several values has the members name.1, name.2, and so on. Such
// a name has letters only.
func AttributeName(member string) string {
	name, number, ok := strings.Cut(member, ".")
	if !ok || name == "" || number == "" || strings.Trim(number, "0123456789") != "" {
		return member
	}
	for i := range len(name) {
		if c := name[i] | 0x20; c < 'a' || c > 'z' {
			return member
		}
	}
	return name
}
