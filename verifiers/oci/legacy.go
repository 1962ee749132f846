package oci

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/sigstore"
)

// Annotations of layers under cosign's older tags. Together they have the same
// content as a bundle.
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationLogEntry    = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// toBundle converts an envelope or signature with cosign's annotations to a
// bundle, so that one verifier handles both. It uses version 0.1, which
// contains the certificate chain and the log's inclusion promise.
func toBundle(a *Attachment) ([]byte, error) {
	material := map[string]any{}
	if err := addKey(material, a.annotations); err != nil {
		return nil, err
	}
	if err := addLogEntry(material, a.annotations); err != nil {
		return nil, err
	}
	if err := addTimestamp(material, a.annotations); err != nil {
		return nil, err
	}
	bundle := map[string]any{"mediaType": sigstore.MediaTypePrefix + "+json;version=0.1", "verificationMaterial": material}
	if a.MediaType == dsse.MediaType {
		bundle["dsseEnvelope"] = json.RawMessage(a.Data)
		return json.Marshal(bundle)
	}
	sig := a.annotations[annotationSignature]
	if sig == "" {
		return nil, fmt.Errorf("the annotation %s is missing", annotationSignature)
	}
	digest := sha256.Sum256(a.Data)
	bundle["messageSignature"] = map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": digest[:]}, "signature": sig}
	return json.Marshal(bundle)
}

func addKey(material map[string]any, annotations map[string]string) error {
	text := annotations[annotationCertificate]
	if text == "" {
		material["publicKey"] = map[string]any{"hint": ""}
		return nil
	}
	var certificates []map[string]any
	for _, name := range []string{annotationCertificate, annotationChain} {
		if annotations[name] == "" {
			continue
		}
		chain, err := pemfile.Certificates([]byte(annotations[name]))
		if err != nil {
			return fmt.Errorf("the annotation %s: %w", name, err)
		}
		for _, c := range chain {
			certificates = append(certificates, map[string]any{"rawBytes": c.Raw})
		}
	}
	material["x509CertificateChain"] = map[string]any{"certificates": certificates}
	return nil
}

// addLogEntry adds the entry of a Rekor v1 log, in cosign's form.
func addLogEntry(material map[string]any, annotations map[string]string) error {
	text := annotations[annotationLogEntry]
	if text == "" {
		return nil
	}
	var entry struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(text), &entry); err != nil {
		return fmt.Errorf("the annotation %s: %w", annotationLogEntry, plain.DecodeError(err))
	}
	id, err := hex.DecodeString(entry.Payload.LogID)
	if err != nil {
		return fmt.Errorf("the annotation %s: logID: %w", annotationLogEntry, plain.DecodeError(err))
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(entry.Payload.Body, &kind); err != nil {
		return fmt.Errorf("the annotation %s: body: %w", annotationLogEntry, plain.DecodeError(err))
	}
	material["tlogEntries"] = []any{map[string]any{
		"logIndex":          strconv.FormatInt(entry.Payload.LogIndex, 10),
		"logId":             map[string]any{"keyId": id},
		"kindVersion":       map[string]any{"kind": kind.Kind, "version": kind.APIVersion},
		"integratedTime":    strconv.FormatInt(entry.Payload.IntegratedTime, 10),
		"inclusionPromise":  map[string]any{"signedEntryTimestamp": entry.SignedEntryTimestamp},
		"canonicalizedBody": entry.Payload.Body,
	}}
	return nil
}

func addTimestamp(material map[string]any, annotations map[string]string) error {
	text := annotations[annotationTimestamp]
	if text == "" {
		return nil
	}
	var timestamp struct{ SignedRFC3161Timestamp []byte }
	if err := json.Unmarshal([]byte(text), &timestamp); err != nil {
		return fmt.Errorf("the annotation %s: %w", annotationTimestamp, plain.DecodeError(err))
	}
	material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": base64.StdEncoding.EncodeToString(timestamp.SignedRFC3161Timestamp)}}}
	return nil
}

// checkSimpleSigning returns an error unless the signed document names the
// artifact
// (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md#simple-signing).
func checkSimpleSigning(payload []byte, digest string) error {
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return fmt.Errorf("the signed document does not have the simple signing format: %w", plain.DecodeError(err))
	}
	if p.Critical.Type != "cosign container image signature" && p.Critical.Type != "https://sigstore.dev/cosign/sign/v1" {
		return errors.New("the signed document is not an image signature")
	}
	if p.Critical.Image.Digest != digest {
		return fmt.Errorf("the signed document is about %q", p.Critical.Image.Digest)
	}
	return nil
}
