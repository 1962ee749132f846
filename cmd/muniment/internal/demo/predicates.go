package main

import (
	"strconv"
	"strings"
	"time"
)

// An object is a JSON object.
type object = map[string]any

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// A component is a part of an image.
type component struct{ purl, license string }

func (c component) name() string {
	name, _, _ := strings.Cut(c.purl[strings.LastIndex(c.purl, "/")+1:], "@")
	return name
}

func (c component) version() string { return c.purl[strings.LastIndex(c.purl, "@")+1:] }

// A vulnerability is what a scanner finds in a component.
type vulnerability struct {
	id, severity, title string
	score               float64
	in                  component
	fixed               string
}

// base is the image that all images are built on.
var base = newArtifact("image", "registry.initech.example/base/distroless:12-4")

// provenance is that of the release workflow.
func provenance(service, version string, at time.Time) object {
	source := "https://git.initech.example/" + service
	return object{
		"buildDefinition": object{
			"buildType":          "https://actions.github.io/buildtypes/workflow/v1",
			"externalParameters": object{"workflow": object{"ref": "refs/tags/v" + version, "repository": source, "path": ".github/workflows/release.yml"}},
			"resolvedDependencies": []any{
				object{"uri": "git+" + source + "@refs/tags/v" + version, "digest": object{"gitCommit": digest("commit " + service + version)[:40]}},
				object{"name": base.name, "uri": "oci://" + base.name, "digest": object{"sha256": base.sha256}},
			},
		},
		"runDetails": object{
			"builder":  object{"id": "https://ci.initech.example/builders/isolated/v2"},
			"metadata": object{"invocationId": "https://ci.initech.example/" + service + "/runs/" + runNumber(service+version), "startedOn": timestamp(at.Add(-7 * time.Minute)), "finishedOn": timestamp(at)},
		},
	}
}

// runNumber returns the number of a run of a workflow.
func runNumber(of string) string {
	n, _ := strconv.ParseUint(digest(of)[:5], 16, 64)
	return strconv.FormatUint(10_000+n%80_000, 10)
}

// billOfMaterials is in SPDX.
func billOfMaterials(name string, components []component, at time.Time) object {
	packages := []any{}
	for i, c := range components {
		packages = append(packages, object{
			"SPDXID": "SPDXRef-" + strconv.Itoa(i), "name": c.name(), "versionInfo": c.version(), "licenseConcluded": c.license, "downloadLocation": "NOASSERTION",
			"externalRefs": []any{object{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": c.purl}},
		})
	}
	return object{
		"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "dataLicense": "CC0-1.0", "name": name,
		"documentNamespace": "https://sbom.initech.example/" + digest(name)[:16],
		"creationInfo":      object{"created": timestamp(at), "creators": []any{"Tool: syft-1.31.0"}}, "packages": packages,
	}
}

// scan is a report of grype, as cosign attests it.
func scan(found []vulnerability, at time.Time) object {
	matches := []any{}
	for _, v := range found {
		matches = append(matches, object{
			"vulnerability": object{"id": v.id, "severity": v.severity, "cvss": []any{object{"version": "3.1", "metrics": object{"baseScore": v.score}}}, "fix": object{"state": "fixed", "versions": []any{v.fixed}}},
			"artifact":      object{"name": v.in.name(), "version": v.in.version(), "purl": v.in.purl},
		})
	}
	return object{
		"scanner":  object{"uri": "https://github.com/anchore/grype", "version": "0.99.1", "result": object{"matches": matches}},
		"metadata": object{"scanStartedOn": timestamp(at.Add(-time.Minute)), "scanFinishedOn": timestamp(at)},
	}
}

func tests(result string, passed, failed []any) object {
	return object{
		"result": result, "passedTests": passed, "failedTests": failed,
		"configuration": []any{object{"name": "suite.yaml", "digest": object{"sha256": digest("suite")}}},
	}
}

// review is what the review bot has verified about the source.
func review(at time.Time) object {
	return object{"verifier": object{"id": "https://git.initech.example/review-bot"}, "timeCreated": timestamp(at), "properties": []any{"TWO_PARTY_REVIEWED", "BRANCH_PROTECTED", "COMMITS_SIGNED"}}
}

// notAffected is a VEX statement of product security.
func notAffected(v vulnerability, about artifact, impact string, at time.Time) object {
	return object{
		"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://vex.initech.example/" + digest(v.id + about.name)[:16], "author": "product-security@initech.example",
		"timestamp": timestamp(at), "version": 1,
		"statements": []any{object{"vulnerability": object{"name": v.id}, "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path", "impact_statement": impact}},
	}
}

// summary is a verification summary about an image of a supplier.
func summary(about artifact, at time.Time) object {
	return object{
		"verifier": object{"id": "https://images.initech.example/verifier"}, "timeVerified": timestamp(at), "resourceUri": "oci://" + about.name,
		"policy":             object{"uri": "https://images.initech.example/policies/base/v4", "digest": object{"sha256": digest("base policy")}},
		"verificationResult": "PASSED", "verifiedLevels": []any{"SLSA_BUILD_LEVEL_3"},
	}
}

func deployment(at time.Time) object {
	return object{"creationTime": timestamp(at), "scopes": object{"kubernetes.io/pod/cluster_id/v1": "production-eu1"}}
}
