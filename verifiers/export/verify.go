package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Options are the inputs of a verification besides the manifest.
type Options struct {
	Keys        []*dsse.Key
	Identities  []Identity
	TrustedRoot *sigstore.TrustedRoot // for identities
	// Need are the requirements for certificates. The zero value is
	// sigstore.ForCertificates.
	Need sigstore.Requirements
	// Trust verifies certificates instead of Identities and TrustedRoot, by the
	// steps of docs/spec/sigstore-verification.md, which all SDKs perform. nil:
	// none. It must have identities.
	Trust *sigstore.Trust

	Files fs.FS // the folder of the export; nil: the files are not checked

	Receipt   []byte // nil: none
	Policies  []*receipt.TrustPolicy
	StreamKey *entry.StreamKey // nil: none

	Stream     io.ReaderAt // an evidence bundle; nil: none
	StreamSize int64       // bytes

	Tenant *string // expected; nil: any
	Export *string // expected export ID; nil: any

	Licenses  *AllowList          // nil: licences are not decided
	Residency *Use                // nil: no requirement
	Epsilon   *EpsilonRequirement // nil: no requirement

	// Progress is called with the work done. It can be nil.
	Progress func(done, total uint64)
}

// An Identity is that of a certificate. Both parts are compared exactly.
type Identity struct {
	Identity string // subject alternative name
	Issuer   string // OIDC issuer
}

// An EpsilonRequirement limits what is spent of a budget.
type EpsilonRequirement struct {
	Budget  string // "": any
	Epsilon Decimal
	Delta   Decimal
}

// check checks the inputs of the caller, in the order of
// docs/spec/export-manifest.md, section 7.
func (o *Options) check() error {
	for _, k := range o.Keys {
		if err := sigstore.CheckKey(k); err != nil {
			return callerError(TrustMissing, "%s: %w: use Ed25519, ECDSA on P-256, P-384 or P-521, or RSA of 2048, 3072 or 4096 bits", k, err)
		}
	}
	badIdentity := slices.ContainsFunc(o.Identities, func(id Identity) bool { return id.Identity == "" || id.Issuer == "" })
	switch {
	case len(o.Keys) == 0 && len(o.Identities) == 0 && o.Trust == nil:
		return callerError(TrustMissing, "no public key and no identity was given: anybody can sign a manifest")
	case badIdentity:
		return callerError(TrustMissing, "an identity requires its issuer, and an issuer its identity")
	case len(o.Identities) > 0 && o.TrustedRoot == nil:
		return callerError(TrustMissing, "identities require a trusted root")
	case o.Receipt != nil && len(o.Policies) == 0:
		return callerError(PolicyMissing, "a receipt requires a trust policy")
	case o.Stream != nil && o.Receipt == nil:
		return callerError(ReceiptMissing, "a stream requires the receipt of the manifest")
	case o.Stream != nil && o.StreamKey == nil:
		return callerError(StreamKeyMissing, "a stream requires the stream key: without it, entries could be missing")
	case o.Tenant != nil && *o.Tenant == "":
		return callerError(ExpectationMalformed, "the expected tenant is empty")
	case o.Export != nil && *o.Export == "":
		return callerError(ExpectationMalformed, "the expected export is empty")
	}
	if o.Residency != nil {
		if err := o.Residency.check(); err != nil {
			return callerError(RequirementMalformed, "residency: %w", err)
		}
	}
	if e := o.Epsilon; e != nil && (e.Epsilon.units == nil || e.Delta.units == nil || !e.Delta.IsDelta()) {
		return callerError(RequirementMalformed, "epsilon: delta must be greater than 0 and less than 1")
	}
	if len(o.Receipt) > MaxReceipt {
		return callerError(Unreadable, "the receipt has more than %d bytes", MaxReceipt)
	}
	return nil
}

// check returns an error unless the tables have all codes.
func (u *Use) check() error {
	for _, list := range [][]Geography{u.StorageAllowed, u.StorageForbidden, u.ProcessingIncluded, u.ProcessingExcluded} {
		for _, g := range list {
			if err := places().check(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// Verify verifies the file of a manifest, as docs/spec/export-manifest.md,
// section 7, specifies. Every error is an *Error, or that of the context.
func Verify(ctx context.Context, file []byte, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	v := &verification{o: &o, file: file}
	for step, perform := range v.steps() {
		if perform == nil {
			continue
		}
		if err := perform(ctx); err != nil {
			return nil, at(step, err)
		}
	}
	return v.finish(), nil
}

// A verification is the progress of Verify.
type verification struct {
	o    *Options
	file []byte

	envelope *envelope
	manifest *Manifest
	signers  []entry.Signer
	receipt  *receipt.Statement // nil: none was given
	stream   *StreamFacts       // nil: none was given
	done     uint64             // bytes of files
}

func (v *verification) steps() []func(context.Context) error {
	return []func(context.Context) error{
		stepEnvelope:    v.parse,
		stepSignature:   v.signature,
		stepStatement:   v.statement,
		stepExpectation: v.expectations,
		stepResidency:   v.residency,
		stepLicences:    v.licences,
		stepPrivacy:     v.privacy,
		stepFiles:       v.files,
		stepReceipt:     v.verifyReceipt,
		stepStream:      v.verifyStream,
	}
}

func (v *verification) parse(context.Context) (err error) {
	v.envelope, err = parseEnvelope(v.file)
	return err
}

// signature performs step 2.
func (v *verification) signature(context.Context) error {
	var failed error
	if len(v.o.Keys) > 0 {
		failed = fmt.Errorf("none of the %d keys given signed it, or it was changed since", len(v.o.Keys))
	}
	for _, k := range v.o.Keys {
		s := entry.Signer{KeyID: k.ID}
		signed := func(sig []byte) bool {
			return sigstore.SignedEnvelope(k, v.envelope.payloadType, v.envelope.payload, sig)
		}
		if !v.isSigner(s) && slices.ContainsFunc(v.envelope.signatures, signed) {
			v.signers = append(v.signers, s)
		}
	}
	if len(v.o.Identities) > 0 || v.o.Trust != nil {
		s, err := v.certificate()
		if err == nil {
			v.signers = append(v.signers, s)
		} else if failed == nil || v.envelope.bundle {
			failed = err
		}
	}
	if len(v.signers) == 0 {
		return fail(SignatureUnverified, "%w", failed)
	}
	return nil
}

// certificate verifies the bundle with the trusted root, and returns its
// identity if it is one of those that are accepted.
func (v *verification) certificate() (entry.Signer, error) {
	if !v.envelope.bundle {
		return entry.Signer{}, errors.New("the manifest is an envelope without a certificate")
	}
	if v.o.Trust != nil {
		r, err := v.o.Trust.Verify(v.file, nil)
		if err == nil {
			err = v.sameContent(r)
		}
		if err != nil {
			return entry.Signer{}, err
		}
		return r.Signer, nil
	}
	b, err := sigstore.Parse(v.file)
	if err != nil {
		return entry.Signer{}, err
	}
	need := v.o.Need
	if need == (sigstore.Requirements{}) {
		need = sigstore.ForCertificates
	}
	verifier, err := sigstore.NewCertificateVerifier(v.o.TrustedRoot, need)
	if err != nil {
		return entry.Signer{}, err
	}
	r, err := verifier.Verify(b, nil)
	if err != nil {
		return entry.Signer{}, err
	}
	if err := v.sameContent(r); err != nil {
		return entry.Signer{}, err
	}
	for _, id := range v.o.Identities {
		if err = (sigstore.Identity{Name: id.Identity, Issuer: id.Issuer}).Check(r.Signer); err == nil {
			return r.Signer, nil
		}
	}
	return entry.Signer{}, err
}

// sameContent returns an error unless the bundle's content is that of the
// envelope.
func (v *verification) sameContent(r *sigstore.Verified) error {
	if string(r.Payload) != string(v.envelope.payload) || r.PayloadType != v.envelope.payloadType {
		return errors.New("the bundle can be read in two ways")
	}
	return nil
}

func (v *verification) statement(context.Context) (err error) {
	v.manifest, err = parseStatement(v.envelope.payload)
	return err
}

// expectations performs step 4.
func (v *verification) expectations(context.Context) error {
	if want := v.o.Tenant; want != nil && *want != v.manifest.Tenant {
		return fail(TenantMismatch, "its tenant is %q, want %q", v.manifest.Tenant, *want)
	}
	if want := v.o.Export; want != nil && *want != v.manifest.ExportID {
		return fail(ExportMismatch, "its export is %q, want %q", v.manifest.ExportID, *want)
	}
	return nil
}

func (v *verification) isSigner(s entry.Signer) bool { return slices.Contains(v.signers, s) }

// licences performs step 6.
func (v *verification) licences(context.Context) error {
	var all []*expression
	for text := range v.manifest.expressions() {
		e, err := parseExpression(text)
		if err != nil {
			return err
		}
		all = append(all, e)
	}
	for _, e := range all {
		if err := e.known(); err != nil {
			return err
		}
	}
	if v.o.Licenses == nil {
		return nil
	}
	i := 0
	for text := range v.manifest.expressions() {
		if !all[i].allowed(v.o.Licenses.allowed) {
			return fail(LicenseNotAllowed, "licence %q is not allowed", text)
		}
		i++
	}
	return nil
}

// verifyReceipt performs step 9.
func (v *verification) verifyReceipt(context.Context) (err error) {
	if v.o.Receipt == nil {
		return nil
	}
	kind, predicateType := kindname.ExportManifest, PredicateType
	v.receipt, err = receipt.Verify(v.o.Receipt, v.o.Policies, receipt.Options{Payload: v.file, Tenant: &v.manifest.Tenant, Kind: &kind, PredicateType: &predicateType, StreamKey: v.o.StreamKey})
	return err
}

// digest returns the digest of the file.
func (v *verification) digest() entry.Hash { return sha256.Sum256(v.file) }
