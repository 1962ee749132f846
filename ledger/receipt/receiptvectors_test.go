package receipt

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/ledger/entry"
)

type receiptVectors struct {
	Policies   map[string]string `json:"policies"`
	StreamKeys map[string]string `json:"streamKeys"`
	Payloads   map[string]string `json:"payloads"`
	Cases      []*receiptCase    `json:"cases"`
}

type receiptCase struct {
	Name       string   `json:"name"`
	Receipt    string   `json:"receiptBase64"`
	Policies   []string `json:"policies"`
	Payload    string   `json:"payload,omitempty"`
	External   string   `json:"external,omitempty"`
	HeaderOnly bool     `json:"headerOnly,omitempty"`
	Expect     *expect  `json:"expect,omitempty"`
	Verdict    string   `json:"verdict"`
	Reason     Code     `json:"reason,omitempty"`
	Report     *Report  `json:"report,omitempty"`
}

// expect is the expectations of a case. StreamKey is a name.
type expect struct {
	Tenant          *string `json:"tenant,omitempty"`
	Kind            *string `json:"kind,omitempty"`
	Subject         *string `json:"subject,omitempty"`
	PredicateType   *string `json:"predicateType,omitempty"`
	Control         *string `json:"control,omitempty"`
	Signer          *string `json:"signer,omitempty"`
	Issuer          *string `json:"issuer,omitempty"`
	RequireVerified bool    `json:"requireVerified,omitempty"`
	Admitted        bool    `json:"admitted,omitempty"`
	Stream          *string `json:"stream,omitempty"`
	StreamKey       string  `json:"streamKey,omitempty"`
}

func (v *receiptVectors) verify(t *testing.T, c *receiptCase) (*Statement, error) {
	t.Helper()
	policies, o, data, err := v.inputs(t, c)
	if err != nil {
		return nil, err
	}
	return Verify(data, policies, o)
}

// inputs returns the case's inputs for the verifier. Its error is an error of
// the caller.
func (v *receiptVectors) inputs(t *testing.T, c *receiptCase) (policies []*TrustPolicy, o Options, data []byte, err error) {
	t.Helper()
	for _, name := range c.Policies {
		p, err := ParseTrustPolicy(name, []byte(v.Policies[name]))
		if err != nil {
			return nil, o, nil, err
		}
		policies = append(policies, p)
	}
	o = Options{HeaderOnly: c.HeaderOnly}
	if c.Payload != "" {
		if o.Payload, err = base64.StdEncoding.DecodeString(v.Payloads[c.Payload]); err != nil {
			t.Fatal(err)
		}
	}
	if c.External != "" {
		b, err := base64.StdEncoding.DecodeString(v.Payloads[c.External])
		if err != nil {
			t.Fatal(err)
		}
		o.External = bytes.NewReader(b)
	}
	if e := c.Expect; e != nil {
		o.Tenant, o.Kind, o.Subject, o.PredicateType, o.Control, o.Signer, o.Issuer = e.Tenant, e.Kind, e.Subject, e.PredicateType, e.Control, e.Signer, e.Issuer
		o.RequireVerified, o.Admitted = e.RequireVerified, e.Admitted
		if e.StreamKey != "" {
			if o.StreamKey, err = ParseStreamKey([]byte(v.StreamKeys[e.StreamKey])); err != nil {
				return nil, o, nil, err
			}
		}
		if e.Stream != nil {
			id, err := ParseStreamID(*e.Stream)
			if err != nil {
				return nil, o, nil, err
			}
			o.StreamID = &id
		}
	}
	if data, err = base64.StdEncoding.DecodeString(c.Receipt); err != nil {
		t.Fatal(err)
	}
	return policies, o, data, nil
}

// add adds a case. Its verdict follows from its reason.
func (v *receiptVectors) add(name string, data []byte, c receiptCase) {
	c.Name, c.Receipt = name, base64.StdEncoding.EncodeToString(data)
	if c.Policies == nil {
		c.Policies = []string{"log"}
	}
	switch {
	case c.Reason == "":
		c.Verdict = VerdictVerified
	case stepOf[c.Reason] == 0:
		c.Verdict = VerdictNotChecked
	default:
		c.Verdict = VerdictRefused
	}
	v.Cases = append(v.Cases, &c)
}

// finish checks the verdicts, and fills in the reports.
func (v *receiptVectors) finish(t *testing.T) {
	t.Helper()
	seen := map[Code]bool{}
	for _, c := range v.Cases {
		s, err := v.verify(t, c)
		r := NewReport("", s, err)
		var code Code
		if r.Reason != nil {
			code = r.Reason.Code
		}
		if r.Verdict != c.Verdict || code != c.Reason {
			t.Errorf("%s: %s %s, want %s %s (%v)", c.Name, r.Verdict, code, c.Verdict, c.Reason, err)
		}
		if e := (*Error)(nil); err != nil && (!errors.As(err, &e) || (e.Step > 0) != errors.Is(err, ErrNotVerified)) {
			t.Errorf("%s: the error is %#v", c.Name, err)
		}
		seen[code] = true
		if err == nil {
			c.Report = &Report{Proven: r.Proven, Claimed: r.Claimed, Content: r.Content, Warnings: r.Warnings}
		}
	}
	for code := range stepOf {
		// Those have vectors of their own, or cannot be in one.
		if !seen[code] && code != Unreadable && code != OriginMismatch && code != PolicyMalformed {
			t.Errorf("no case has the reason %s", code)
		}
	}
}

// addExpectations adds the cases of step 10.
func (v *receiptVectors) addExpectations(w *world) {
	full := w.receipt(4, 11, Full, false)
	verified, external, recorded := w.receipt(6, 11, Full, false), w.receipt(7, 11, Full, false), w.receipt(8, 11, Full, false)
	sum := func(label string) string { return det[entry.Hash](label).String() }
	stream := w.keys["globex"].StreamID().String()
	v.Payloads["external"] = base64.StdEncoding.EncodeToString(w.external)
	v.add("all expectations met", full, receiptCase{Expect: &expect{Tenant: new("globex"), Kind: new("attestation"), Subject: new("sha256:" + sum("world 4s")), PredicateType: new("https://slsa.dev/provenance/v1"),
		StreamKey: "globex", Stream: new(stream)}})
	v.add("all expectations of a verified entry met", verified, receiptCase{Expect: &expect{Tenant: new("acme"), Kind: new("attestation"), Subject: new("SHA256:" + strings.ToUpper(sum("world 6s"))),
		PredicateType: new("https://slsa.dev/provenance/v1"), Control: new("SI-7"), Signer: new("ci@acme.example"), Issuer: new("https://issuer.example"), RequireVerified: true, Admitted: true, StreamKey: "acme"}})
	for _, x := range []struct {
		name    string
		receipt []byte
		expect  expect
		reason  Code
	}{
		{"tenant", full, expect{Tenant: new("initech")}, TenantMismatch},
		{"tenant in upper case", full, expect{Tenant: new("GLOBEX")}, TenantMismatch},
		{"tenant empty", full, expect{Tenant: new("")}, ExpectationMalformed},
		{"kind", full, expect{Kind: new("erasure")}, KindMismatch},
		{"kind empty", full, expect{Kind: new("")}, ExpectationMalformed},
		{"tenant before kind", full, expect{Tenant: new("initech"), Kind: new("erasure")}, TenantMismatch},
		{"subject", full, expect{Subject: new("sha256:" + sum("world 5s"))}, SubjectMismatch},
		{"subject in upper case", full, expect{Subject: new("SHA256:" + strings.ToUpper(sum("world 4s")))}, ""},
		{"subject by another algorithm", full, expect{Subject: new("sha512_256:" + sum("world 4s"))}, SubjectMismatch},
		{"subject too short", full, expect{Subject: new("sha256:00")}, ExpectationMalformed},
		{"subject without algorithm", full, expect{Subject: new(sum("world 4s"))}, ExpectationMalformed},
		{"subject empty", full, expect{Subject: new("")}, ExpectationMalformed},
		{"predicate type", full, expect{PredicateType: new("https://slsa.dev/provenance/v0.2")}, PredicateTypeMismatch},
		{"predicate type empty", full, expect{PredicateType: new("")}, ExpectationMalformed},
		{"control", verified, expect{Control: new("SI-8")}, ControlMismatch},
		{"control of an entry without", full, expect{Control: new("SI-7")}, ControlMismatch},
		{"require verified", full, expect{RequireVerified: true}, SignatureUnverified},
		{"require verified, failed", recorded, expect{RequireVerified: true}, SignatureUnverified},
		{"signer of an entry that is not verified", full, expect{Signer: new("ci@acme.example")}, SignatureUnverified},
		{"issuer of an entry that is not verified", full, expect{Issuer: new("https://issuer.example")}, SignatureUnverified},
		{"signer", verified, expect{Signer: new("other@acme.example")}, SignerMismatch},
		{"signer by key", verified, expect{Signer: new("k1")}, ""},
		{"issuer alone", verified, expect{Issuer: new("https://issuer.example")}, ""},
		{"signer and issuer of two signers", verified, expect{Signer: new("k1"), Issuer: new("https://issuer.example")}, SignerMismatch},
		{"issuer", verified, expect{Issuer: new("https://issuer.example/")}, SignerMismatch},
		{"signer empty", verified, expect{Signer: new("")}, ExpectationMalformed},
		{"issuer empty", verified, expect{Issuer: new("")}, ExpectationMalformed},
		{"admitted, without admission", full, expect{Admitted: true}, NotAdmitted},
		{"admitted, recorded", recorded, expect{Admitted: true}, NotAdmitted},
		{"verified before admitted", recorded, expect{Admitted: true, RequireVerified: true}, SignatureUnverified},
		{"stream", full, expect{Stream: new(sum("x"))}, StreamMismatch},
		{"stream in upper case", full, expect{Stream: new(strings.ToUpper(stream))}, ""},
		{"stream too short", full, expect{Stream: new(stream[1:])}, ExpectationMalformed},
		{"stream empty", full, expect{Stream: new("")}, ExpectationMalformed},
		{"stream key of another tenant", full, expect{StreamKey: "acme"}, StreamMismatch},
		{"stream key malformed", full, expect{StreamKey: "malformed"}, StreamKeyMalformed},
		{"stream key malformed, before the expectations", full, expect{StreamKey: "malformed", Tenant: new("")}, StreamKeyMalformed},
	} {
		v.add("expected "+x.name, x.receipt, receiptCase{Expect: &x.expect, Reason: x.reason})
	}
	v.StreamKeys["malformed"] = strings.ToUpper(v.StreamKeys["acme"])
	shared, erased := w.receipt(4, 11, Shared, false), w.receipt(4, 11, HeaderErased, false)
	v.add("stream expected of a shared receipt", shared, receiptCase{Expect: &expect{Stream: new(stream)}, Reason: LinkHidden})
	v.add("stream key expected of a shared receipt", shared, receiptCase{Expect: &expect{StreamKey: "globex"}, Reason: LinkHidden})
	v.add("tenant before the stream of a shared receipt", shared, receiptCase{Expect: &expect{StreamKey: "globex", Tenant: new("acme")}, Reason: TenantMismatch})
	for _, x := range []struct {
		name   string
		expect expect
	}{{"tenant", expect{Tenant: new("globex")}}, {"admitted", expect{Admitted: true}}, {"verified", expect{RequireVerified: true}}, {"issuer", expect{Issuer: new("i")}}} {
		v.add(x.name+" expected of a header-erased receipt", erased, receiptCase{HeaderOnly: true, Expect: &x.expect, Reason: HeaderIsErased})
	}
	v.add("external of a header-erased receipt", erased, receiptCase{HeaderOnly: true, External: "external", Reason: HeaderIsErased})
	v.add("stream key with a header-erased receipt", erased, receiptCase{HeaderOnly: true, Expect: &expect{StreamKey: "globex"}})
	v.add("by reference", external, receiptCase{})
	v.add("by reference, with the evidence", external, receiptCase{External: "external"})
	v.add("by reference, with the evidence, header only", w.receipt(7, 11, Detached, false), receiptCase{External: "external", HeaderOnly: true})
	v.add("by reference, with other evidence", external, receiptCase{External: "p4", Reason: ExternalMismatch})
	v.add("by reference, with empty evidence", external, receiptCase{External: "empty", Reason: ExternalMismatch})
	v.add("evidence for an entry that is not by reference", full, receiptCase{External: "external", Reason: ExternalUnexpected})
	v.add("recorded, and not admitted", recorded, receiptCase{})
	wrong := w.filed(w.receipts[4], "wrong tag", func(r *Receipt) { r.Tag = det[entry.Hash]("another tag") })
	v.add("wrong tag", wrong, receiptCase{})
	v.add("wrong tag, stream key", wrong, receiptCase{Expect: &expect{StreamKey: "globex"}, Reason: TagMismatch})
}

// addMoved adds entries that an operator has filed where they hide, or that
// were taken from another log.
func (v *receiptVectors) addMoved(w *world) {
	hidden := w.filed(w.receipts[4], "skipped", func(r *Receipt) {
		r.Link.Seq, r.Link.Prev = 1_000_000, det[entry.Hash]("prev")
		r.Tag = w.keys["globex"].Tag(1_000_000)
	})
	v.add("seq 1,000,000 in a tree of 3", hidden, receiptCase{Reason: LinkSeq})
	v.add("seq 1,000,000 in a tree of 3, stream key", hidden, receiptCase{Expect: &expect{StreamKey: "globex"}, Reason: LinkSeq})
	v.add("seq equal to the index", w.filed(w.receipts[4], "next", func(r *Receipt) {
		r.Link.Seq, r.Link.Prev = 2, det[entry.Hash]("prev")
		r.Tag = w.keys["globex"].Tag(2)
	}), receiptCase{Expect: &expect{StreamKey: "globex"}})
	other, vkey := newSigner(w.t, "other.example", "log key")
	v.Policies["cross-log"] = FormatTrustPolicy(vkey)
	elsewhere := *w
	elsewhere.origin, elsewhere.signer = "other.example", other
	v.add("header-erased, moved under another log", elsewhere.receipt(4, 11, HeaderErased, false), receiptCase{Policies: []string{"cross-log"}, HeaderOnly: true, Reason: Inclusion})
	v.add("moved under another log", elsewhere.receipt(4, 11, Full, false), receiptCase{Policies: []string{"cross-log"}, Reason: Inclusion})
	v.add("names of numbers, which objects of some languages sort", w.filed(w.receipts[4], "numbers", func(r *Receipt) {
		r.Header.Content = bytes.Replace(r.Header.Content, []byte(`"submitter"`), []byte(`"attributes":{"b":"x","10":"y","2":"z","a":"1","toJSON":"t","__proto__":"p"},"submitter"`), 1)
		r.Header.Content = bytes.Replace(r.Header.Content, []byte(`"gitCommit":"abc"`), []byte(`"gitCommit":"abc","7":"x","1":"y"`), 1)
	}), receiptCase{})
	v.add("header of another origin, in the log", w.filed(w.receipts[4], "origin", func(r *Receipt) {
		r.Header.Content = bytes.Replace(r.Header.Content, []byte("ledger.example/demo"), []byte("ledger.example/demi"), 1)
	}), receiptCase{Reason: OriginMismatch})
}

// filed returns a changed entry as the last of three in the log.
func (w *world) filed(from *Receipt, label string, change func(*Receipt)) []byte {
	w.t.Helper()
	r, link, header := *from, *from.Link, *from.Header
	r.Link, r.Header = &link, &header
	r.Form = Full
	change(&r)
	leaf := entry.LeafData(r.Tag, entry.EntryHash(entry.HashOrigin(w.origin), entry.LinkHash(link.Salt, link.StreamID, link.Seq, link.Prev), r.Time, entry.HeaderHash(header.Salt, header.Content)))
	o := *w
	o.leaves = []entry.Hash{det[entry.Hash](label + " 0"), det[entry.Hash](label + " 1"), entry.LeafHash(leaf[:])}
	read, root := o.tree(3)
	path, err := tlog.ProveRecord(3, 2, read)
	if err != nil {
		w.t.Fatal(err)
	}
	signed, err := Checkpoint{Origin: w.origin, Size: 3, Root: entry.Hash(root)}.Sign(w.signer)
	if err != nil {
		w.t.Fatal(err)
	}
	p := Proof{Index: 2, Checkpoint: signed}
	for _, h := range path {
		p.Path = append(p.Path, entry.Hash(h))
	}
	r.Proof = p.AppendText(nil)
	out, err := r.AppendJSON(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// addMany adds proofs with many signatures.
func (v *receiptVectors) addMany(w *world) {
	full := w.receipt(4, 11, Full, false)
	r, err := Parse(full)
	if err != nil {
		w.t.Fatal(err)
	}
	_, checkpoint, _ := strings.Cut(string(r.Proof), "\n\n")
	unknown := func(n int) (lines []string) {
		for i := range n {
			lines = append(lines, fmt.Sprintf("— unknown-%d.example %s\n", i, base64.StdEncoding.EncodeToString([]byte("12345"))))
		}
		return lines
	}
	v.add("100 signature lines", w.cosigned(full, unknown(99)...), receiptCase{})
	v.add("101 signature lines", w.cosigned(full, unknown(100)...), receiptCase{Reason: ProofMalformed})
	ed, pq := "log "+w.vkey+"\n", newPQKey(w.t, w.origin, "post-quantum log key")
	pqText, lines := "log "+pq.vkey+"\n", []string{pq.cosignature(w.t, checkpoint, 1760000100)}
	group := "group all-of-them all"
	for i := range 32 {
		name := fmt.Sprintf("witness-%02d.example", i)
		line, vkey := edWitness(w.t, name, checkpoint)
		k := newPQKey(w.t, name, name)
		lines = append(lines, line, k.cosignature(w.t, checkpoint, 1760000100))
		ed += fmt.Sprintf("witness w%d %s\n", i, vkey)
		pqText += fmt.Sprintf("witness w%d %s\n", i, k.vkey)
		group += fmt.Sprintf(" w%d", i)
	}
	v.Policies["32"], v.Policies["32-pq"] = ed+group+"\nquorum all-of-them\n", pqText+group+"\nquorum all-of-them\n"
	many := w.cosigned(full, lines...)
	v.add("32 witnesses with keys of both families", many, receiptCase{Policies: []string{"32-pq"}})
	v.add("32 witnesses with keys of both families, one of them missing", w.cosigned(full, lines[:len(lines)-1]...), receiptCase{Policies: []string{"32-pq", "32"}})
}

func TestReceiptVectors(t *testing.T) {
	w := newWorld(t)
	_, otherKey := newSigner(t, w.origin, "another log key")
	_, otherOrigin := newSigner(t, "other.example", "log key")
	wkey := w.witness.Verifier().String()
	pqLog, pqWitness, pqOther := newPQKey(t, w.origin, "post-quantum log key"), newPQKey(t, "witness.example", "post-quantum witness key"), newPQKey(t, w.origin, "another post-quantum key")
	v := &receiptVectors{
		Policies: map[string]string{
			"log": FormatTrustPolicy(w.vkey), "other-key": FormatTrustPolicy(otherKey), "other-origin": FormatTrustPolicy(otherOrigin),
			"witnessed": "# comment\nlog " + w.vkey + "\nwitness w1 " + wkey + "\n\nquorum w1\n",
			"one-of":    "log\t" + w.vkey + " https://log.example/\nwitness w1 " + wkey + "\ngroup g any w1\nquorum g\n",
			"optional":  "log " + w.vkey + "\nwitness w1 " + wkey + "\nquorum none\n",
			"pq":        FormatTrustPolicy(pqLog.vkey), "pq-other": FormatTrustPolicy(pqOther.vkey),
			"pq-witnessed": "log " + pqLog.vkey + "\nwitness w1 " + pqWitness.vkey + " https://witness.example/\ngroup g all w1\nquorum g\n",
		},
		StreamKeys: map[string]string{}, Payloads: map[string]string{"empty": ""},
	}
	for name, k := range w.keys {
		v.StreamKeys[name] = string(k.File())
	}
	for i, p := range w.payloads {
		v.Payloads[fmt.Sprint("p", i)] = base64.StdEncoding.EncodeToString(p)
	}
	add := v.add
	full := w.receipt(4, 11, Full, false)
	add("full", full, receiptCase{})
	add("only entry of the log", w.receipt(0, 1, Full, false), receiptCase{})
	add("last entry", w.receipt(10, 11, Full, false), receiptCase{})
	add("full, with the same payload from elsewhere", full, receiptCase{Payload: "p4"})
	add("full, with another payload from elsewhere", full, receiptCase{Payload: "p5", Reason: PayloadDiffers})
	add("full, with an empty payload from elsewhere", full, receiptCase{Payload: "empty", Reason: PayloadDiffers})
	add("full, header only", full, receiptCase{HeaderOnly: true})
	add("detached with its payload", w.receipt(4, 11, Detached, false), receiptCase{Payload: "p4"})
	add("detached with another payload", w.receipt(4, 11, Detached, false), receiptCase{Payload: "p5", Reason: PayloadMismatch})
	add("detached without payload", w.receipt(4, 11, Detached, false), receiptCase{Reason: PayloadMissing})
	add("detached, header only", w.receipt(4, 11, Detached, false), receiptCase{HeaderOnly: true})
	add("shared", w.receipt(4, 11, Shared, false), receiptCase{})
	add("payload-erased, header only", w.receipt(4, 11, PayloadErased, false), receiptCase{HeaderOnly: true})
	add("payload-erased", w.receipt(4, 11, PayloadErased, false), receiptCase{Reason: PayloadIsErased})
	add("payload-erased with a payload", w.receipt(4, 11, PayloadErased, false), receiptCase{Payload: "p4", HeaderOnly: true, Reason: PayloadUnexpected})
	add("header-erased, header only", w.receipt(4, 11, HeaderErased, false), receiptCase{HeaderOnly: true})
	add("header-erased", w.receipt(4, 11, HeaderErased, false), receiptCase{Reason: PayloadIsErased})
	for i := range w.receipts {
		add(fmt.Sprintf("entry %d at size 11", i), w.receipt(i, 11, Full, false), receiptCase{})
		add(fmt.Sprintf("entry %d at size %d", i, i+1), w.receipt(i, i+1, Full, false), receiptCase{})
	}
	v.addExpectations(w)
	add("policy with another key", full, receiptCase{Policies: []string{"other-key"}, Reason: CheckpointUnsigned})
	add("policy with another origin", full, receiptCase{Policies: []string{"other-origin"}, Reason: CheckpointOrigin})
	add("one of two policies", full, receiptCase{Policies: []string{"other-key", "log"}})
	add("no policy", full, receiptCase{Policies: []string{}, Reason: PolicyMissing})
	add("two policies, the second gets further", full, receiptCase{Policies: []string{"other-origin", "witnessed"}, Reason: CheckpointQuorum})
	add("two policies, the first gets further", full, receiptCase{Policies: []string{"witnessed", "other-key"}, Reason: CheckpointQuorum})
	wit := w.receipt(4, 11, Full, true)
	add("witnessed, quorum asks for it", wit, receiptCase{Policies: []string{"witnessed"}})
	add("witnessed, by a group", wit, receiptCase{Policies: []string{"one-of"}})
	add("witnessed, witness not in the policy", wit, receiptCase{})
	add("witnessed, quorum none", wit, receiptCase{Policies: []string{"optional"}})
	add("not witnessed, quorum asks for it", full, receiptCase{Policies: []string{"witnessed"}, Reason: CheckpointQuorum})
	add("not witnessed, quorum none", full, receiptCase{Policies: []string{"optional"}})
	p, err := Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	const at = 1760000100
	proof := string(p.Proof)
	_, checkpoint, _ := strings.Cut(proof, "\n\n")
	later := strings.Replace(checkpoint, "\n11\n", "\n12\n", 1)
	logLine, witnessLine := pqLog.cosignature(t, checkpoint, at), pqWitness.cosignature(t, checkpoint, at)
	pq := w.cosigned(full, logLine, witnessLine)
	add("post-quantum", pq, receiptCase{Policies: []string{"pq"}})
	add("post-quantum, witnessed", pq, receiptCase{Policies: []string{"pq-witnessed"}})
	add("post-quantum, by the Ed25519 policy", pq, receiptCase{})
	add("post-quantum, not witnessed, quorum asks for it", w.cosigned(full, logLine), receiptCase{Policies: []string{"pq-witnessed"}, Reason: CheckpointQuorum})
	add("post-quantum, log has not cosigned", w.cosigned(full, witnessLine), receiptCase{Policies: []string{"pq-witnessed"}, Reason: CheckpointUnsigned})
	add("post-quantum, neither has cosigned, or the other policy", full, receiptCase{Policies: []string{"pq", "log"}})
	add("post-quantum, policy with another key", pq, receiptCase{Policies: []string{"pq-other"}, Reason: CheckpointUnsigned})
	add("post-quantum, cosignature of another size", w.cosigned(full, pqLog.cosignature(t, later, at)), receiptCase{Policies: []string{"pq"}, Reason: CheckpointSignature})
	add("post-quantum, time of the cosignature changed", w.cosigned(full, editSignature(t, logLine, func(b []byte) []byte { b[11]++; return b })), receiptCase{Policies: []string{"pq"}, Reason: CheckpointSignature})
	add("post-quantum, time of the cosignature above 2^63-1", w.cosigned(full, pqLog.cosignature(t, checkpoint, 1<<63)), receiptCase{Policies: []string{"pq"}, Reason: CheckpointSignature})
	add("post-quantum, cosignature cut short", w.cosigned(full, editSignature(t, logLine, func(b []byte) []byte { return b[:len(b)-1] })), receiptCase{Policies: []string{"pq"}, Reason: CheckpointSignature})

	edit := func(name string, reason Code, old, new string) {
		t.Helper()
		if bytes.Count(full, []byte(old)) == 0 {
			t.Fatalf("case %q: %q is not in the receipt", name, old)
		}
		add(name, bytes.Replace(full, []byte(old), []byte(new), 1), receiptCase{Reason: reason})
	}
	short := *w.receipts[4]
	short.Payload = &PayloadOpening{Salt: short.Payload.Salt, Content: []byte{}}
	add("full, with an empty payload that is not the one recorded", w.rebuild(short, 4, 11), receiptCase{Reason: PayloadMismatch})
	add("shared without its payload, header only", w.sharedDetached(4, 11), receiptCase{HeaderOnly: true})
	add("shared with its payload from elsewhere", w.sharedDetached(4, 11), receiptCase{Payload: "p4"})
	add("detached, header only, with another payload", w.receipt(4, 11, Detached, false), receiptCase{HeaderOnly: true, Payload: "p5", Reason: PayloadMismatch})
	zero := *w.receipts[4]
	zero.Link = &LinkOpening{Salt: zero.Link.Salt, StreamID: zero.Link.StreamID, Seq: zero.Link.Seq}
	add("prev zero though seq is not", w.rebuild(zero, 4, 11), receiptCase{Reason: LinkPrev})
	bad := bytes.Replace(wit, []byte("— witness.example "), []byte("— witness.example AAAA"), 1)
	add("witness line with another key hash", bad, receiptCase{})
	add("witness line with another key hash, quorum asks for it", bad, receiptCase{Policies: []string{"witnessed"}, Reason: CheckpointQuorum})
	edit("white space between members", "", `","tag"`, "\",\r\n\t \"tag\"")
	edit("escape in a member name", "", `"tag"`, "\"\\u0074ag\"")
	edit("another escape of the same header", "", `{\"origin\"`, "{\\u0022origin\\u0022")
	edit("mediaType of another version", ReceiptVersion, "receipt.v2", "receipt.v1")
	edit("mediaType empty", ReceiptVersion, MediaType, "")
	edit("mediaType of another version, and an unknown member", ReceiptVersion, `receipt.v2+json"`, `receipt.v1+json","extra":1`)
	edit("mediaType of another version, and a number with a fraction", ReceiptMalformed, `receipt.v2+json"`, `receipt.v1+json","extra":1.5`)
	edit("mediaType of another version, and a duplicate", ReceiptMalformed, `receipt.v2+json"`, `receipt.v1+json","mediaType":"x"`)
	edit("mediaType missing", ReceiptMalformed, `"mediaType":"`+MediaType+`",`, "")
	edit("form full renamed detached", ReceiptMalformed, `"form":"full"`, `"form":"detached"`)
	edit("form full renamed shared", ReceiptMalformed, `"form":"full"`, `"form":"shared"`)
	edit("unknown form", ReceiptMalformed, `"form":"full"`, `"form":"Full"`)
	edit("unknown member", ReceiptMalformed, `"time"`, `"extra":1,"time"`)
	edit("member in another case", ReceiptMalformed, `"time"`, `"Time"`)
	edit("null for an object", ReceiptMalformed, `"mediaType"`, `"link":null,"mediaType"`)
	edit("time changed", Inclusion, `"time":17600000`, `"time":17600001`)
	edit("time as a string", ReceiptMalformed, `"time":1760000004000`, `"time":"1760000004000"`)
	edit("time with an exponent", ReceiptMalformed, `"time":1760000004000`, `"time":1760000004e3`)
	edit("seq above the index", LinkSeq, `"seq":1`, `"seq":5`)
	edit("seq equal to the index, and not the one recorded", Inclusion, `"seq":1`, `"seq":4`)
	edit("seq changed", Inclusion, `"seq":1`, `"seq":2`)
	edit("seq 0 with prev", LinkPrev, `"seq":1`, `"seq":0`)
	edit("header changed", Inclusion, `attestation`, `attestatiom`)
	edit("header not JSON", HeaderMalformed, `{\"origin\"`, `{\"origin`)
	edit("header of another origin", Inclusion, `{\"origin\":\"ledger.example/demo`, `{\"origin\":\"ledger.example/demi`)
	edit("index changed", Inclusion, `index 4\n`, `index 5\n`)
	edit("index with leading zero", ProofMalformed, `index 4\n`, `index 04\n`)
	edit("index with sign", ProofMalformed, `index 4\n`, `index +4\n`)
	edit("index beyond the tree", Inclusion, `index 4\n`, `index 11\n`)
	edit("extra line in the proof", ProofMalformed, `index 4\n`, `extra AAAA\nindex 4\n`)
	edit("tree size changed", CheckpointSignature, `ledger.example/demo\n11\n`, `ledger.example/demo\n12\n`)
	edit("tree size with leading zero", ProofMalformed, `ledger.example/demo\n11\n`, `ledger.example/demo\n011\n`)
	edit("extension line", ProofMalformed, `\n\n— `, `\nextension\n\n— `)
	edit("signature of an unknown key beside it", "", `\n\n— `, `\n\n— other.example AAAAAAAAAA==\n— `)
	edit("signature of an unknown key, sloppy base64", ProofMalformed, `\n\n— `, `\n\n— other.example AAAAAAAAAB==\n— `)
	edit("no end of the last line", ProofMalformed, `=\n"}`, `="}`)
	edit("data after the object", ReceiptMalformed, "}\n", "}\n{}")
	lines := strings.Split(proof, "\n")
	edit("hash of the proof missing", Inclusion, lines[2]+`\n`, "")
	edit("hash of the proof doubled", Inclusion, lines[2]+`\n`, lines[2]+`\n`+lines[2]+`\n`)
	edit("hash of the proof too short", ProofMalformed, lines[2], "AAAA")
	edit("63 hashes", Inclusion, lines[2]+`\n`, strings.Repeat(lines[2]+`\n`, 60))
	edit("64 hashes", ProofMalformed, lines[2]+`\n`, strings.Repeat(lines[2]+`\n`, 61))
	edit("no signature line", ProofMalformed, lines[len(lines)-2]+`\n`, "")
	edit("signature line without a signature", ProofMalformed, `\n\n— `, `\n\n— other.example AAAAAA==\n— `)
	edit("S not less than the order of the group", CheckpointSignature, lines[len(lines)-2], addOrder(t, lines[len(lines)-2]))
	edit("signature line doubled", "", lines[len(lines)-2]+`\n`, lines[len(lines)-2]+`\n`+lines[len(lines)-2]+`\n`)
	edit("signature line by the log's key that does not verify", CheckpointSignature, lines[len(lines)-2][:60], lines[len(lines)-2][:59]+map[bool]string{true: "B", false: "A"}[lines[len(lines)-2][59] == 'A'])

	v.addMoved(w)
	v.addMany(w)
	v.finish(t)
	golden(t, "receipts.json", v)
}

// addOrder returns the line of an Ed25519 signature with the order of the group
// added to S. Without the check of S, that signature would verify as well.
func addOrder(t *testing.T, line string) string {
	t.Helper()
	at := strings.LastIndexByte(line, ' ') + 1
	sig, err := base64.StdEncoding.DecodeString(line[at:])
	if err != nil {
		t.Fatal(err)
	}
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := sig[len(sig)-32:]
	slices.Reverse(s) // S is little-endian
	new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(s)
	slices.Reverse(s)
	return line[:at] + base64.StdEncoding.EncodeToString(sig)
}
