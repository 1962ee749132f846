package sigstore

import (
	"runtime"
	"strings"
	"testing"
)

// A bundle with millions of empty values is refused before there are structs of
// them.
func TestManyValues(t *testing.T) {
	many := strings.Repeat("{},", 1<<20) + "{}"
	for name, document := range map[string]string{
		"log entries":          `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"tlogEntries":[` + many + `]}}`,
		"certificates":         `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.1+json","verificationMaterial":{"x509CertificateChain":{"certificates":[` + many + `]}}}`,
		"timestamps":           `{"verificationMaterial":{"timestampVerificationData":{"rfc3161Timestamps":[` + many + `]}}}`,
		"hashes of a proof":    `{"verificationMaterial":{"tlogEntries":[{"inclusionProof":{"hashes":[` + strings.Repeat(`"",`, 1<<20) + `""]}}]}}`,
		"signatures":           `{"dsseEnvelope":{"signatures":[` + many + `]}}`,
		"in spelling of proto": `{"verification_material":{"tlog_entries":[` + many + `]}}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(document))
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "more than 20000 values") {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(len(document))+8<<20 {
			t.Errorf("%s: %d bytes were allocated for %d", name, n, len(document))
		}
	}
}
