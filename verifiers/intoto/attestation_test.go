package intoto

import (
	"fmt"
	"strings"
	"testing"
)

// TestAttestationPredicates checks documents that conform to the definitions of
// the attestation framework, and the same with one member changed.
func TestAttestationPredicates(t *testing.T) {
	const (
		descriptor = `{"uri":"https://example.com/x","digest":{"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}`
		scanned    = `"metadata":{"scanStartedOn":"2021-08-06T17:45:50.52Z","scanFinishedOn":"2021-08-06T17:50:50.52Z"}`
		db         = `"db":{"uri":"pkg:github/aquasecurity/trivy-db","version":"v1","lastUpdate":"2021-08-06T17:45:50.52Z"}`
	)
	for _, c := range []struct {
		predicateType string
		category      Category
		good          string
		old, changed  string // what of the good one is replaced
		says          string // the deviation then
	}{
		{SLSAProvenanceV01, BuiltBy, `{"builder":{"id":"https://example.com/b"},"recipe":{"type":"https://example.com/make","definedInMaterial":0,"entryPoint":"all","arguments":{}},"metadata":{"buildFinishedOn":"2021-08-06T17:45:50Z","completeness":{"arguments":true},"reproducible":false},"materials":[` + descriptor + `]}`,
			`"type":"https://example.com/make",`, ``, "predicate.recipe.type: missing"},
		{SLSAProvenanceV01, BuiltBy, `{"builder":{"id":"https://example.com/b"}}`, `https://example.com/b`, `b`, "predicate.builder.id"},
		{SVR, VerifiedBy, `{"verifier":{"id":"https://example.com/v","policy":{}},"timeCreated":"2021-08-06T17:45:50Z","properties":["FEDRAMP_HIGH"]}`, `"FEDRAMP_HIGH"`, `7`, "predicate.properties[0]"},
		{SVR, VerifiedBy, `{"verifier":{"id":"https://example.com/v"},"timeCreated":"2021-08-06T17:45:50Z","properties":[]}`, `"timeCreated":"2021-08-06T17:45:50Z",`, ``, "predicate.timeCreated: missing"},
		{Deployment, VerifiedBy, `{"creationTime":"2021-08-06T17:45:50Z","decisionDetails":{"policy":[` + descriptor + `]},"scopes":{"https://example.com/environment/v1":"production"}}`, `"scopes":{"https://example.com/environment/v1":"production"}`, `"scopes":7`, "predicate.scopes"},
		{SCAI, AttestedBy, `{"attributes":[{"attribute":"WITH_STACK_PROTECTION","target":` + descriptor + `,"conditions":{"flags":"-fstack-protector"},"evidence":` + descriptor + `}],"producer":` + descriptor + `}`, `"attribute":`, `"attributes":`, "predicate.attributes[0].attribute: missing"},
		{Reference, AttestedBy, `{"attester":{"id":"https://example.com/a"},"references":[` + descriptor + `]}`, `"references"`, `"reference"`, "predicate.references: missing"},
		{ReleaseV01, AttestedBy, `{"purl":"pkg:npm/@angular/http@7.2.16","packageId":"1234567890"}`, `pkg:`, `npm:`, "predicate.purl"},
		{ReleaseV02, AttestedBy, `{"purl":"pkg:npm/@angular/http@7.2.16"}`, `"purl"`, `"url"`, "predicate.purl: missing"},
		{RuntimeTrace, AttestedBy, `{"monitor":{"type":"https://github.com/cilium/tetragon/v0.8.4","configSource":{},"tracePolicy":{"policies":[]}},"monitoredProcess":{"hostID":"https://tekton.dev/chains/v2","type":"https://tekton.dev/attestations/chains@v2","event":"build"},"monitorLog":{"process":[{}]},"metadata":{"buildStartedOn":"2022-10-13T22:55:50Z"}}`, `"event":"build"`, `"event":""`, "predicate.monitoredProcess.event: empty"},
		{VulnsV01, ScannedBy, `{"scanner":{"uri":"pkg:github/aquasecurity/trivy@1","version":"0.19.2",` + db + `,"result":[{"vulnerability":{"id":"CVE-123","severity":{"method":"nvd","score":"medium"}}},{"id":"CVE-124","severity":[]}]},` + scanned + `}`, `"score":"medium"`, `"score":5.2`, "predicate.scanner.result[0].vulnerability.severity.score"},
		{VulnsV02, ScannedBy, `{"scanner":{"uri":"pkg:github/aquasecurity/trivy@1",` + db + `,"result":[{"id":"CVE-123","severity":[{"method":"nvd","score":"medium"}]}]},` + scanned + `}`, `"id":"CVE-123",`, ``, "predicate.scanner.result[0].id: missing"},
	} {
		read := func(predicate string) *Statement {
			s, err := Read(fmt.Appendf(nil, `{"_type":%q,"subject":[{"digest":{"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}],"predicateType":%q,"predicate":%s}`, TypeV1, c.predicateType, predicate))
			if err != nil {
				t.Fatalf("%s: %v", c.predicateType, err)
			}
			s.Check()
			return s
		}
		if s := read(c.good); !s.Conforms() || s.Category != c.category {
			t.Errorf("%s: %s, %s", c.predicateType, s.Category, s.Deviations.Strings())
		}
		s := read(strings.Replace(c.good, c.old, c.changed, 1))
		if s.Conforms() || !strings.HasPrefix(s.Deviations.List[0].String(), c.says) {
			t.Errorf("%s without %s: %s, want %s", c.predicateType, c.old, s.Deviations.Strings(), c.says)
		}
	}
}
