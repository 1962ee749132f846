// Package attest publishes decisions as signed attestations in the formats of
// others: SLSA verification summaries, in-toto simple verification results and
// deployment attestations. See docs/spec/decision.md, section 9.
package attest

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	svr "github.com/in-toto/attestation/go/predicates/svr/v01"
	vsa "github.com/in-toto/attestation/go/predicates/vsa/v1"
	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"
	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/shape"
)

const (
	statementType = "https://in-toto.io/Statement/v1"
	bundleType    = shape.BundleMediaType + ".v0.3+json"
	slsaVersion   = "1.1"

	// environmentScope is the type of the scope of deployment attestations.
	environmentScope = "https://muniment.dev/environment/v1"
)

// ErrRestricted is the error for a decision with a restriction that consumers
// of these formats would not see.
var ErrRestricted = errors.New("a pass that rests on an exception is not published as an attestation")

// A Pass is a decision that lets artifacts through.
type Pass struct {
	Origin      string          // of the log
	Subjects    []entry.Subject // the artifact, and the manifests of its platforms
	Type        string          // of the subject, such as image
	Stage       string
	Environment string    // can be empty
	ControlSet  string    // digest: sha256:…
	Satisfied   []string  // IDs of the controls that are satisfied
	Decided     time.Time // T
	Exceptions  int       // number of exceptions that the decision used
	Deploys     bool      // the stage is a deployment
}

// VerifierID returns the verifier's URI in the attestations of a log.
func VerifierID(origin string) string { return "https://" + origin + "/gates" }

// ResourceURI returns the URI for an artifact at a stage.
func ResourceURI(typ string, s entry.Subject, stage, environment string) string {
	uri := escape(s.Name)
	if uri == "" {
		alg := slices.Min(slices.Collect(maps.Keys(s.Digest)))
		if s.Digest["sha256"] != "" {
			alg = "sha256"
		}
		uri = alg + ":" + s.Digest[alg]
	} else if (typ == artifact.Image || typ == artifact.Chart) && !strings.Contains(uri, "://") {
		uri = "oci://" + uri
	}
	uri += "#stage=" + escape(stage)
	if environment != "" {
		uri += "&environment=" + escape(environment)
	}
	return uri
}

// escape replaces the bytes that would end a part of a resource URI.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte("%#&=", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Statements returns the in-toto statements that publish a pass, in JSON. There
// are none if no control is satisfied, because they would assert nothing. The
// error is ErrRestricted if the pass used an exception.
func Statements(p *Pass) ([][]byte, error) {
	if p.Exceptions > 0 {
		return nil, ErrRestricted
	}
	if len(p.Subjects) == 0 {
		return nil, errors.New("no subject")
	}
	if len(p.Satisfied) == 0 {
		return nil, nil
	}
	alg, digest, ok := strings.Cut(p.ControlSet, ":")
	if !ok {
		return nil, fmt.Errorf("control set %q: not a digest", p.ControlSet)
	}
	held := make([]string, len(p.Satisfied))
	for i, id := range p.Satisfied {
		held[i] = "MUNIMENT_CONTROL_" + id
	}
	slices.Sort(held)
	decided := timestamppb.New(p.Decided)
	predicates := []predicate{
		{intoto.SLSASummaryV1, &vsa.VerificationSummary{
			Verifier:           &vsa.VerificationSummary_Verifier{Id: VerifierID(p.Origin)},
			TimeVerified:       decided,
			ResourceUri:        ResourceURI(p.Type, p.Subjects[0], p.Stage, p.Environment),
			Policy:             &vsa.VerificationSummary_Policy{Uri: "https://" + p.Origin + "/control-sets", Digest: map[string]string{alg: digest}},
			VerificationResult: "PASSED",
			VerifiedLevels:     held,
			SlsaVersion:        slsaVersion,
		}},
		{intoto.SVR, &svr.SimpleVerificationResult{
			Verifier:    &svr.SimpleVerificationResult_Verifier{Id: VerifierID(p.Origin)},
			TimeCreated: decided,
			Properties:  held,
		}},
	}
	var all [][]byte
	for _, pr := range predicates {
		body, err := protojson.Marshal(pr.message)
		if err != nil {
			return nil, fmt.Errorf("predicate %s: %w", pr.uri, err)
		}
		all = append(all, Statement(p.Subjects, pr.uri, body))
	}
	if p.Deploys && p.Environment != "" {
		body, err := json.Marshal(map[string]any{
			"creationTime":    p.Decided.UTC().Format(time.RFC3339Nano),
			"decisionDetails": map[string]any{"policy": []any{map[string]any{"uri": "https://" + p.Origin + "/control-sets", "digest": map[string]string{alg: digest}}}},
			"scopes":          map[string]string{environmentScope: p.Environment},
		})
		if err != nil {
			return nil, err
		}
		all = append(all, Statement(p.Subjects, intoto.Deployment, body))
	}
	return all, nil
}

type predicate struct {
	uri     string
	message proto.Message
}

// Statement returns an in-toto statement in JSON. The predicate is valid JSON.
func Statement(subjects []entry.Subject, predicateType string, predicate json.RawMessage) []byte {
	type subject struct {
		Name   string            `json:"name,omitempty"`
		Digest map[string]string `json:"digest"`
	}
	about := make([]subject, len(subjects))
	for i, s := range subjects {
		about[i] = subject{s.Name, s.Digest}
	}
	text, err := json.Marshal(struct {
		Type          string          `json:"_type"`
		Subject       []subject       `json:"subject"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}{statementType, about, predicateType, predicate})
	if err != nil {
		panic(err) // texts and valid JSON
	}
	return text
}

// A Signer signs attestations with the gate's key.
type Signer struct {
	key  crypto.Signer
	hint string
}

// NewSigner returns a signer for an ECDSA key on P-256.
func NewSigner(key crypto.Signer) (*Signer, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &Signer{key: key, hint: base64.StdEncoding.EncodeToString(sum[:])}, nil
}

// KeyID returns the ID of the key, the base64 SHA-256 of its public key.
func (s *Signer) KeyID() string { return s.hint }

// Bundle returns a Sigstore bundle with a statement in a signed DSSE envelope.
// It has neither a log entry nor a timestamp: the ledger's receipt for it has
// both.
func (s *Signer) Bundle(statement []byte) ([]byte, error) {
	sig, err := dsse.SignMessage(dsse.NewMessage(sslib.PAE(intoto.MediaType, statement)), s.key)
	if err != nil {
		return nil, fmt.Errorf("sign attestation: %w", err)
	}
	return protojson.Marshal(&bundlev1.Bundle{
		MediaType:            bundleType,
		VerificationMaterial: &bundlev1.VerificationMaterial{Content: &bundlev1.VerificationMaterial_PublicKey{PublicKey: &commonv1.PublicKeyIdentifier{Hint: s.hint}}},
		Content: &bundlev1.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: statement, PayloadType: intoto.MediaType, Signatures: []*protodsse.Signature{{Sig: sig}},
		}},
	})
}
