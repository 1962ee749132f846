package oci

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A keyless attestation with an entry in Rekor v1, as cosign's older tags hold
// it: taken from a published bundle, whose parts are put into the annotations
// that cosign would have written.
func TestKeylessUnderCosignTag(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "examples/bundle-provenance.json"))
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		Material struct {
			Chain struct {
				Certificates []struct {
					RawBytes []byte `json:"rawBytes"`
				} `json:"certificates"`
			} `json:"x509CertificateChain"`
			Entries []struct {
				LogIndex string `json:"logIndex"`
				LogID    struct {
					KeyID []byte `json:"keyId"`
				} `json:"logId"`
				IntegratedTime string `json:"integratedTime"`
				Promise        struct {
					SET []byte `json:"signedEntryTimestamp"`
				} `json:"inclusionPromise"`
				Body []byte `json:"canonicalizedBody"`
			} `json:"tlogEntries"`
		} `json:"verificationMaterial"`
		Envelope json.RawMessage `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	e := b.Material.Entries[0]
	index, _ := strconv.ParseInt(e.LogIndex, 10, 64)
	integrated, _ := strconv.ParseInt(e.IntegratedTime, 10, 64)
	entry, err := json.Marshal(map[string]any{"SignedEntryTimestamp": e.Promise.SET, "Payload": map[string]any{"body": e.Body, "integratedTime": integrated, "logIndex": index, "logID": hex.EncodeToString(e.LogID.KeyID)}})
	if err != nil {
		t.Fatal(err)
	}
	var certificate, chain []byte
	for i, c := range b.Material.Chain.Certificates {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.RawBytes})
		if i == 0 {
			certificate = text
		} else {
			chain = append(chain, text...)
		}
	}
	layer := func(change func(map[string]string)) *Attachment {
		a := map[string]string{annotationSignature: "", annotationCertificate: string(certificate), annotationChain: string(chain), annotationLogEntry: string(entry)}
		if change != nil {
			change(a)
		}
		return &Attachment{MediaType: dsse.MediaType, Data: b.Envelope, annotations: a}
	}
	root, err := sigstore.ParseTrustedRoot(sigstore.PublicGoodJSON())
	if err != nil {
		t.Fatal(err)
	}
	v, err := sigstore.NewCertificateVerifier(root, sigstore.ForCertificates)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(a *Attachment) error {
		bundle, err := toBundle(a)
		if err != nil {
			return err
		}
		parsed, err := sigstore.Parse(bundle)
		if err != nil {
			return err
		}
		verified, err := v.Verify(parsed, nil)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(verified.Signer.Identity, "https://github.com/sigstore/sigstore-js/") {
			t.Errorf("signer %+v", verified.Signer)
		}
		return nil
	}
	if err := verify(layer(nil)); err != nil {
		t.Errorf("as it was published: %v", err)
	}
	for name, change := range map[string]func(map[string]string){
		"without its log entry": func(a map[string]string) { delete(a, annotationLogEntry) },
		"with a later time": func(a map[string]string) {
			a[annotationLogEntry] = strings.Replace(a[annotationLogEntry], e.IntegratedTime, e.IntegratedTime[:9]+"0", 1)
		},
		"with a broken entry": func(a map[string]string) { a[annotationLogEntry] = "{" },
		"with another log": func(a map[string]string) {
			a[annotationLogEntry] = strings.Replace(a[annotationLogEntry], `"logID":"`, `"logID":"00`, 1)
		},
		"with a log that is no hex": func(a map[string]string) {
			a[annotationLogEntry] = strings.Replace(a[annotationLogEntry], `"logID":"`, `"logID":"x`, 1)
		},
		"without a certificate":     func(a map[string]string) { delete(a, annotationCertificate) },
		"with a broken certificate": func(a map[string]string) { a[annotationCertificate] = "x"; delete(a, annotationChain) },
		"with a broken timestamp":   func(a map[string]string) { a[annotationTimestamp] = "x" },
	} {
		if err := verify(layer(change)); err == nil {
			t.Errorf("%s it is verified", name)
		}
	}
}
