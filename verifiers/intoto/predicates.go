package intoto

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The predicate types with a fixed name. SPDX, CycloneDX and OpenVEX append a
// version to theirs.
const (
	SLSAProvenanceV02 = "https://slsa.dev/provenance/v0.2"
	SLSAProvenanceV1  = "https://slsa.dev/provenance/v1"
	SLSASummaryV02    = "https://slsa.dev/verification_summary/v0.2"
	SLSASummaryV1     = "https://slsa.dev/verification_summary/v1"
	SPDX              = "https://spdx.dev/Document"
	SPDX3             = "https://spdx.dev/Document/v3"
	CycloneDX         = "https://cyclonedx.org/bom"
	OpenVEX           = "https://openvex.dev/ns"
	TestResult        = "https://in-toto.io/attestation/test-result/v0.1"
	LinkV1            = "https://in-toto.io/Link/v1"
	LinkV02           = "https://in-toto.io/Link/v0.2"
	LinkV03           = "https://in-toto.io/attestation/link/v0.3"
	CosignVuln        = "https://cosign.sigstore.dev/attestation/vuln/v1"
	CosignSign        = "https://sigstore.dev/cosign/sign/v1"
)

// A definition describes a predicate type.
type definition struct {
	category Category
	check    check // nil: unread
	text     check // for a predicate that is a string, which only some programs write
}

// exact contains the definitions by predicate type.
var exact = map[string]definition{
	SLSAProvenanceV02: {BuiltBy, provenanceV02, nil},
	SLSAProvenanceV1:  {BuiltBy, provenanceV1, nil},
	SLSASummaryV02:    {VerifiedBy, summaryV02, nil},
	SLSASummaryV1:     {VerifiedBy, summaryV1, nil},
	TestResult:        {TestedBy, testResult, nil},
	LinkV1:            {BuiltBy, linkV02, nil},
	LinkV02:           {BuiltBy, linkV02, nil},
	LinkV03:           {BuiltBy, linkV03, nil},
	CosignVuln:        {ScannedBy, cosignVuln, nil},
	CosignSign:        {SignedBy, nil, nil},
	SLSAProvenanceV01: {BuiltBy, provenanceV01, nil},
	SVR:               {VerifiedBy, simpleResult, nil},
	Deployment:        {VerifiedBy, deployment, nil},
	SCAI:              {AttestedBy, attributeReport, nil},
	Reference:         {AttestedBy, reference, nil},
	RuntimeTrace:      {AttestedBy, runtimeTrace, nil},
	ReleaseV01:        {AttestedBy, release, nil},
	ReleaseV02:        {AttestedBy, release, nil},
	VulnsV01:          {ScannedBy, vulnsV01, nil},
	VulnsV02:          {ScannedBy, vulnsV02, nil},
}

// families are the predicate types that are one definition under several names.
// The names of a family match a pattern.
var families = []struct {
	name    string // without a version
	pattern *regexp.Regexp
	definition
}{
	{SPDX, regexp.MustCompile(`^https://spdx\.dev/Document(/v2(\.\d+)?)?$`), definition{DescribedBy, spdx2, spdxText}},
	{SPDX3, regexp.MustCompile(`^https://spdx\.dev/Document/v3(\.\d+)*$`), definition{DescribedBy, spdx3, nil}},
	{CycloneDX, regexp.MustCompile(`^https://cyclonedx\.org/bom(/v?\d+(\.\d+)?)?$`), definition{DescribedBy, cycloneDX, nil}},
	{OpenVEX, regexp.MustCompile(`^https://openvex\.dev/ns(/v\d+(\.\d+)*)?$`), definition{AssessedBy, openVEX, nil}},
}

var ownType = regexp.MustCompile(`^https://muniment\.dev/predicate/([a-z][a-z0-9-]{0,62})/v1$`)

// definitionOf returns the definition of a predicate type.
func definitionOf(predicateType string) definition {
	if d, ok := exact[predicateType]; ok {
		return d
	}
	for _, f := range families {
		if f.pattern.MatchString(predicateType) {
			return f.definition
		}
	}
	if KindOf(predicateType) != "" {
		return definition{RecordedBy, nil, nil}
	}
	return definition{category: AttestedBy}
}

// FamilyOf returns the predicate type without the version that SPDX, CycloneDX
// and OpenVEX append to theirs. It returns other types unchanged.
func FamilyOf(predicateType string) string {
	if _, ok := exact[predicateType]; ok {
		return predicateType
	}
	for _, f := range families {
		if f.pattern.MatchString(predicateType) {
			return f.name
		}
	}
	return predicateType
}

// Families returns the predicate types with a definition, as FamilyOf returns
// them, in any order.
func Families() []string {
	all := slices.Collect(maps.Keys(exact))
	for _, f := range families {
		all = append(all, f.name)
	}
	return all
}

// CategoryOf returns the category of a predicate type.
func CategoryOf(predicateType string) Category { return definitionOf(predicateType).category }

// KindType returns the predicate type for signed documents of one of this
// project's typed kinds.
func KindType(kind string) string { return "https://muniment.dev/predicate/" + kind + "/v1" }

// KindOf is the inverse of KindType: it returns the kind of a predicate type,
// or "". The kinds themselves define these predicates.
func KindOf(predicateType string) string {
	if m := ownType.FindStringSubmatch(predicateType); m != nil {
		return m[1]
	}
	return ""
}

// descriptor is a ResourceDescriptor with the given fields required
// (https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md).
func descriptor(must ...string) check {
	return objectWith(func(_ *walker, s seen) error {
		for _, name := range must {
			if !s.has(name) {
				return at(name, errors.New("missing"))
			}
		}
		if !s.has("uri") && !s.has("digest") && !s.has("content") {
			return errors.New("must have a uri, digest or content")
		}
		return nil
	},
		optional("name", text(materialName)),
		optional("uri", text(materialURI)),
		optional("digest", digests(materialDigest)),
		optional("content", text(nil)),
		optional("downloadLocation", text(nil)),
		optional("mediaType", text(nil)),
		optional("annotations", anyObject),
	)
}

// provenanceV1 is defined at https://slsa.dev/spec/v1.1/provenance.
var provenanceV1 = object(
	required("buildDefinition", object(
		required("buildType", uri(fact("buildDefinition.buildType"))),
		required("externalParameters", anyObject),
		optional("internalParameters", anyObject),
		optional("resolvedDependencies", list(collected(descriptor()))),
	)),
	required("runDetails", object(
		required("builder", object(
			required("id", uri(fact("runDetails.builder.id"))),
			optional("version", mapOf(func(string) check { return text(nil) })),
			optional("builderDependencies", list(descriptor())),
		)),
		optional("metadata", object(
			optional("invocationId", text(fact("runDetails.metadata.invocationId"))),
			optional("startedOn", timestamp(nil)),
			optional("finishedOn", timestamp(fact("runDetails.metadata.finishedOn"))),
		)),
		optional("byproducts", list(descriptor())),
	)),
)

// provenanceV02 is defined at https://slsa.dev/spec/v0.2/provenance.
var provenanceV02 = object(
	required("builder", object(required("id", uri(fact("builder.id"))))),
	required("buildType", uri(fact("buildType"))),
	optional("invocation", object(
		optional("configSource", object(
			optional("uri", text(fact("invocation.configSource.uri"))),
			optional("digest", digests(nil)),
			optional("entryPoint", text(nil)),
		)),
		optional("parameters", anything),
		optional("environment", anything),
	)),
	optional("buildConfig", anything),
	optional("metadata", buildMetadata("parameters")),
	optional("materials", buildMaterials),
)

// buildMetadata and buildMaterials are common to all provenance before version
// 1. The completeness member for the inputs has a different name in each
// version.
func buildMetadata(inputs string) check {
	return object(
		optional("buildInvocationId", text(nil)),
		optional("buildStartedOn", timestamp(nil)),
		optional("buildFinishedOn", timestamp(fact("metadata.buildFinishedOn"))),
		optional("completeness", object(
			optional(inputs, boolean),
			optional("environment", boolean),
			optional("materials", boolean),
		)),
		optional("reproducible", boolean),
	)
}

var buildMaterials = list(collected(object(
	optional("uri", text(materialURI)),
	optional("digest", digests(materialDigest)),
)))

// summaryV1 is defined at https://slsa.dev/spec/v1.1/verification_summary.
var summaryV1 = object(
	required("verifier", object(
		required("id", uri(fact("verifier.id"))),
		optional("version", mapOf(func(string) check { return text(nil) })),
	)),
	optional("timeVerified", timestamp(fact("timeVerified"))),
	required("resourceUri", uri(fact("resourceUri"))),
	required("policy", descriptor("uri")),
	optional("inputAttestations", list(descriptor("digest"))),
	required("verificationResult", oneOf(fact("verificationResult"), "PASSED", "FAILED")),
	required("verifiedLevels", list(filled(nil))),
	optional("dependencyLevels", mapOf(func(string) check { return uint64Number })),
	optional("slsaVersion", text(fact("slsaVersion"))),
)

// summaryV02 is defined at https://slsa.dev/verification_summary/v0.2.
var summaryV02 = object(
	required("verifier", object(required("id", uri(fact("verifier.id"))))),
	required("time_verified", timestamp(fact("time_verified"))),
	required("resource_uri", uri(fact("resource_uri"))),
	required("policy", object(required("uri", uri(nil)), optional("digest", digests(nil)))),
	optional("input_attestations", list(object(optional("uri", text(nil)), required("digest", digests(nil))))),
	required("verification_result", oneOf(fact("verification_result"), "PASSED", "FAILED")),
	required("policy_level", filled(fact("policy_level"))),
	required("dependency_levels", mapOf(func(string) check { return uint64Number })),
)

// testResult is defined at
// https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md.
var testResult = object(
	required("result", oneOf(fact("result"), "PASSED", "WARNED", "FAILED")),
	required("configuration", list(descriptor())),
	optional("url", text(fact("url"))),
	optional("passedTests", list(text(nil))),
	optional("warnedTests", list(text(nil))),
	optional("failedTests", list(text(nil))),
)

// linkV03 is defined at
// https://github.com/in-toto/attestation/blob/main/spec/predicates/link.md.
var linkV03 = object(
	required("name", filled(fact("name"))),
	optional("command", list(text(nil))),
	optional("materials", list(collected(descriptor("name", "digest")))),
	optional("byproducts", anyObject),
	optional("environment", anyObject),
)

// linkV02 is a link of the in-toto specification
// (https://github.com/in-toto/docs/blob/master/in-toto-spec.md, section 4.4).
// Its materials are keyed by name. The products are optional, because the first
// version includes them.
var linkV02 = object(
	required("name", filled(fact("name"))),
	optional("command", either('[', list(text(nil)), '"', text(nil))),
	optional("materials", mapOf(func(name string) check {
		return collected(func(w *walker) error {
			w.material.name = name
			return digests(materialDigest)(w)
		})
	})),
	optional("products", mapOf(func(string) check { return digests(nil) })),
	optional("byproducts", anyObject),
	optional("environment", anyObject),
)

// cosignVuln is defined at
// https://github.com/sigstore/cosign/blob/main/specs/COSIGN_VULN_ATTESTATION_SPEC.md.
var cosignVuln = object(
	optional("invocation", object(
		optional("parameters", anything),
		optional("uri", text(nil)),
		optional("event_id", text(nil)),
		optional("builder.id", text(nil)),
	)),
	required("scanner", object(
		optional("uri", text(fact("scanner.uri"))),
		optional("version", text(fact("scanner.version"))),
		optional("db", object(optional("uri", text(nil)), optional("version", text(fact("scanner.db.version"))))),
		required("result", anything),
	)),
	required("metadata", object(
		required("scanStartedOn", timestamp(nil)),
		required("scanFinishedOn", timestamp(fact("metadata.scanFinishedOn"))),
	)),
)

// openVEX is defined at
// https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md, with a JSON
// schema. Before version 0.2, vulnerabilities were plain strings, and so could
// be the document's version.
var openVEX = object(
	required("@context", matching(fact("@context"), OpenVEX)),
	required("@id", filled(fact("@id"))),
	required("author", filled(fact("author"))),
	required("timestamp", timestamp(fact("timestamp"))),
	required("version", either('0', integer(1), '"', filled(nil))),
	required("statements", listFrom(1, objectWith(func(_ *walker, s seen) error {
		switch status := s.text("status"); {
		case status == "not_affected" && s.text("justification") == "" && s.text("impact_statement") == "":
			return errors.New("status not_affected requires a justification or an impact_statement")
		case status == "affected" && !s.has("action_statement"):
			return errors.New("status affected requires an action_statement")
		}
		return nil
	},
		required("vulnerability", either('{', object(required("name", filled(nil))), '"', filled(nil))),
		required("status", oneOf(nil, "not_affected", "affected", "fixed", "under_investigation")),
		optional("justification", oneOf(nil, "component_not_present", "vulnerable_code_not_present", "vulnerable_code_not_in_execute_path",
			"vulnerable_code_cannot_be_controlled_by_adversary", "inline_mitigations_already_exist")),
		optional("impact_statement", text(nil)),
		optional("action_statement", text(nil)),
		optional("timestamp", timestamp(nil)),
		optional("last_updated", timestamp(nil)),
		optional("products", list(either('{', anyObject, '"', text(nil)))),
	))),
)

// spdx2 is defined at https://spdx.github.io/spdx-spec/v2.3/. Only the
// document's own members and its packages are read. Programs disagree about
// which other members a package must have.
var spdx2 = object(
	required("spdxVersion", matching(fact("spdxVersion"), "SPDX-2.")),
	required("SPDXID", matching(nil, "SPDXRef-")),
	required("name", filled(fact("name"))),
	required("dataLicense", filled(nil)),
	required("documentNamespace", filled(fact("documentNamespace"))),
	required("creationInfo", object(
		required("created", timestamp(fact("creationInfo.created"))),
		required("creators", listFrom(1, filled(nil))),
	)),
	optional("packages", list(collected(object(
		required("SPDXID", matching(nil, "SPDXRef-")),
		required("name", text(materialName)),
		optional("versionInfo", text(nil)),
		optional("checksums", list(hashObject("algorithm", "checksumValue"))),
		optional("externalRefs", list(spdx2Reference)),
	)))),
	optional("relationships", list(anyObject)),
	optional("files", list(anyObject)),
)

// spdx2Reference prefers a package URL to the package's name, because it is
// more precise.
func spdx2Reference(w *walker) error {
	var kind, locator string
	err := object(
		required("referenceType", filled(func(_ *walker, v string) { kind = v })),
		required("referenceLocator", filled(func(_ *walker, v string) { locator = v })),
	)(w)
	if err == nil && kind == "purl" {
		w.material.uri = locator
	}
	return err
}

// spdxText is the tag-value form, which cosign embeds as a string.
var spdxText = textThat(nil, func(v string) error {
	for line := range strings.Lines(v) {
		if version, ok := strings.CutPrefix(line, "SPDXVersion:"); ok && strings.HasPrefix(strings.TrimSpace(version), "SPDX-2.") {
			return nil
		}
	}
	return errors.New("neither an object nor an SPDX document in tag-value form")
})

// spdx3 is defined at https://spdx.github.io/spdx-spec/v3.0.1/serializations/
// as a JSON-LD graph. Only elements with a hash are read.
var spdx3 = object(
	required("@context", either('"', matching(nil, "https://spdx.org/rdf/3."), '[', listFrom(1, anything))),
	required("@graph", listFrom(1, collected(object(
		optional("type", text(nil)),
		optional("name", text(materialName)),
		optional("software_packageUrl", text(materialURI)),
		optional("verifiedUsing", list(either('{', anyHash, '"', text(nil)))),
	)))),
)

// cycloneDX is defined at https://cyclonedx.org/docs/1.6/json/.
var cycloneDX = object(
	required("bomFormat", oneOf(nil, "CycloneDX")),
	required("specVersion", matching(fact("specVersion"), "1.")),
	optional("serialNumber", matching(fact("serialNumber"), "urn:uuid:")),
	optional("version", integer(1)),
	optional("metadata", object(
		optional("timestamp", timestamp(fact("metadata.timestamp"))),
		optional("component", component),
	)),
	optional("components", list(collected(component))),
	optional("services", list(anyObject)),
	optional("dependencies", list(object(required("ref", filled(nil))))),
	optional("vulnerabilities", list(anyObject)),
)

// component is a CycloneDX component, which can contain others.
func component(w *walker) error {
	return object(
		required("type", filled(nil)),
		required("name", text(materialName)),
		optional("purl", text(materialURI)),
		optional("hashes", list(hashObject("alg", "content"))),
		optional("components", list(collected(component))),
	)(w)
}

// hashObject reads an object that contains a hash and adds the hash to the
// material.
func hashObject(algorithm, value string) check {
	return objectWith(func(w *walker, s seen) error {
		w.material.addHash(s.text(algorithm), s.text(value))
		return nil
	}, required(algorithm, filled(nil)), required(value, filled(nil)))
}

// anyHash is an IntegrityMethod of SPDX 3. Some of these are hashes.
var anyHash = objectWith(func(w *walker, s seen) error {
	w.material.addHash(s.text("algorithm"), s.text("hashValue"))
	return nil
}, optional("algorithm", text(nil)), optional("hashValue", text(nil)))
