package intoto

// The predicate types of the attestation framework, besides provenance, links
// and test results
// (https://github.com/in-toto/attestation/tree/main/spec/predicates).
const (
	SLSAProvenanceV01 = "https://slsa.dev/provenance/v0.1"
	SVR               = "https://in-toto.io/attestation/svr/v0.1"
	Deployment        = "https://in-toto.io/attestation/deployment/v1"
	SCAI              = "https://in-toto.io/attestation/scai/v0.3"
	Reference         = "https://in-toto.io/attestation/reference/v0.1"
	RuntimeTrace      = "https://in-toto.io/attestation/runtime-trace/v0.1"
	ReleaseV01        = "https://in-toto.io/attestation/release/v0.1"
	ReleaseV02        = "https://in-toto.io/attestation/release/v0.2"
	VulnsV01          = "https://in-toto.io/attestation/vulns/v0.1"
	VulnsV02          = "https://in-toto.io/attestation/vulns/v0.2"
)

// provenanceV01 is https://slsa.dev/spec/v0.1/provenance.
var provenanceV01 = object(
	required("builder", object(required("id", uri(fact("builder.id"))))),
	optional("recipe", object(
		required("type", uri(fact("recipe.type"))),
		optional("definedInMaterial", integer(0)),
		optional("entryPoint", text(fact("recipe.entryPoint"))),
		optional("arguments", anything),
		optional("environment", anything),
	)),
	optional("metadata", buildMetadata("arguments")),
	optional("materials", buildMaterials),
)

// simpleResult is defined in svr.md.
var simpleResult = object(
	required("verifier", object(
		required("id", uri(fact("verifier.id"))),
		optional("policy", anyObject),
	)),
	required("timeCreated", timestamp(fact("timeCreated"))),
	required("properties", list(filled(nil))),
)

// deployment is defined in deployment.md.
var deployment = object(
	required("creationTime", timestamp(fact("creationTime"))),
	optional("decisionDetails", object(
		optional("evidence", list(descriptor())),
		optional("policy", list(descriptor())),
	)),
	optional("scopes", anyObject),
)

// attributeReport is defined in scai.md.
var attributeReport = object(
	required("attributes", list(object(
		required("attribute", filled(nil)),
		optional("target", descriptor()),
		optional("conditions", anyObject),
		optional("evidence", descriptor()),
	))),
	optional("producer", descriptor()),
)

// reference is defined in reference.md.
var reference = object(
	required("attester", object(required("id", uri(fact("attester.id"))))),
	required("references", list(descriptor())),
)

// release is defined in release.md, whose versions use different names for the
// package's identifier.
var release = object(
	required("purl", matching(fact("purl"), "pkg:")),
	optional("packageId", text(fact("packageId"))),
	optional("releaseId", text(fact("releaseId"))),
)

// runtimeTrace is defined in runtime-trace.md. The example there has an empty
// descriptor for the configuration.
var runtimeTrace = object(
	required("monitor", object(
		required("type", uri(fact("monitor.type"))),
		optional("configSource", anyObject),
		optional("tracePolicy", anyObject),
	)),
	required("monitoredProcess", object(
		required("hostID", uri(fact("monitoredProcess.hostID"))),
		required("type", uri(fact("monitoredProcess.type"))),
		required("event", filled(fact("monitoredProcess.event"))),
	)),
	required("monitorLog", object(
		optional("process", list(anyObject)),
		optional("network", list(anyObject)),
		optional("fileAccess", list(anyObject)),
	)),
	optional("metadata", object(
		optional("buildStartedOn", timestamp(nil)),
		optional("buildFinishedOn", timestamp(fact("metadata.buildFinishedOn"))),
	)),
)

// severity is an object in the text of the definitions, but a list of objects
// in their protobuf messages.
var severity = either('[', list(oneSeverity), '{', oneSeverity)

var oneSeverity = object(
	required("method", filled(nil)),
	required("score", filled(nil)),
)

// vulnsV01 is defined in vuln.md, vulnsV02 in vulns_02.md.
var (
	vulnsV01 = vulns(list(object(
		optional("id", filled(nil)),
		optional("vulnerability", object(
			required("id", filled(nil)),
			required("severity", severity),
			optional("annotations", list(anyObject)),
		)),
	)))
	vulnsV02 = vulns(list(object(
		required("id", filled(nil)),
		required("severity", severity),
		optional("annotations", either('[', list(anyObject), '{', anyObject)),
	)))
)

func vulns(result check) check {
	return object(
		required("scanner", object(
			required("uri", text(fact("scanner.uri"))),
			optional("version", text(fact("scanner.version"))),
			required("db", object(
				optional("uri", text(nil)),
				optional("version", text(fact("scanner.db.version"))),
				required("lastUpdate", timestamp(fact("scanner.db.lastUpdate"))),
			)),
			required("result", result),
		)),
		required("metadata", object(
			required("scanStartedOn", timestamp(nil)),
			required("scanFinishedOn", timestamp(fact("metadata.scanFinishedOn"))),
		)),
	)
}
