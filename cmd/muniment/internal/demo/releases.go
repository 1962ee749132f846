package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/intoto"
)

const registry = "registry.initech.example/"

func imageOf(service, version string) artifact {
	return newArtifact("image", registry+service+":"+version)
}

func chartOf(name, version string) artifact { return newArtifact("chart", name+"-"+version+".tgz") }

// components of the services.
var (
	xnet         = component{"pkg:golang/golang.org/x/net@0.38.0", "BSD-3-Clause"}
	grpc         = component{"pkg:golang/google.golang.org/grpc@1.71.0", "Apache-2.0"}
	chi          = component{"pkg:golang/github.com/go-chi/chi/v5@5.2.1", "MIT"}
	pgx          = component{"pkg:golang/github.com/jackc/pgx/v5@5.7.4", "MIT"}
	otel         = component{"pkg:golang/go.opentelemetry.io/otel@1.35.0", "Apache-2.0"}
	express      = component{"pkg:npm/express@5.1.0", "MIT"}
	undici       = component{"pkg:npm/undici@7.8.0", "MIT"}
	jsonwebtoken = component{"pkg:npm/jsonwebtoken@9.0.2", "MIT"}
	zod          = component{"pkg:npm/zod@3.24.2", "MIT"}
	lucene       = component{"pkg:maven/org.apache.lucene/lucene-core@10.2.0", "Apache-2.0"}
	jackson      = component{"pkg:maven/com.fasterxml.jackson.core/jackson-databind@2.18.3", "Apache-2.0"}
	netty        = component{"pkg:maven/io.netty/netty-codec-http2@4.1.119.Final", "Apache-2.0"}
	pillow       = component{"pkg:pypi/pillow@11.1.0", "MIT-CMU"}
	imageio      = component{"pkg:pypi/imageio@2.37.0", "BSD-2-Clause"}
	openssl      = component{"pkg:deb/debian/openssl@3.0.15-1?arch=amd64", "Apache-2.0"}
	zlib         = component{"pkg:deb/debian/zlib1g@1.2.13?arch=amd64", "Zlib"}
)

var componentsOf = map[string][]component{
	"gateway":       {xnet, grpc, chi, otel, openssl, zlib},
	"checkout":      {express, undici, jsonwebtoken, zod, openssl, zlib},
	"identity":      {xnet, grpc, pgx, otel, openssl, zlib},
	"asset-service": {pillow, imageio, openssl, zlib},
	"search":        {lucene, jackson, netty, openssl, zlib},
	"billing":       {xnet, grpc, pgx, chi, openssl, zlib},
}

// vulnerabilities that the scanner has found. Their numbers are not assigned.
var (
	streamReset = vulnerability{"CVE-2026-41007", "Medium", "HTTP/2 stream resets exhaust memory", 5.9, xnet, "0.39.0"}
	tokenForged = vulnerability{"CVE-2026-50211", "Critical", "Tokens with a forged algorithm are accepted", 9.1, jsonwebtoken, "9.0.3"}
	queryLoop   = vulnerability{"CVE-2026-47120", "High", "A crafted query never ends", 7.5, lucene, "10.2.1"}
	typeConfuse = vulnerability{"CVE-2026-46218", "High", "Deserialization creates unexpected types", 8.1, jackson, "2.18.4"}
	tiffHeap    = vulnerability{"CVE-2026-44350", "High", "Heap overflow in the TIFF decoder", 7.8, pillow, "11.2.0"}
	gifLeak     = vulnerability{"CVE-2026-44911", "Medium", "Memory of earlier images leaks into GIF files", 5.3, imageio, "2.37.1"}
	dialSSRF    = vulnerability{"CVE-2026-48802", "Medium", "Redirects reach internal addresses", 6.1, undici, "7.8.1"}
	certLoop    = vulnerability{"CVE-2026-49515", "Medium", "A certificate chain with a loop is never rejected", 5.3, openssl, "3.0.16-1"}
	copyBinary  = vulnerability{"CVE-2026-45077", "High", "A protocol message is split at the wrong byte", 8.2, pgx, "5.7.5"}
	spanFlood   = vulnerability{"CVE-2026-43690", "Low", "Baggage headers fill the log", 3.1, otel, "1.36.0"}
	headerSplit = vulnerability{"CVE-2026-53377", "High", "Trailers are read as a second response", 7.4, grpc, "1.71.1"}
	slowUpload  = vulnerability{"CVE-2026-42874", "Low", "Slow uploads hold a worker", 3.7, express, "5.1.1"}
)

// A release is built, tested and promoted within two hours.
type release struct {
	service, version string
	found            []vulnerability
	noTests          bool   // until somebody notices
	noLoadTest       bool   // it is not run
	production       string // the decision; "": pass
}

// customerFacing services need a load test.
var customerFacing = map[string]bool{"gateway": true, "checkout": true}

// note keeps the index of an entry under a name.
func (c *company) note(name string, index uint64) { c.indexes[name] = index }

// released returns the steps of a release that begins at a time.
func (c *company) released(r release, at time.Time) []step {
	image := imageOf(r.service, r.version)
	name := r.service + " " + r.version
	var steps []step
	after := func(minutes int, do func(t time.Time)) {
		t := at.Add(time.Duration(minutes) * time.Minute)
		steps = append(steps, step{t, func() { do(t) }})
	}
	after(0, func(t time.Time) {
		ci := c.system("ci")
		c.note("provenance "+name, c.attest(ci, "release workflow", intoto.SLSAProvenanceV1, provenance(r.service, r.version, t), image))
		c.note("sbom "+name, c.attest(ci, "release workflow", intoto.SPDX+"/v2.3", billOfMaterials(image.name, componentsOf[r.service], t), image))
	})
	after(2, func(time.Time) { c.gate(c.system("ci"), image, "build", "", "pass") })
	after(6, func(t time.Time) {
		c.note("scan "+name, c.attest(c.system("scanner"), "scanner", intoto.CosignVuln, scan(r.found, t), image))
	})
	if !r.noTests {
		after(14, func(time.Time) { c.tested(name, image) })
		after(25, func(time.Time) { c.gate(c.system("ci"), image, "promote", "staging", "pass") })
	}
	after(20, func(t time.Time) {
		c.note("review "+name, c.attest(c.system("ci"), "review bot", intoto.SVR, review(t), image))
	})
	if r.noTests {
		after(25, func(time.Time) { c.gate(c.system("ci"), image, "promote", "staging", "blocked") })
		after(70, func(time.Time) { c.tested(name, image) })
		after(72, func(time.Time) { c.gate(c.system("ci"), image, "promote", "staging", "pass") })
	}
	after(80, func(time.Time) {
		c.gate(c.system("deploy"), image, "deploy", "staging", "pass")
		c.running["staging"][r.service] = image
	})
	if customerFacing[r.service] && !r.noLoadTest {
		after(100, func(time.Time) { c.loadTested(name, image) })
	}
	after(120, func(t time.Time) { c.toProduction(r, image, t) })
	return steps
}

func (c *company) tested(name string, image artifact) {
	passed := []any{"unit", "integration", "contract", "migration", "smoke"}
	c.note("tests "+name, c.attest(c.system("ci"), "release workflow", intoto.TestResult, tests("PASSED", passed, []any{}), image))
}

func (c *company) loadTested(name string, image artifact) {
	passed := []any{"latency p99 at twice the peak", "error rate at twice the peak", "recovery after the peak"}
	c.note("load test "+name, c.attest(c.system("performance-lab"), "performance lab", intoto.TestResult, tests("PASSED", passed, []any{}), image))
}

func (c *company) toProduction(r release, image artifact, t time.Time) {
	want := r.production
	if want == "" {
		want = "pass"
	}
	c.gate(c.system("deploy"), image, "deploy", "production", want)
	if want == "pass" {
		c.attest(c.system("deploy"), "release workflow", intoto.Deployment, deployment(t), image)
		c.running["production"][r.service] = image
	}
}

// charted returns the steps of a chart, which is signed late if it is not
// signed at once.
func (c *company) charted(name, version string, at time.Time, late bool) []step {
	chart, signedAt := chartOf(name, version), at
	var steps []step
	if late {
		steps = append(steps, step{at, func() { c.gate(c.system("deploy"), chart, "deploy", "production", "blocked") }})
		signedAt = at.Add(3 * time.Hour)
	}
	return append(steps, step{signedAt, func() {
		c.note("provenance "+name+" "+version, c.attest(c.system("ci"), "release workflow", intoto.SLSAProvenanceV1, provenance(name, version, signedAt), chart))
		c.gate(c.system("deploy"), chart, "deploy", "production", "pass")
		c.running["production"][name] = chart
	}})
}

// inventory records what runs.
func (c *company) inventory(at time.Time) {
	for _, environment := range []string{"production", "staging"} {
		m := &munimentv1.Inventory{Scope: "runs", Environment: environment, Observed: timestamppb.New(at), Source: "kubernetes " + environment + "-eu1"}
		for _, name := range slices.Sorted(maps.Keys(c.running[environment])) {
			a := c.running[environment][name]
			item := &munimentv1.InventoryItem{Artifact: a.message(), Workload: "deployment/" + name, Replicas: ptr(uint32(2 + len(name)%4))}
			if a.kind != "image" {
				item = &munimentv1.InventoryItem{Artifact: a.message(), Type: a.kind}
			}
			m.Items = append(m.Items, item)
		}
		c.event(c.system("inventory", kindname.Inventory), kindname.Inventory, m)
	}
}

func ptr[T any](v T) *T { return &v }

// before are the versions that ran when the company began to record evidence.
func before() map[string]artifact {
	all := map[string]artifact{}
	for service, version := range map[string]string{"gateway": "1.5.9", "checkout": "4.10.2", "identity": "0.9.3", "asset-service": "2.2.7", "search": "3.3.5", "billing": "7.0.2", "pdf-renderer": "5.1.0"} {
		all[service] = imageOf(service, version)
	}
	return all
}

// releases returns the steps of all releases.
func (c *company) releases(day func(n int, clock string) time.Time, ago func(minutes int) time.Time) (steps []step) {
	for _, r := range []struct {
		day   int
		clock string
		release
	}{
		{-14, "09:10", release{service: "gateway", version: "1.6.0", found: []vulnerability{streamReset, spanFlood}}},
		{-14, "13:20", release{service: "billing", version: "7.0.3", found: []vulnerability{copyBinary, certLoop}}},
		{-13, "10:05", release{service: "checkout", version: "4.11.0", found: []vulnerability{dialSSRF, slowUpload}}},
		{-13, "14:30", release{service: "identity", version: "0.9.4", found: []vulnerability{copyBinary, spanFlood}}},
		{-12, "09:40", release{service: "search", version: "3.4.0", found: []vulnerability{queryLoop, typeConfuse}}},
		{-11, "11:15", release{service: "asset-service", version: "2.3.0", found: []vulnerability{tiffHeap, gifLeak}}},
		{-10, "10:30", release{service: "gateway", version: "1.6.1", found: []vulnerability{spanFlood}}},
		{-9, "09:20", release{service: "checkout", version: "4.12.0", found: []vulnerability{tokenForged, slowUpload}, production: "blocked"}},
		{-9, "15:40", release{service: "checkout", version: "4.12.1", found: []vulnerability{slowUpload}}},
		{-8, "13:05", release{service: "billing", version: "7.1.0", found: []vulnerability{certLoop}}},
		{-7, "10:50", release{service: "search", version: "3.4.1", found: []vulnerability{queryLoop}}},
		{-6, "09:30", release{service: "identity", version: "0.9.5", noTests: true}},
		{-5, "11:00", release{service: "asset-service", version: "2.4.0", found: []vulnerability{gifLeak}}},
		{-4, "10:10", release{service: "gateway", version: "1.6.2"}},
		{-3, "09:05", release{service: "checkout", version: "4.13.0", noLoadTest: true}},
		{-2, "13:45", release{service: "search", version: "3.5.0", found: []vulnerability{queryLoop}}},
		{-1, "10:20", release{service: "billing", version: "7.1.1"}},
		{-1, "13:30", release{service: "gateway", version: "1.7.0", found: []vulnerability{headerSplit}, noLoadTest: true, production: "blocked"}},
	} {
		steps = append(steps, c.released(r.release, day(r.day, r.clock))...)
	}
	steps = append(steps, c.released(release{service: "identity", version: "0.9.6"}, ago(190))...)
	steps = append(steps, c.released(release{service: "asset-service", version: "2.4.1"}, ago(150))...)
	steps = append(steps, c.charted("storefront", "0.8.2", day(-10, "14:00"), false)...)
	steps = append(steps, c.charted("storefront", "0.8.3", day(-4, "13:15"), true)...)
	steps = append(steps,
		step{day(-14, "07:40"), func() {
			c.attest(c.system("ci"), "product security", intoto.SLSASummaryV1, summary(base, c.clock.time()), base)
		}},
		step{ago(55), func() { c.gate(c.system("deploy"), imageOf("gateway", "1.7.0"), "deploy", "production", "blocked") }},
		step{ago(48), func() { c.gate(c.system("deploy"), imageOf("search", "3.5.0"), "deploy", "prod", "undecided") }},
	)
	for d := -days; d < 0; d++ {
		at := day(d, "06:30")
		steps = append(steps, step{at, func() { c.inventory(at) }})
	}
	return append(steps, step{ago(12), func() { c.inventory(ago(12)) }})
}

// hotfix is the image that is deployed in an outage before its tests have run.
var hotfix = release{service: "search", version: "3.5.1"}

func (c *company) outage(at time.Time) {
	image, name := imageOf(hotfix.service, hotfix.version), fmt.Sprint(hotfix.service, " ", hotfix.version)
	ci := c.system("ci")
	c.attest(ci, "release workflow", intoto.SLSAProvenanceV1, provenance(hotfix.service, hotfix.version, at), image)
	c.attest(ci, "release workflow", intoto.SPDX+"/v2.3", billOfMaterials(image.name, componentsOf[hotfix.service], at), image)
	c.note("scan "+name, c.attest(c.system("scanner"), "scanner", intoto.CosignVuln, scan(nil, at), image))
	c.attest(ci, "review bot", intoto.SVR, review(at), image)
	c.gate(c.system("deploy"), image, "deploy", "production", "blocked")
	c.request("kim", &munimentv1.ExceptionRequest{
		Id: "BG-" + at.Format("20060102") + "-1", Control: "TESTS", BreakGlass: true, Reason: "Search is down. The fix is reviewed, its tests take an hour.",
		Scope: &munimentv1.ExceptionScope{Subjects: []*munimentv1.Artifact{image.message()}, Environments: []string{"production"}}, Expires: timestamppb.New(at.Add(23 * time.Hour)),
	})
	c.gate(c.system("deploy"), image, "deploy", "production", "pass")
	c.running["production"]["search"] = image
}
