package ingest

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/external"
	"muniment.dev/muniment/verifiers/intoto"
)

// denyStatements denies statements of one predicate type and admits all other
// evidence.
const denyStatements = `
version: 1
mode: enforce
rules:
  - name: no builds
    deny: true
    predicate_types: ["https://slsa.dev/provenance/*"]
  - name: everything
    unsigned: true
`

const build = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"` +
	`aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":` +
	`{"buildDefinition":{"buildType":"https://x/y","externalParameters":{}},"runDetails":{"builder":{"id":"https://x/b"}}}}`

func sealed(payloadType, payload string) string {
	return fmt.Sprintf(`{"payloadType":%q,"payload":%q,"signatures":[{"sig":"AAAA"}]}`, payloadType, base64.StdEncoding.EncodeToString([]byte(payload)))
}

// TestHiddenStatements checks that no media type, spelling or wrapping hides a
// statement from a rule that denies it.
func TestHiddenStatements(t *testing.T) {
	soak.WithoutRace(t)
	in, who := withAdmission(t, AdmissionConfig{})
	in.MaxStream = 1 << 30
	if _, err := in.Admission.SetPolicy(context.Background(), who, []byte(denyStatements), "for the test"); err != nil {
		t.Fatal(err)
	}
	utf16le := []byte{0xFF, 0xFE}
	for _, u := range utf16.Encode([]rune(build)) {
		utf16le = append(utf16le, byte(u), byte(u>>8))
	}
	var utf32be []byte
	for _, r := range build {
		utf32be = binary.BigEndian.AppendUint32(utf32be, uint32(r))
	}
	documents := map[string]string{
		"statement in UTF-32":          string(utf32be),
		"statement":                    build,
		"statement v0.1":               strings.Replace(build, "/v1\",\"subject", "/v0.1\",\"subject", 1),
		"statement of no version":      strings.Replace(build, "Statement/v1", "Statement/v9", 1),
		"statement after a mark":       "\ufeff" + build,
		"statement in UTF-16":          string(utf16le),
		"a member twice":               `{"x":1,"x":2,` + build[1:],
		"the type twice":               `{"_type":"x",` + build[1:],
		"half a pair":                  `{"x":"\udce9",` + build[1:],
		"escaped":                      strings.Replace(build, "_type", `_typ\u0065`, 1),
		"envelope":                     sealed(intoto.MediaType, build),
		"envelope, other type":         sealed("application/json", build),
		"envelope, other case":         sealed("Application/vnd.in-toto+JSON", build),
		"envelope, parameter":          sealed(intoto.MediaType+"; charset=utf-8", build),
		"envelope in an envelope":      sealed(dsse.MediaType, sealed(intoto.MediaType, build)),
		"envelope, a member twice":     sealed(intoto.MediaType, `{"x":1,"x":2,`+build[1:]),
		"envelope, type twice":         sealed(intoto.MediaType, strings.Replace(build, `"predicateType":`, `"predicateType":"https://example.com/harmless","predicateType":`, 1)),
		"envelope, subject twice":      sealed(intoto.MediaType, strings.Replace(build, `"subject":`, `"subject":[],"subject":`, 1)),
		"envelope, not JSON":           sealed(intoto.MediaType, "{"+build),
		"envelope, cut":                sealed(intoto.MediaType, build[:len(build)-1]),
		"envelope, UTF-16":             sealed(intoto.MediaType, string(utf16le)),
		"envelope, UTF-16, other type": sealed("application/json", string(utf16le)),
		"envelope, not UTF-8":          sealed(intoto.MediaType, strings.Replace(build, `"name":"a"`, "\"name\":\"\xff\"", 1)),
		"envelope, snake case":         strings.Replace(sealed(intoto.MediaType, build), "payloadType", "payload_type", 1),
		"envelope, capitals":           strings.Replace(sealed(intoto.MediaType, build), "payloadType", "PayloadType", 1),
		"envelope and a statement":     `{"payloadType":"x","payload":"e30=","signatures":[{"sig":"AAAA"}],` + build[1:],
	}
	for what, document := range documents {
		for _, mediaType := range []string{"", "application/json", "Application/JSON; charset=utf-8", "application/spdx+json", "text/plain", "text/plain;charset=UTF-8", "application/octet-stream",
			intoto.MediaType, strings.ToUpper(intoto.MediaType), dsse.MediaType, "application/vnd.dev.sigstore.bundle.v0.3+json", external.MediaType} {
			r := appendOne(t, in, who, Submission{Kind: "attestation", MediaType: mediaType, Payload: []byte(document)})
			var field *FieldError
			var refusal *Refusal
			if !errors.As(r.Err, &field) && !errors.As(r.Err, &refusal) {
				t.Errorf("%s as %q: %v", what, mediaType, r.Err)
			}
		}
	}
	// The same with enough padding that it is not parsed.
	for _, mediaType := range []string{"application/json", "text/plain"} {
		payload := io.MultiReader(strings.NewReader(build[:len(build)-1]), spaces(maxParsed), strings.NewReader("}"))
		_, err := in.AppendStream(context.Background(), who, &Stream{Kind: "attestation", MediaType: mediaType, Payload: payload})
		if err == nil || !strings.Contains(err.Error(), "bytes for "+intoto.MediaType) {
			t.Errorf("with padding, as %s: %v", mediaType, err)
		}
	}
}

// TestClaimedTypes checks that the content of a document determines its format,
// and that other documents keep their claimed type.
func TestClaimedTypes(t *testing.T) {
	for _, c := range []struct{ claimed, document, want string }{
		{"application/json", build, intoto.MediaType},
		{"text/plain", sealed(intoto.MediaType, build), dsse.MediaType},
		{"application/json", `{"_type":"https://acme.example/other"}`, "application/json"},
		{"Application/JSON", `{"payload":"x","signatures":[]}`, "application/json"},
		{"text/plain", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nsums\n-----BEGIN PGP SIGNATURE-----\n", "text/plain"},
		{"application/octet-stream", "\xd2\x84\x40", "application/octet-stream"},
		// begins like JSON in UTF-16
		{"application/octet-stream", "{\x00\"\x00\x17\x92", "application/octet-stream"},
		{"application/pdf", "\x00{\x00}\x17\x92", "application/pdf"},
		// JSON in UTF-16, but no evidence
		{"text/plain", "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00", "text/plain"},
	} {
		got, err := readAttestation(c.claimed, []byte(c.document), exampleTime)
		if err != nil || got.mediaType != c.want {
			t.Errorf("%s as %s: %q, %v", c.document, c.claimed, got.mediaType, err)
		}
	}
}
