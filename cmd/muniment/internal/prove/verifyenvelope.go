package prove

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

type verifyEnvelopeCmd struct {
	Envelope  string   `arg:"" help:"DSSE envelope; - reads standard input." predictor:"file"`
	Key       []string `help:"Public key of an accepted signer, in PEM (such as cosign.pub), or a certificate, of which only the key counts. May be repeated." required:"" placeholder:"FILE" predictor:"file" sep:"none"`
	Threshold int      `help:"Number of different keys that must have signed." default:"1" placeholder:"N"`
	statementFlags
	Output string `short:"o" help:"Write the verified payload to this file, or to standard output for -." placeholder:"FILE" type:"path"`
	JSON   bool   `help:"Print one JSON object."`
}

func (verifyEnvelopeCmd) Help() string {
	return `Needs no server and no network. The type of each key determines the algorithm: Ed25519; ECDSA on P-256,
P-384 or P-521; or RSA with PKCS #1 v1.5 or PSS padding; with SHA-256, SHA-384 or SHA-512. A key counts
once, however often it is specified or has signed. For a Sigstore bundle, use verify-bundle.

A JSON Lines file contains one envelope per line. Each is reported, and one that verifies is enough.

Scripts should set --subject and --type: without them, anything that the keys ever signed verifies.

Exit code: 0 verified; 1 not verified; 2 no answer (usage, files).

Examples:
  muniment verify-envelope app.intoto.json --key release.pub --subject sha256:2cf24dba… --type slsaprovenance1
  muniment verify-envelope layout.json --key alice.pub --key bob.pub --key carol.pub --threshold 2 -o layout.payload`
}

// statementFlags specify the required subject and type of a statement.
type statementFlags struct {
	Subject *string `help:"The document must be an in-toto statement about this artifact." placeholder:"sha256:…"`
	Type    *string `help:"The document must be an in-toto statement with this predicate type: a URI or one of cosign's short names (slsaprovenance1, spdxjson, cyclonedx, vuln, openvex, link, …)." placeholder:"PREDICATE"`
}

// An expectation is the required subject and type of a statement. Any document
// meets the zero value.
type expectation struct {
	subject       entry.Digest
	predicateType string
}

// expect returns the expectation of the flags.
func (f *statementFlags) expect() (e expectation, err error) {
	if f.Subject != nil {
		if e.subject, err = entry.ParseDigest(*f.Subject); err != nil {
			return e, fmt.Errorf("--subject: %w", err)
		}
	}
	if f.Type != nil {
		e.predicateType, err = expandType(*f.Type)
	}
	return e, err
}

// check returns an error if the statement does not meet the expectation. A
// document that is not a statement is nil.
func (e expectation) check(s *intoto.Statement) error {
	switch {
	case e == expectation{}:
		return nil
	case s == nil:
		return errors.New("not an in-toto statement, so it has no subjects")
	case !e.subject.IsZero() && !s.HasSubject(e.subject):
		return fmt.Errorf("the statement has no subject with the digest %s", e.subject)
	case e.predicateType != "" && e.predicateType != s.PredicateType:
		return fmt.Errorf("the predicate type is %q, not %q", s.PredicateType, e.predicateType)
	}
	return nil
}

func (c *verifyEnvelopeCmd) Run(a *term.App) error {
	expected, err := c.expect()
	if err != nil {
		return err
	}
	keys, err := readKeys(c.Key)
	if err != nil {
		return err
	}
	data, err := a.ReadInput(c.Envelope, int64(format.Envelope.MaxSize))
	if err != nil {
		return err
	}
	envelopes, err := documents.Split(data)
	if err != nil {
		return err
	}
	if len(envelopes) > 1 {
		return c.runLines(a, envelopes, keys, expected)
	}
	v, payload, err := c.verify(c.Envelope, data, keys, expected)
	if err != nil {
		return err
	}
	if v.Verified && c.Output != "" {
		if err := a.WriteOutput(c.Output, payload); err != nil {
			return err
		}
		if c.Output == "-" {
			return nil
		}
	}
	return v.print(a, c.JSON)
}

// runLines verifies each envelope of a JSON Lines file. One that verifies is
// enough: the others may have other artifacts or signers.
func (c *verifyEnvelopeCmd) runLines(a *term.App, envelopes [][]byte, keys []*dsse.Key, expected expectation) error {
	if c.Output != "" {
		return fmt.Errorf("--output writes one payload, but the file contains %d envelopes: split the file", len(envelopes))
	}
	var all []*envelopeVerdict
	verified := 0
	for i, one := range envelopes {
		v, _, err := c.verify(term.LineName(c.Envelope, i+1), one, keys, expected)
		if err != nil {
			return err
		}
		if v.Verified {
			verified++
		}
		all = append(all, v)
	}
	report := struct {
		Envelope  string             `json:"envelope"`
		Verified  bool               `json:"verified"`
		Envelopes []*envelopeVerdict `json:"envelopes"`
	}{c.Envelope, verified > 0, all}
	return printVerdict(a, c.JSON, verified > 0, report, func(a *term.App) error {
		for _, v := range all {
			if err := v.printText(a); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(a.Stdout, "%d of %s verified\n", verified, term.Count(len(all), "envelope"))
		return err
	})
}

// verify returns the verdict on one envelope, and its payload if it is
// verified. An error means that the flags are wrong.
func (c *verifyEnvelopeCmd) verify(name string, data []byte, keys []*dsse.Key, expected expectation) (*envelopeVerdict, []byte, error) {
	v := &envelopeVerdict{Envelope: name}
	d, err := format.Envelope.Read(data)
	var proof *evidence.Proof
	if err == nil {
		proof, err = d.Verify(&evidence.Signer{Keys: keys, Threshold: c.Threshold, Need: noneNeeded}, evidence.Free)
	}
	switch {
	case errors.Is(err, dsse.ErrMalformed):
		v.Malformed = true
	case errors.Is(err, dsse.ErrNotVerified):
	case err != nil:
		return nil, nil, fmt.Errorf("--threshold: %w", err)
	default:
		if err = expected.check(d.Statement); err != nil && d.Unread != nil {
			err = fmt.Errorf("%w: %w", err, d.Unread)
		}
	}
	if err != nil {
		v.Error = plain.FileErrors(err)
		return v, nil, nil
	}
	r := proof.Envelope
	v.Verified, v.PayloadType = true, r.PayloadType
	for _, k := range r.SignedBy {
		v.SignedBy = append(v.SignedBy, signedBy{k.Name, k.ID})
	}
	if d.Statement != nil {
		checkPredicate(d.Statement)
		v.Statement = describeStatement(d.Statement)
	}
	if d.Unread != nil {
		v.Deviations = []string{d.Unread.Error()}
	}
	return v, r.Payload, nil
}

// noneNeeded are the requirements for signatures by keys without a log.
var noneNeeded = sigstore.Requirements{LogEntries: sigstore.None, Timestamps: sigstore.None, SCTs: sigstore.None}

// readKeys reads public keys, each from its own file.
func readKeys(paths []string) ([]*dsse.Key, error) {
	var keys []*dsse.Key
	for _, path := range paths {
		k, err := datadir.ReadPublicKey(path)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

type signedBy struct {
	Key   string `json:"key"`
	KeyID string `json:"keyId"`
}

// envelopeVerdict is the JSON form of a verification.
type envelopeVerdict struct {
	Envelope    string         `json:"envelope"`
	Verified    bool           `json:"verified"`
	Malformed   bool           `json:"malformed,omitempty"`
	Error       string         `json:"error,omitempty"`
	SignedBy    []signedBy     `json:"signedBy,omitempty"`
	PayloadType string         `json:"payloadType,omitempty"`
	Statement   *statementFact `json:"statement,omitempty"`
	// why a payload that is declared to be a statement is not one
	Deviations []string `json:"deviations,omitempty"`
}

func (v *envelopeVerdict) print(a *term.App, asJSON bool) error {
	return printVerdict(a, asJSON, v.Verified, v, v.printText)
}

func (v *envelopeVerdict) printText(a *term.App) error {
	if !v.Verified {
		return notVerified(a, v.Envelope, v.Error)
	}
	p := term.NewPage("✓ VERIFIED  %s", term.Quoted(v.Envelope))
	for i, k := range v.SignedBy {
		p.Line([]string{"signed by", ""}[min(i, 1)], "key %s", term.Quoted(k.Key))
		p.Line("", "%s", k.KeyID)
	}
	p.Line("payload", "%s", term.Quoted(v.PayloadType))
	if v.Statement != nil {
		v.Statement.print(p)
	}
	printDeviations(p, v.Deviations)
	_, err := io.WriteString(a.Stdout, p.String())
	return err
}

// printVerdict prints a verdict as JSON or for people. Unless it is positive,
// the exit code is ExitNo.
func printVerdict(a *term.App, asJSON, verified bool, verdict any, text func(*term.App) error) error {
	var err error
	if asJSON {
		err = term.WriteJSON(a.Stdout, verdict)
	} else {
		err = text(a)
	}
	if err == nil && !verified {
		return term.ExitWith(term.ExitNo, nil)
	}
	return err
}

// notVerified prints a negative verdict for people.
func notVerified(a *term.App, path, why string) error {
	why = strings.Replace(why, dsse.ErrNotVerified.Error()+": ", "", 1)
	_, err := fmt.Fprintf(a.Stdout, "✗ NOT VERIFIED  %s\n  %s\n", term.Quoted(path), strings.ReplaceAll(term.Escape(why), "\n", "\n  "))
	return err
}
