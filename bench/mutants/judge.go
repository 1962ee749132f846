package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing/fstest"

	"encoding/json"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/sigstore"
)

// judged returns a verdict and its code.
func judged(code string, isVerdict bool) string {
	if isVerdict {
		return "refused " + code
	}
	return "not-checked " + code
}

// verifiedAs returns the verdict on an input with the report.
func verifiedAs(report any) string {
	text, err := json.Marshal(report)
	if err != nil {
		panic(err) // impossible: reports are JSON
	}
	h := sha256.New()
	leaves(h.Write, "", unmarshal(text))
	return "verified " + hex.EncodeToString(h.Sum(nil))
}

// leaves writes a line for each leaf of a value, as docs/spec/receipt.md,
// section 6, specifies.
func leaves(write func([]byte) (int, error), path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			leaves(write, path+"."+name, v[name])
		}
	case []any:
		_, _ = write(fmt.Appendf(nil, "%s#%d\n", path, len(v))) // hashes do not fail
		for i, element := range v {
			leaves(write, path+"["+strconv.Itoa(i)+"]", element)
		}
	default:
		_, _ = write(fmt.Appendf(nil, "%s=%v\n", path, v))
	}
}

// policiesOf parses policies, whose names are their numbers, and then a stream
// key. It returns the code of the first that is malformed.
func policiesOf(texts [][]byte, file *[]byte) (all []*receipt.TrustPolicy, key *entry.StreamKey, code string) {
	for i, text := range texts {
		p, err := receipt.ParseTrustPolicy(strconv.Itoa(i), text)
		if err != nil {
			return nil, nil, string(receipt.PolicyMalformed)
		}
		all = append(all, p)
	}
	if file != nil {
		var err error
		if key, err = receipt.ParseStreamKey(*file); err != nil {
			return nil, nil, string(receipt.StreamKeyMalformed)
		}
	}
	return all, key, ""
}

func (in *evidence) verdict() string {
	policies, key, code := policiesOf(in.Policies, in.StreamKey)
	if code != "" {
		return judged(code, false)
	}
	o := bundle.Options{StreamKey: key}
	if in.Expect != nil {
		o.Identity, o.Tenant = in.Expect.Identity, in.Expect.Tenant
	}
	b, r, err := bundle.Verify(context.Background(), bytes.NewReader(in.Bundle), int64(len(in.Bundle)), policies, o)
	var e *bundle.Error
	if errors.As(err, &e) {
		return judged(string(e.Code), e.Step > 0)
	}
	if err != nil {
		panic(err) // impossible: every error is an *Error
	}
	return verifiedAs(map[string]any{"identity": r.Identity, "origin": r.Origin, "tenant": r.Tenant, "size": r.Size, "root": r.Root.String(), "time": r.Time, "streamId": b.Manifest.Stream.ID.String(), "entries": r.Entries, "last": b.Manifest.Stream.Last.String(),
		"included": r.Included, "omitted": r.Omitted, "erased": len(r.Erased), "complete": r.Complete, "signers": r.Signers, "policy": r.Policy, "witnessed": r.Witnessed})
}

func (in *exported) verdict() string {
	policies, key, code := policiesOf(in.Policies, in.StreamKey)
	if code != "" {
		return judged(code, false)
	}
	o := export.Options{Policies: policies, StreamKey: key}
	for _, text := range in.Keys {
		k, err := sigstore.ParsePublicKey("", text)
		if err != nil {
			return judged("key-malformed", false)
		}
		o.Keys = append(o.Keys, k)
	}
	if in.Files != nil {
		files := fstest.MapFS{}
		for name, content := range in.Files {
			files[name] = &fstest.MapFile{Data: content, Mode: 0o644}
		}
		o.Files = files
	}
	if in.Receipt != nil {
		o.Receipt = *in.Receipt
	}
	if in.Stream != nil {
		o.Stream, o.StreamSize = bytes.NewReader(*in.Stream), int64(len(*in.Stream))
	}
	if in.Expect != nil {
		o.Tenant, o.Export = in.Expect.Tenant, in.Expect.Export
	}
	r, err := in.verify(o)
	var e *export.Error
	if errors.As(err, &e) {
		return judged(string(e.Code), e.Step > 0)
	}
	if err != nil {
		panic(err) // impossible: every error is an *Error
	}
	return verifiedAs(r)
}

func (in *exported) verify(o export.Options) (*export.Report, error) {
	if in.Requirements != nil {
		parsed, err := export.ReadRequirements(*in.Requirements)
		if err != nil {
			return nil, err
		}
		o.Licenses, o.Residency, o.Epsilon = parsed.Licenses, parsed.Residency, parsed.Epsilon
	}
	return export.Verify(context.Background(), in.Manifest, o)
}

func (in *signed) verdict() string {
	v, err := in.verify()
	var refusal *sigstore.Refusal
	if errors.As(err, &refusal) {
		return judged(string(refusal.Code), !refusal.NotChecked())
	}
	if err != nil {
		panic(err) // impossible: every error is a *Refusal
	}
	sum := sha256.Sum256(v.Payload)
	return verifiedAs(map[string]any{"identity": v.Signer.Identity, "issuer": v.Signer.Issuer, "keyId": v.Signer.KeyID, "payloadType": v.PayloadType, "payloadSha256": hex.EncodeToString(sum[:])})
}

func (in *signed) verify() (*sigstore.Verified, error) {
	var identities []sigstore.Identity
	for _, id := range in.Identities {
		identities = append(identities, sigstore.Identity{Name: id.Name, Issuer: id.Issuer})
	}
	trust, err := sigstore.NewTrust(in.Roots, identities, in.Keys)
	if err != nil {
		return nil, err
	}
	var artifact *sigstore.Artifact
	switch {
	case in.Artifact != nil:
		artifact, err = sigstore.ReadArtifact(bytes.NewReader(*in.Artifact))
	case in.ArtifactDigest != "":
		artifact, err = sigstore.ArtifactDigest("sha256:" + in.ArtifactDigest)
	}
	if err != nil {
		return nil, err
	}
	return trust.Verify(in.Bundle, artifact)
}
