package prove

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

type verifyEnvelopeCmd struct {
	Envelope  string   `arg:"" help:"DSSE envelope; - reads standard input." predictor:"file"`
	Key       []string `help:"Public key that may have signed: PEM, as cosign.pub, or a certificate, of which only the key counts. May be given more than once." required:"" placeholder:"FILE" predictor:"file" sep:"none"`
	Threshold int      `help:"How many different keys must have signed." default:"1" placeholder:"N"`
	statementFlags
	Output string `short:"o" help:"Write what was signed to this file, if it is verified; - for standard output." placeholder:"FILE" type:"path"`
	JSON   bool   `help:"Print one JSON object."`
}

func (verifyEnvelopeCmd) Help() string {
	return `Needs no server and no network. The type of each key decides the algorithm: Ed25519, ECDSA on P-256, P-384 or P-521, RSA in either padding, with SHA-256, SHA-384 or SHA-512. The same key counts once, however often it is given or has signed. For a Sigstore bundle use verify-bundle.

A file of JSON Lines has an envelope on each line. Each is reported, and one that verifies is enough.

Scripts should give --subject and --type: without them anything that the keys have ever signed will do.

Exit code: 0 verified; 1 not verified; 2 it could not be checked (usage, files).

Examples:
  muniment verify-envelope app.intoto.json --key release.pub --subject sha256:2cf24dba… --type slsaprovenance1
  muniment verify-envelope layout.json --key alice.pub --key bob.pub --key carol.pub --threshold 2 -o layout.payload`
}

// statementFlags say what a statement must be about.
type statementFlags struct {
	Subject *string `help:"It must be an in-toto statement about this artifact." placeholder:"sha256:…"`
	Type    *string `help:"It must be an in-toto statement with this predicate type: a URI or one of cosign's short names (slsaprovenance1, spdxjson, cyclonedx, vuln, openvex, link, …)." placeholder:"PREDICATE"`
}

// An expectation is what a statement must be about. Its zero value is met by
// any document.
type expectation struct {
	subject       entry.Digest
	predicateType string
}

// expect returns what the flags ask for.
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

// check returns an error if the statement is not what is asked for; it is nil
// if the document is none.
func (e expectation) check(s *intoto.Statement) error {
	switch {
	case e == expectation{}:
		return nil
	case s == nil:
		return errors.New("it is not an in-toto statement, so it is about no artifact")
	case !e.subject.IsZero() && !s.HasSubject(e.subject):
		return fmt.Errorf("none of the statement's %d subjects has the digest %s", len(s.Subjects), e.subject)
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
	data, err := a.ReadInput(c.Envelope, sigstore.MaxBundleSize)
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

// runLines verifies each envelope of a file of JSON Lines. One that verifies is
// enough: the others may be about other artifacts, or by other signers.
func (c *verifyEnvelopeCmd) runLines(a *term.App, envelopes [][]byte, keys []*dsse.Key, expected expectation) error {
	if c.Output != "" {
		return fmt.Errorf("--output takes one payload, and the file holds %d envelopes: give the envelope a file of its own", len(envelopes))
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
	return tellVerdict(a, c.JSON, verified > 0, report, func(a *term.App) error {
		for _, v := range all {
			if err := v.printText(a); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(a.Stdout, "%d of %d envelopes verified\n", verified, len(all))
		return err
	})
}

// verify returns the verdict about one envelope, with its payload if it is
// verified. An error is about the flags.
func (c *verifyEnvelopeCmd) verify(name string, data []byte, keys []*dsse.Key, expected expectation) (*envelopeVerdict, []byte, error) {
	v := &envelopeVerdict{Envelope: name}
	r, err := dsse.Verify(data, keys, c.Threshold)
	var s *intoto.Statement
	var unread error
	switch {
	case errors.Is(err, dsse.ErrMalformed):
		v.Malformed = true
	case errors.Is(err, dsse.ErrNotVerified):
	case err != nil:
		return nil, nil, fmt.Errorf("--threshold: %w", err)
	default:
		if r.PayloadType == intoto.MediaType {
			s, unread = readStatement(r.Payload)
		}
		if err = expected.check(s); err != nil && unread != nil {
			err = fmt.Errorf("%w: %w", err, unread)
		}
	}
	if err != nil {
		v.Error = err.Error()
		return v, nil, nil
	}
	v.Verified, v.PayloadType = true, r.PayloadType
	for _, k := range r.SignedBy {
		v.SignedBy = append(v.SignedBy, signedBy{k.Name, k.ID})
	}
	if s != nil {
		v.Statement = describeStatement(s)
	}
	if unread != nil {
		v.Deviations = []string{"payload: " + unread.Error()}
	}
	return v, r.Payload, nil
}

// readKeys reads public keys, each from its own file.
func readKeys(paths []string) ([]*dsse.Key, error) {
	var keys []*dsse.Key
	for _, path := range paths {
		text, err := bounded.ReadFile(path, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
		k, err := dsse.ParseKey(path, text)
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
	// of a payload that is no statement, though its type is that of statements
	Deviations []string `json:"deviations,omitempty"`
}

func (v *envelopeVerdict) print(a *term.App, asJSON bool) error {
	return tellVerdict(a, asJSON, v.Verified, v, v.printText)
}

func (v *envelopeVerdict) printText(a *term.App) error {
	if !v.Verified {
		return notVerified(a, v.Envelope, v.Error)
	}
	p := term.NewPage("✓ VERIFIED  %s", term.Quoted(v.Envelope))
	for i, k := range v.SignedBy {
		p.Line([]string{"signed by", ""}[min(i, 1)], "the key %s", term.Quoted(k.Key))
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

// tellVerdict prints a verdict as JSON or for people. If it is a no, the exit
// code says so.
func tellVerdict(a *term.App, asJSON, verified bool, verdict any, text func(*term.App) error) error {
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

// notVerified prints the answer no.
func notVerified(a *term.App, path, why string) error {
	why = strings.Replace(why, dsse.ErrNotVerified.Error()+": ", "", 1)
	_, err := fmt.Fprintf(a.Stdout, "✗ NOT VERIFIED  %s\n  %s\n", term.Quoted(path), strings.ReplaceAll(term.Escape(why), "\n", "\n  "))
	return err
}
