package verify

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A world makes the cases of verify.json from those of the other vectors.
type world struct {
	t        testing.TB
	out      vectors
	exports  exportVectors
	sigstore sigstoreVectors
	receipts receiptVectors
	bundles  bundleVectors
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, out: vectors{Blobs: map[string][]byte{}}}
	w.exports = readVectors[exportVectors](t, "exports.json")
	w.sigstore = readVectors[sigstoreVectors](t, "sigstore.json")
	w.receipts = readVectors[receiptVectors](t, "receipts.json")
	w.bundles = readVectors[bundleVectors](t, "bundles.json")
	return w
}

func (w *world) vectors() *vectors {
	w.blobs()
	w.goodConfigs()
	w.badConfigs()
	w.receiptCases()
	w.sigstoreCases()
	w.sampleCases()
	w.manifestCases()
	w.evidenceCases()
	w.recognition()
	w.prune()
	return &w.out
}

// blob adds a blob and returns its name.
func (w *world) blob(name string, content []byte) string {
	if have, ok := w.out.Blobs[name]; ok && !bytes.Equal(have, content) {
		w.t.Fatalf("two blobs %q", name)
	}
	w.out.Blobs[name] = append([]byte{}, content...) // never null
	return name
}

// prune removes blobs that no case has.
func (w *world) prune() {
	text, err := json.Marshal([]any{w.out.Configurations, w.out.Verifications})
	if err != nil {
		w.t.Fatal(err)
	}
	maps.DeleteFunc(w.out.Blobs, func(name string, _ []byte) bool { return !bytes.Contains(text, []byte(`"`+name+`"`)) })
}

// blobs adds the files that configurations name.
func (w *world) blobs() {
	for _, name := range []string{"exporter", "other"} {
		w.blob(name+".pub", []byte(w.exports.Keys[name]))
	}
	for _, name := range []string{"P-256", "P-384", "damaged"} {
		w.blob(name+".pub", []byte(w.sigstore.Keys[name]))
	}
	w.blob("private.pub", []byte("-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n"))
	w.blob("two.pub", []byte(w.exports.Keys["exporter"]+w.exports.Keys["other"]))
	w.blob("long.pub", append([]byte(w.exports.Keys["exporter"]), bytes.Repeat([]byte("\n"), 64<<10)...))
	w.blob("exports.policy", []byte(w.exports.Policies["log"]))
	w.blob("other.policy", []byte(w.exports.Policies["other"]))
	w.blob("malformed.policy", []byte("log\n"))
	for _, name := range []string{"log", "witnessed", "pq"} {
		w.blob("receipts-"+name+".policy", []byte(w.receipts.Policies[name]))
	}
	w.blob("bundles.policy", []byte(w.bundles.Policies["log"]))
	w.blob("exports.key", []byte(w.exports.StreamKeys["acme"]))
	w.blob("receipts.key", []byte(w.receipts.StreamKeys["globex"]))
	w.blob("bundles.key", []byte(w.bundles.StreamKeys["acme"]))
	w.blob("globex.key", []byte(w.bundles.StreamKeys["globex"]))
	w.blob("malformed.key", []byte("x"))
	w.blob("empty", nil)
	for _, name := range []string{"local", "other", "no start", "no logs"} {
		w.blob(strings.ReplaceAll(name, " ", "-")+".root.json", w.sigstore.TrustedRoots[name])
	}
}

// configuration adds a configuration. Its paths are the names of blobs, which
// exist unless they are in missing.
func (w *world) configuration(name, text, code string, missing ...string) {
	c := &configVector{Name: name, Text: []byte(text), Code: code, Files: map[string]string{}}
	for blob := range w.out.Blobs {
		if strings.Contains(text, `"`+blob+`"`) && !slices.Contains(missing, blob) {
			c.Files[blob] = blob
		}
	}
	w.out.Configurations = append(w.out.Configurations, c)
}

const (
	identity  = `{"issuer":"https://issuer.example","subject":"ci@acme.example"}`
	allowed   = `["CC-BY-4.0","CC0-1.0","MIT","Apache-2.0","GPL-2.0-only WITH Classpath-exception-2.0"]`
	permitted = `{"storage-allowed":[{"country":"DE"},{"country":"FR"}],"processing-excluded":[{"country":"CN"}]}`
	budget    = `{"budget":"acme-2026","epsilon":"5","delta":"0.000001"}`
)

// goodConfigs adds the configurations that verifications use.
func (w *world) goodConfigs() {
	all := `{"trustedKeys":["exporter.pub"],"trustPolicy":"exports.policy","streamKey":"exports.key","licenses":` + allowed + `,"residency":` + permitted + `,"epsilon":` + budget + `}`
	for _, c := range []struct{ name, text string }{
		{"empty", `{}`},
		{"sample", all},
		{"sample, another log", strings.ReplaceAll(all, "exports.policy", "other.policy")},
		{"sample, another stream", strings.ReplaceAll(all, "exports.key", "globex.key")},
		{"sample, another signer", strings.ReplaceAll(all, "exporter.pub", "other.pub")},
		{"sample, without the stream key", strings.ReplaceAll(all, `"streamKey":"exports.key",`, "")},
		{"sample, without the policy", strings.ReplaceAll(all, `"trustPolicy":"exports.policy",`, "")},
		{"sample, fewer licences", strings.ReplaceAll(all, `"MIT","Apache-2.0",`, "")},
		{"sample, other places", strings.ReplaceAll(all, `,{"country":"FR"}`, "")},
		{"sample, less budget", strings.ReplaceAll(all, `"epsilon":"5"`, `"epsilon":"3"`)},
		{"exporter's key", `{"trustedKeys":["exporter.pub"]}`},
		{"exporter's key and the log", `{"trustedKeys":["other.pub","exporter.pub"],"trustPolicy":["other.policy","exports.policy"]}`},
		{"exporter's identity", `{"identities":[` + identity + `],"trustedRoot":"local.root.json"}`},
		{"receipts", `{"trustPolicy":"receipts-log.policy"}`},
		{"receipts, stream key", `{"trustPolicy":["receipts-log.policy"],"streamKey":"receipts.key"}`},
		{"receipts, witnessed", `{"trustPolicy":["receipts-pq.policy","receipts-witnessed.policy"]}`},
		{"keyless", `{"identities":[` + identity + `],"trustedRoot":["local.root.json"]}`},
		{"keyless, another identity", `{"identities":[{"issuer":"https://issuer.example","subject":"x@acme.example"}],"trustedRoot":"local.root.json"}`},
		{"keyless, another issuer", `{"identities":[{"issuer":"https://x.example","subject":"ci@acme.example"}],"trustedRoot":"local.root.json"}`},
		{"keyless, two roots", `{"identities":[` + identity + `],"trustedRoot":["other.root.json","local.root.json"]}`},
		{"keyless, built-in root", `{"identities":[` + identity + `]}`},
		{"keyless, Rekor v1 only", `{"sigstore":{"rekorUrl":"https://REKOR.Example:0443//"},"identities":[` + identity + `],"trustedRoot":["no-logs.root.json","local.root.json"]}`},
		{"keyless, Rekor v2 only", `{"sigstore":{"rekorUrl":"https://rekor2.example:8080"},"identities":[` + identity + `],"trustedRoot":"local.root.json"}`},
		{"managed key", `{"trustedKeys":["P-384.pub","P-256.pub"],"trustedRoot":"local.root.json"}`},
		{"keyless and managed key", `{"trustedKeys":["P-256.pub"],"identities":[` + identity + `],"trustedRoot":"local.root.json"}`},
		{"as short as can be", `{"sigstore":{"rekorUrl":"https://rekor.sigstore.dev"},"trustedKeys":["P-256.pub"]}`},
		{"evidence", `{"trustPolicy":"bundles.policy"}`},
		{"evidence, stream key", `{"trustPolicy":"bundles.policy","streamKey":"bundles.key"}`},
		{"evidence, another stream key", `{"trustPolicy":"bundles.policy","streamKey":"globex.key"}`},
		{"white space and escapes", " {\"trust\\u0050olicy\" :\n\t[\"bundles.policy\"]}\r\n"},
	} {
		w.configuration(c.name, c.text, "")
	}
}

// badConfigs adds configurations that cannot be loaded.
func (w *world) badConfigs() {
	const malformed, unknown, invalid, unreadable = CodeConfigurationMalformed, CodeConfigurationUnknown, CodeConfigurationInvalid, CodeConfigurationUnreadable
	root := `,"trustedRoot":"local.root.json"}`
	long := func(n int) string { return strings.Repeat("a", n) }
	many := func(n int, one string) string { return strings.Repeat(one+",", n-1) + one }
	for _, c := range []struct{ name, code, text string }{
		{"no bytes", malformed, ``},
		{"an array", malformed, `[]`},
		{"a string", malformed, `"verify"`},
		{"null as a whole", malformed, `null`},
		{"not JSON", malformed, `{trustedKeys:["exporter.pub"]}`},
		{"a comment", malformed, `{/* keys */"trustedKeys":["exporter.pub"]}`},
		{"a comma at the end", malformed, `{"trustedKeys":["exporter.pub"],}`},
		{"data after the end", malformed, `{}{}`},
		{"a byte order mark", malformed, "\ufeff{}"},
		{"invalid UTF-8", malformed, "{\"trustedKeys\":[\"\xff.pub\"]}"},
		{"a lone surrogate", malformed, `{"trustedKeys":["\ud800.pub"]}`},
		{"a control character", malformed, "{\"trustedKeys\":[\"a\nb\"]}"},
		{"a member twice", malformed, `{"trustedKeys":["exporter.pub"],"trustedKeys":["other.pub"]}`},
		{"a member twice, escaped", malformed, `{"trustedKeys":["exporter.pub"],"trusted\u004beys":["other.pub"]}`},
		{"a member twice, deeper", malformed, `{"identities":[{"issuer":"a","issuer":"b","subject":"c"}]}`},
		{"a member twice, in an unknown member", malformed, `{"x":{"a":"1","a":"2"}}`},
		{"a fraction", malformed, `{"epsilon":{"epsilon":1.5,"delta":"0.1"}}`},
		{"1e400", malformed, `{"epsilon":{"epsilon":1e400,"delta":"0.1"}}`},
		{"a negative number", malformed, `{"licenses":[-1]}`},
		{"NaN", malformed, `{"epsilon":{"epsilon":NaN,"delta":"0.1"}}`},
		{"17 levels", malformed, `{"residency":` + strings.Repeat(`[`, 16) + strings.Repeat(`]`, 16) + `}`},

		{"an unknown member", unknown, `{"trustedKey":["exporter.pub"]}`},
		{"a member in another case", unknown, `{"TrustedKeys":["exporter.pub"]}`},
		{"__proto__", unknown, `{"__proto__":{"trustedKeys":["exporter.pub"]}}`},
		{"constructor", unknown, `{"constructor":{"prototype":{}}}`},
		{"toString", unknown, `{"toString":"x"}`},
		{"an escaped __proto__", unknown, `{"\u005f_proto__":null}`},
		{"__proto__ in sigstore", unknown, `{"sigstore":{"rekorUrl":"https://rekor.example","__proto__":{}}}`},
		{"__proto__ in an identity", unknown, `{"identities":[` + identity + `,{"__proto__":` + identity + `}]}`},
		{"another member of sigstore", unknown, `{"sigstore":{"rekorUrl":"https://rekor.example","fulcioUrl":"https://fulcio.example"}}`},
		{"a regular expression as identity", unknown, `{"identities":[{"issuer":"https://issuer.example","subjectRegexp":".*"}]}`},
		{"an unknown member before a wrong type", unknown, `{"trustedKeys":"exporter.pub","x":1}`},
		{"an unknown member of an identity before a wrong type", unknown, `{"sigstore":1,"identities":[1,{"name":"x"}]}`},

		{"null", invalid, `{"trustedKeys":null}`},
		{"sigstore as a string", invalid, `{"sigstore":"https://rekor.example"}`},
		{"sigstore without a URL", invalid, `{"sigstore":{}}`},
		{"a URL that is null", invalid, `{"sigstore":{"rekorUrl":null}}`},
		{"an empty URL", invalid, `{"sigstore":{"rekorUrl":""}` + root},
		{"a URL without a scheme", invalid, `{"sigstore":{"rekorUrl":"rekor.example"}` + root},
		{"a scheme in upper case", invalid, `{"sigstore":{"rekorUrl":"HTTPS://rekor.example"}` + root},
		{"a URL with a user", invalid, `{"sigstore":{"rekorUrl":"https://me@rekor.example"}` + root},
		{"a URL with a query", invalid, `{"sigstore":{"rekorUrl":"https://rekor.example?x"}` + root},
		{"a URL with a fragment", invalid, `{"sigstore":{"rekorUrl":"https://rekor.example/#x"}` + root},
		{"a URL with an escape", invalid, `{"sigstore":{"rekorUrl":"https://rekor.example/%61"}` + root},
		{"a URL with a space", invalid, `{"sigstore":{"rekorUrl":"https://rekor.example "}` + root},
		{"a URL with a line feed", invalid, `{"sigstore":{"rekorUrl":"https://rekor.example\n"}` + root},
		{"a URL with an empty port", invalid, `{"sigstore":{"rekorUrl":"https://rekor.example:"}` + root},
		{"a URL with an international name", invalid, `{"sigstore":{"rekorUrl":"https://rekör.example"}` + root},
		{"a URL of 2,049 bytes", invalid, `{"sigstore":{"rekorUrl":"https://rekor.example/` + long(2049-22) + `"}` + root},
		{"keys as a string", invalid, `{"trustedKeys":"exporter.pub"}`},
		{"no keys", invalid, `{"trustedKeys":[]}`},
		{"65 keys", invalid, `{"trustedKeys":[` + many(65, `"exporter.pub"`) + `]}`},
		{"a key that is a number", invalid, `{"trustedKeys":[1]}`},
		{"an empty path", invalid, `{"trustedKeys":[""]}`},
		{"a path with 0x00", invalid, `{"trustedKeys":["a\u0000"]}`},
		{"a path of 4,097 bytes", invalid, `{"streamKey":"` + long(4097) + `"}`},
		{"no trusted roots", invalid, `{"trustedRoot":[]}`},
		{"17 trusted roots", invalid, `{"trustedRoot":[` + many(17, `"local.root.json"`) + `]}`},
		{"a trusted root that is an object", invalid, `{"trustedRoot":{"mediaType":"x"}}`},
		{"policies in an array in an array", invalid, `{"trustPolicy":[["exports.policy"]]}`},
		{"a stream key in an array", invalid, `{"streamKey":["exports.key"]}`},
		{"identities as an object", invalid, `{"identities":` + identity + `}`},
		{"no identities", invalid, `{"identities":[]}`},
		{"65 identities", invalid, `{"identities":[` + many(65, identity) + `]}`},
		{"an identity that is a string", invalid, `{"identities":["ci@acme.example"]}`},
		{"an identity that is an array", invalid, `{"identities":[[]]}`},
		{"an identity in an array in an array", invalid, `{"identities":[[` + identity + `]]}`},
		{"sigstore in an array", invalid, `{"sigstore":[{"rekorUrl":"https://rekor.example"}]` + root},
		{"an issuer that is null", invalid, `{"identities":[{"issuer":null,"subject":"x"}]}`},
		{"a subject of 2,049 bytes", invalid, `{"identities":[{"issuer":"x","subject":"` + long(2049) + `"}]}`},
		{"an invalid member after an identity without issuer", invalid, `{"identities":[{"subject":"x"}],"streamKey":1}`},

		{"an identity without an issuer", CodeIdentityMissing, `{"identities":[{"subject":"ci@acme.example"}]` + root},
		{"an identity without a subject", CodeIdentityMissing, `{"identities":[` + identity + `,{"issuer":"https://issuer.example"}]` + root},
		{"an empty issuer", CodeIdentityMissing, `{"identities":[{"issuer":"","subject":"ci@acme.example"}]` + root},
		{"an empty identity", CodeIdentityMissing, `{"identities":[{}],"licenses":["x"]}`},

		{"an unknown licence", CodeRequirementMalformed, `{"licenses":["GPL"]}`},
		{"licences as a string", CodeRequirementMalformed, `{"licenses":"MIT"}`},
		{"licences that are null", CodeRequirementMalformed, `{"licenses":null}`},
		{"an expression as a licence", CodeRequirementMalformed, `{"licenses":["MIT OR Apache-2.0"]}`},
		{"a number as a licence", CodeRequirementMalformed, `{"licenses":[1]}`},
		{"an unknown country", CodeRequirementMalformed, `{"residency":{"storage-allowed":[{"country":"XX"}]}}`},
		{"__proto__ in places", CodeRequirementMalformed, `{"residency":{"__proto__":[{"country":"DE"}]}}`},
		{"no places", CodeRequirementMalformed, `{"residency":{}}`},
		{"an epsilon that is NaN", CodeRequirementMalformed, `{"epsilon":{"epsilon":"NaN","delta":"0.1"}}`},
		{"an epsilon of 1e400", CodeRequirementMalformed, `{"epsilon":{"epsilon":"1e400","delta":"0.1"}}`},
		{"a negative epsilon", CodeRequirementMalformed, `{"epsilon":{"epsilon":"-1","delta":"0.1"}}`},
		{"an epsilon without delta", CodeRequirementMalformed, `{"epsilon":{"epsilon":"1"}}`},
		{"a delta of 1", CodeRequirementMalformed, `{"epsilon":{"epsilon":"1","delta":"1"}}`},
		{"a requirement before the files", CodeRequirementMalformed, `{"trustedKeys":["missing.pub"],"licenses":["GPL"]}`},

		{"a key that does not exist", unreadable, `{"trustedKeys":["exporter.pub","missing.pub"]}`},
		{"a policy that does not exist", unreadable, `{"trustPolicy":"missing.policy"}`},
		{"a trusted root that does not exist", unreadable, `{"trustedRoot":"missing.root.json"}`},
		{"a stream key that does not exist", unreadable, `{"streamKey":"missing.key"}`},
		{"a damaged key", CodeKeyMalformed, `{"trustedKeys":["damaged.pub"]}`},
		{"an empty key", CodeKeyMalformed, `{"trustedKeys":["empty"]}`},
		{"a private key", CodeKeyMalformed, `{"trustedKeys":["private.pub"]}`},
		{"two keys in a file", CodeKeyMalformed, `{"trustedKeys":["two.pub"]}`},
		{"a policy as key", CodeKeyMalformed, `{"trustedKeys":["exports.policy"]}`},
		{"a key of more than 65,536 bytes", CodeKeyMalformed, `{"trustedKeys":["long.pub"]}`},
		{"a key before a policy", CodeKeyMalformed, `{"trustPolicy":"missing.policy","trustedKeys":["damaged.pub"]}`},
		{"a malformed trusted root", CodeTrustedRootMalformed, `{"trustedRoot":"no-start.root.json"}`},
		{"a key as trusted root", CodeTrustedRootMalformed, `{"trustedRoot":["local.root.json","P-256.pub"]}`},
		{"a trusted root before a policy", CodeTrustedRootMalformed, `{"trustPolicy":"malformed.policy","trustedRoot":"empty"}`},
		{"a malformed policy", CodePolicyMalformed, `{"trustPolicy":["exports.policy","malformed.policy"]}`},
		{"a key as policy", CodePolicyMalformed, `{"trustPolicy":"exporter.pub"}`},
		{"a malformed stream key", CodeStreamKeyMalformed, `{"streamKey":"malformed.key"}`},
		{"a public key as stream key", CodeStreamKeyMalformed, `{"streamKey":"exporter.pub"}`},

		{"an unknown log", CodeRekorUnknown, `{"sigstore":{"rekorUrl":"https://rekor.sigstore.dev"}` + root},
		{"an unknown log of the built-in root", CodeRekorUnknown, `{"sigstore":{"rekorUrl":"https://rekor.example"},"trustedKeys":["P-256.pub"]}`},
		{"a log with http", CodeRekorUnknown, `{"sigstore":{"rekorUrl":"http://rekor.example"}` + root},
		{"a log on another port", CodeRekorUnknown, `{"sigstore":{"rekorUrl":"https://rekor.example:8080"}` + root},
		{"a log with a path", CodeRekorUnknown, `{"sigstore":{"rekorUrl":"https://rekor.example/api"}` + root},
		{"a log with a dot at the end", CodeRekorUnknown, `{"sigstore":{"rekorUrl":"https://rekor.example."}` + root},
		{"a root without logs", CodeRekorUnknown, `{"sigstore":{"rekorUrl":"https://rekor.example"},"trustedRoot":"no-logs.root.json"}`},
		{"the URL of another service", CodeRekorUnknown, `{"sigstore":{"rekorUrl":"https://fulcio.example"}` + root},
	} {
		w.configuration(c.name, c.text, c.code)
	}
	w.configuration("the name of a log's key", `{"sigstore":{"rekorUrl":"https://[::1]:3000"}`+root, CodeRekorUnknown)
}

func (w *world) add(name, config, file string, kind Kind, in *inputs, want string) {
	w.out.Verifications = append(w.out.Verifications, &verificationCases{Name: name, Configuration: config, File: file, Kind: kind, Inputs: in, want: want})
}

func text(s string) *string { return &s }

func (w *world) receiptCases() {
	case_ := func(name string) receiptCase {
		return find(w.t, w.receipts.Cases, func(c receiptCase) string { return c.Name }, name)
	}
	receipt := func(blob, name string) string { return w.blob(blob, case_(name).ReceiptBase64) }
	full := receipt("full.receipt.json", "full")
	verified := receipt("verified.receipt.json", "all expectations of a verified entry met")
	detached := receipt("detached.receipt.json", "detached with its payload")
	payload := w.blob("payload.json", w.receipts.Payloads["p4"])
	w.add("a receipt", "receipts", full, "", nil, "verified")
	w.add("a receipt, with its kind", "receipts", full, Receipt, nil, "verified")
	w.add("a receipt, with a kind that does not exist", "receipts", full, "Receipt", nil, CodeKindUnknown)
	w.add("a receipt with the stream key", "receipts, stream key", full, Receipt, nil, "verified")
	w.add("a receipt of another stream", "receipts, stream key", verified, Receipt, nil, "stream-mismatch")
	w.add("a receipt with expectations", "receipts", verified, Receipt, &inputs{Expect: &expected{Tenant: text("acme"), Kind: text("attestation"), Control: text("SI-7"), Signer: text("ci@acme.example"), Issuer: text("https://issuer.example"), RequireVerified: true, Admitted: true}}, "verified")
	w.add("a receipt with all texts expected", "receipts", full, Receipt, &inputs{Expect: case_("all expectations met").Expect.all()}, "verified")
	w.add("a detached receipt", "receipts", detached, Receipt, &inputs{Payload: payload}, "verified")
	w.add("a detached receipt without payload", "receipts", detached, Receipt, nil, "payload-missing")
	w.add("a detached receipt, header only", "receipts", detached, Receipt, &inputs{HeaderOnly: true}, "verified")
	w.add("an erased payload", "receipts", receipt("erased.receipt.json", "payload-erased, header only"), Receipt, &inputs{HeaderOnly: true}, "verified")
	w.add("an erased header", "receipts", receipt("header-erased.receipt.json", "header-erased, header only"), Receipt, &inputs{HeaderOnly: true}, "verified")
	w.add("a shared receipt", "receipts", receipt("shared.receipt.json", "shared"), Receipt, nil, "verified")
	w.add("a receipt with names of numbers", "receipts", receipt("numbers.receipt.json", "names of numbers, which objects of some languages sort"), Receipt, nil, "verified")
	w.add("a receipt of an entry that was not admitted", "receipts", receipt("recorded.receipt.json", "entry 8 at size 11"), Receipt, nil, "verified")
	w.add("a receipt that witnesses have not signed", "receipts, witnessed", full, Receipt, nil, "checkpoint-quorum")
	w.add("another tenant", "receipts", full, Receipt, &inputs{Expect: &expected{Tenant: text("initech")}}, "tenant-mismatch")
	w.add("an empty expectation", "receipts", full, Receipt, &inputs{Expect: &expected{Kind: text("")}}, "expectation-malformed")
	w.add("a stream ID that is none", "receipts", full, Receipt, &inputs{Expect: &expected{Stream: text("00")}}, "expectation-malformed")
	w.add("no policy", "empty", full, Receipt, nil, "policy-missing")
	w.add("no policy before the expectations", "empty", full, Receipt, &inputs{Expect: &expected{Tenant: text("")}}, "policy-missing")
	for _, c := range []struct{ name, from, want string }{
		{"no bytes", "", "receipt-malformed"}, {"a receipt that ends early", string(w.out.Blobs[full][:900]), "receipt-malformed"},
		{"a receipt of version 1", strings.Replace(string(w.out.Blobs[full]), "receipt.v2+json", "receipt.v1+json", 1), "receipt-version"},
		{"a receipt with __proto__", strings.Replace(string(w.out.Blobs[full]), `{"mediaType"`, `{"__proto__":{},"mediaType"`, 1), "receipt-malformed"},
		{"a receipt with a member twice", strings.Replace(string(w.out.Blobs[full]), `{"mediaType"`, `{"form":"full","mediaType"`, 1), "receipt-malformed"},
		{"a receipt with invalid UTF-8", strings.Replace(string(w.out.Blobs[full]), `{"mediaType"`, "{\"\xff\":\"\",\"mediaType\"", 1), "receipt-malformed"},
	} {
		w.add("receipt: "+c.name, "receipts", w.blob(strings.ReplaceAll(c.name, " ", "-")+".receipt.json", []byte(c.from)), Receipt, nil, c.want)
	}
}

// all returns the expectations without the stream key.
func (e *receiptExpected) all() *expected { return &e.expected }

func (w *world) sigstoreCases() {
	bundle := func(blob, name string) string {
		return w.blob(blob, find(w.t, w.sigstore.Cases, func(c sigstoreCase) string { return c.Name }, name).BundleBase64)
	}
	hello := w.blob("hello.txt", w.sigstore.Artifacts["hello"])
	other := w.blob("other.txt", w.sigstore.Artifacts["other"])
	bare := bundle("bare.sigstore.json", "keyless")
	envelope := bundle("envelope.sigstore.json", "keyless, envelope")
	v2 := bundle("rekor2.sigstore.json", "keyless, Rekor v2, envelope")
	key := bundle("key.sigstore.json", "managed key, envelope")
	const digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	with := &inputs{Artifact: hello}
	w.add("a bare signature", "keyless", bare, "", with, "verified")
	w.add("a bare signature without the artifact", "keyless", bare, SigstoreBundle, nil, "artifact-missing")
	w.add("a bare signature with the digest only", "keyless", bare, SigstoreBundle, &inputs{ArtifactDigest: digest}, "artifact-missing")
	w.add("a bare signature of something else", "keyless", bare, SigstoreBundle, &inputs{Artifact: other}, "artifact-mismatch")
	w.add("an envelope", "keyless", envelope, "", with, "verified")
	w.add("an envelope with the digest", "keyless", envelope, SigstoreBundle, &inputs{ArtifactDigest: digest}, "verified")
	w.add("an envelope without an artifact", "keyless", envelope, SigstoreBundle, nil, "verified")
	w.add("an envelope that is no statement", "keyless", bundle("other-content.sigstore.json", "keyless, envelope that is no statement, no artifact"), SigstoreBundle, nil, "verified")
	w.add("an envelope about something else", "keyless", envelope, SigstoreBundle, &inputs{Artifact: other}, "artifact-mismatch")
	w.add("two times", "keyless", bundle("two-times.sigstore.json", "keyless, Rekor v1 and a timestamp"), SigstoreBundle, with, "verified")
	w.add("the second root", "keyless, two roots", envelope, SigstoreBundle, with, "verified")
	w.add("a root that does not know the log", "keyless, built-in root", envelope, SigstoreBundle, with, "log-unknown")
	w.add("another identity", "keyless, another identity", envelope, SigstoreBundle, with, "identity-mismatch")
	w.add("another issuer", "keyless, another issuer", envelope, SigstoreBundle, with, "issuer-mismatch")
	w.add("Rekor v1, which is selected", "keyless, Rekor v1 only", envelope, SigstoreBundle, with, "verified")
	w.add("Rekor v1, which is not selected", "keyless, Rekor v2 only", envelope, SigstoreBundle, with, "log-unknown")
	w.add("Rekor v2, which is selected", "keyless, Rekor v2 only", v2, SigstoreBundle, with, "verified")
	w.add("Rekor v2, which is not selected", "keyless, Rekor v1 only", v2, SigstoreBundle, with, "log-unknown")
	w.add("a managed key", "managed key", key, "", with, "verified")
	w.add("a managed key, keys and identities", "keyless and managed key", key, SigstoreBundle, with, "verified")
	w.add("a certificate, keys and identities", "keyless and managed key", envelope, SigstoreBundle, with, "verified")
	w.add("a certificate where keys are trusted", "managed key", envelope, SigstoreBundle, with, "material-mismatch")
	w.add("a key where identities are trusted", "keyless", key, SigstoreBundle, with, "material-mismatch")
	w.add("a log that the built-in root does not know", "as short as can be", key, SigstoreBundle, with, "log-unknown")
	w.add("a bundle without identities and keys", "receipts", envelope, SigstoreBundle, with, "policy-missing")
	w.add("a bundle that ends early", "keyless", w.blob("short.sigstore.json", w.out.Blobs[envelope][:700]), SigstoreBundle, with, "bundle-malformed")
	w.add("a bundle with __proto__", "keyless", w.blob("proto.sigstore.json", bytes.Replace(w.out.Blobs[envelope], []byte("{"), []byte(`{"__proto__":{},`), 1)), SigstoreBundle, with, "bundle-malformed")
	w.add("a bundle of another version", "keyless", bundle("version.sigstore.json", "an unknown version"), SigstoreBundle, with, "bundle-version")
	w.add("a changed signature", "keyless", bundle("changed.sigstore.json", "an envelope of another type"), SigstoreBundle, with, "statement-malformed")
}

func (w *world) export(name string) exportCase {
	return find(w.t, w.exports.Cases, func(c exportCase) string { return c.Name }, name)
}

// folder adds the files of an export.
func (w *world) folder(name string) map[string]string {
	files := map[string]string{}
	for path, content := range w.exports.Files[name] {
		blob := "files-" + strings.ReplaceAll(name, " ", "-") + "-" + strings.ReplaceAll(path, "/", "-")
		files[path] = w.blob(blob, content)
	}
	return files
}

// sampleCases adds an export with all its proofs, and tampered ones.
func (w *world) sampleCases() {
	const all = "good with everything"
	c := w.export(all)
	manifest := w.blob("sample.export.sigstore.json", c.Manifest)
	receipt := w.blob("sample.receipt.json", w.exports.Receipts[all])
	stream := w.blob("sample.bundle.tar", w.exports.Streams[all])
	good := inputs{Files: w.folder("good"), Receipt: receipt, Stream: stream, Expect: &expected{Tenant: text("acme"), Export: text("embeddings-2026-11")}}
	with := func(change func(*inputs)) *inputs {
		in := good
		change(&in)
		return &in
	}
	w.add("sample", "sample", manifest, "", &good, "verified")
	w.add("sample, with its kind", "sample", manifest, Export, &good, "verified")

	n := 0
	tampered := func(name, config, file string, in *inputs, want string) {
		n++
		w.add(fmt.Sprintf("tampered %d: %s", n, name), config, file, Export, in, want)
	}
	edited := func(blob, of, from, to string) string {
		content := w.out.Blobs[of]
		if !bytes.Contains(content, []byte(from)) {
			w.t.Fatalf("%s has no %q", of, from)
		}
		return w.blob(blob, bytes.Replace(content, []byte(from), []byte(to), 1))
	}
	t := func(i int, kind string) string { return fmt.Sprintf("tampered-%d.%s", i, kind) }
	tampered("a changed statement", "sample", w.restated(t(1, "export.sigstore.json"), manifest, "embeddings-2026-11", "embeddings-2026-12"), &good, "signature-unverified")
	tampered("a smaller epsilon", "sample", w.restated(t(2, "export.sigstore.json"), manifest, `"epsilon":"2.7"`, `"epsilon":"0.7"`), &good, "signature-unverified")
	tampered("another signer", "sample, another signer", manifest, &good, "signature-unverified")
	tampered("a payload type that lies", "sample", edited(t(4, "export.sigstore.json"), manifest, "application/vnd.in-toto+json", "application/json"), &good, "payload-type")
	tampered("a manifest that ends early", "sample", w.blob(t(5, "export.sigstore.json"), w.out.Blobs[manifest][:3000]), &good, "manifest-malformed")
	tampered("a second payload", "sample", edited(t(6, "export.sigstore.json"), manifest, `"payloadType"`, `"payload":"e30=","payloadType"`), &good, "manifest-malformed")
	tampered("invalid UTF-8", "sample", edited(t(7, "export.sigstore.json"), manifest, `"payloadType"`, "\"\xff\":\"\",\"payloadType\""), &good, "manifest-malformed")
	tampered("a changed file", "sample", manifest, with(func(in *inputs) { in.Files = w.folder("changed") }), "file-digest")
	tampered("a longer file", "sample", manifest, with(func(in *inputs) { in.Files = w.folder("longer") }), "file-size")
	tampered("a missing file", "sample", manifest, with(func(in *inputs) { in.Files = w.folder("missing") }), "file-missing")
	tampered("an extra file", "sample", manifest, with(func(in *inputs) { in.Files = w.folder("extra") }), "file-extra")
	tampered("a receipt that ends early", "sample", manifest, with(func(in *inputs) { in.Receipt = w.blob(t(12, "receipt.json"), w.out.Blobs[receipt][:700]) }), "receipt-malformed")
	tampered("a receipt with another time", "sample", manifest, with(func(in *inputs) {
		in.Receipt = edited(t(13, "receipt.json"), receipt, `"time":1700000000005`, `"time":1600000000005`)
	}), "inclusion")
	tampered("a receipt of another manifest", "sample", manifest, with(func(in *inputs) {
		in.Receipt = w.blob(t(14, "receipt.json"), w.exports.Receipts["good with evidence"])
	}), "payload-mismatch")
	tampered("a receipt of another log", "sample, another log", manifest, &good, "checkpoint-unsigned")
	tampered("a stream that ends early", "sample", manifest, with(func(in *inputs) { in.Stream = w.blob(t(16, "bundle.tar"), w.exports.Streams["truncated"]) }), "archive-malformed")
	tampered("a changed record of the stream", "sample", manifest, with(func(in *inputs) {
		in.Stream = edited(t(17, "bundle.tar"), stream, `\"rho\":\"0.05\"`, `\"rho\":\"0.04\"`)
	}), "member-digest")
	tampered("a stream from before the manifest", "sample", manifest, with(func(in *inputs) { in.Stream = w.blob(t(18, "bundle.tar"), w.exports.Streams["short"]) }), "entry-missing")
	tampered("another stream's key", "sample, another stream", manifest, &good, "stream-mismatch")
	tampered("another tenant", "sample", manifest, with(func(in *inputs) { in.Expect = &expected{Tenant: text("globex")} }), "tenant-mismatch")
	tampered("another export", "sample", manifest, with(func(in *inputs) { in.Expect = &expected{Export: text("embeddings-2026-10")} }), "export-mismatch")
	for _, c := range []struct{ name, want string }{
		{"a stream that hides an entry", "stream-incomplete"}, {"a header with another amount", "entry-differs"}, {"a spend whose header was erased", "spend-unreadable"},
		{"a spend of another flavor", "spend-differs"}, {"a spend that was left out", "spent-understated"}, {"evidence that does not exist", "evidence-missing"}, {"a manifest recorded as another kind", "kind-mismatch"},
	} {
		one := w.export(c.name)
		i := n + 1
		tampered(c.name, "sample", w.blob(t(i, "export.sigstore.json"), one.Manifest), with(func(in *inputs) {
			in.Receipt, in.Stream = w.blob(t(i, "receipt.json"), w.exports.Receipts[one.Receipt]), w.blob(t(i, "bundle.tar"), w.exports.Streams[one.Stream])
		}), c.want)
	}
	w.add("sample, licences that are not allowed", "sample, fewer licences", manifest, Export, &good, "license-not-allowed")
	w.add("sample, places that are not allowed", "sample, other places", manifest, Export, &good, "storage-not-allowed")
	w.add("sample, more than the budget", "sample, less budget", manifest, Export, &good, "epsilon-not-allowed")
	w.add("sample, no policy", "sample, without the policy", manifest, Export, &good, "policy-missing")
	w.add("sample, no stream key", "sample, without the stream key", manifest, Export, &good, "stream-key-missing")
	w.add("sample, no receipt", "sample", manifest, Export, with(func(in *inputs) { in.Receipt = "" }), "receipt-missing")
	w.add("sample, an empty tenant", "sample", manifest, Export, with(func(in *inputs) { in.Expect = &expected{Tenant: text("")} }), "expectation-malformed")
	w.add("sample, nothing but the key", "exporter's key", manifest, "", nil, "verified")
	w.add("sample, several keys and policies", "exporter's key and the log", manifest, "", &inputs{Receipt: receipt}, "verified")
	w.add("sample, nothing trusted", "receipts", manifest, Export, &good, "trust-missing")
	w.add("sample, an identity", "exporter's identity", manifest, Export, nil, "signature-unverified")
}

// restated returns a manifest whose statement is changed, with the old
// signature.
func (w *world) restated(blob, of, from, to string) string {
	var b map[string]json.RawMessage
	var env map[string]json.RawMessage
	var payload []byte
	must := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	must(json.Unmarshal(w.out.Blobs[of], &b))
	must(json.Unmarshal(b["dsseEnvelope"], &env))
	must(json.Unmarshal(env["payload"], &payload))
	if !bytes.Contains(payload, []byte(from)) {
		w.t.Fatalf("no %q in %s", from, payload)
	}
	changed := base64.StdEncoding.EncodeToString(bytes.Replace(payload, []byte(from), []byte(to), 1))
	text := bytes.Replace(w.out.Blobs[of], []byte(base64.StdEncoding.EncodeToString(payload)), []byte(changed), 1)
	if bytes.Equal(text, w.out.Blobs[of]) {
		w.t.Fatal("nothing changed")
	}
	return w.blob(blob, text)
}

// manifestCases adds manifests that a signer has signed with a fault, and good
// ones with each warning.
func (w *world) manifestCases() {
	for i, name := range []string{"good envelope", "good with pure differential privacy", "good without privacy", "good without limits on places", "evidence without a stream", "written for another version of the list"} {
		w.add(name, "exporter's key", w.blob(fmt.Sprintf("good-%d.export.sigstore.json", i+1), w.export(name).Manifest), "", nil, "verified")
	}
	for i, name := range []string{
		`epsilon "NaN"`, `epsilon "-1"`, `epsilon "1e400"`, `a scale of "1/0"`, "1e400 as JSON", "an epsilon that does not add up", "a rho that does not add up", "a budget that is exceeded", "another flavor",
		"an unknown licence", "a malformed expression", "a country outside of the list", "a cloud region outside of the list", "a cloud region of another country",
		`a file "../secret"`, `a file "/etc/passwd"`, `a file "C:/x"`, "names that differ in case", "subjects in another order", "a claim by somebody who has not signed",
		"a member of the predicate twice", "__proto__", "__proto__ in a file", "constructor", "a statement with invalid UTF-8", "a country that an object inherits", "a licence that an object inherits", "the predicate of version 1",
	} {
		c := w.export(name)
		w.add("manifest: "+name, "exporter's key", w.blob(fmt.Sprintf("bad-%d.export.sigstore.json", i+1), c.Manifest), Export, nil, c.Reason)
	}
}

func (w *world) evidenceCases() {
	name := func(c bundleCase) string { return c.Name }
	good := find(w.t, w.bundles.Cases, name, "good")
	file := w.blob("evidence.bundle.tar", good.file(w.bundles.Bundles))
	id := find(w.t, w.bundles.Cases, name, "as expected").Expect.Identity
	w.add("an evidence bundle", "evidence", file, "", nil, "verified")
	w.add("an evidence bundle, complete", "evidence, stream key", file, EvidenceBundle, &inputs{Expect: &expected{Tenant: text("acme"), Identity: id}}, "verified")
	w.add("an evidence bundle, configured with escapes", "white space and escapes", file, "", nil, "verified")
	w.add("a stream", "evidence, stream key", file, Stream, &inputs{Expect: &expected{Tenant: text("acme")}}, "verified")
	w.add("the stream of the sample", "sample", "sample.bundle.tar", Stream, nil, "verified")
	for i, name := range []string{"a spend whose header was erased", "a spend of another kind", "a spend without an amount", "a spend of another flavor"} {
		w.add("a stream with "+name, "sample", w.blob(fmt.Sprintf("spends-%d.bundle.tar", i+1), w.exports.Streams[name]), Stream, nil, "verified")
	}
	w.add("a stream without its key", "evidence", file, Stream, nil, "stream-key-missing")
	w.add("a stream without a key, an empty tenant", "evidence", file, Stream, &inputs{Expect: &expected{Tenant: text("")}}, "stream-key-missing")
	w.add("a stream without a policy", "empty", file, Stream, nil, "policy-missing")
	w.add("a stream with an empty tenant", "evidence, stream key", file, Stream, &inputs{Expect: &expected{Tenant: text("")}}, "expectation-malformed")
	w.add("another stream's key", "evidence, another stream key", file, Stream, nil, "stream-key-mismatch")
	w.add("another tenant's stream", "evidence, stream key", file, Stream, &inputs{Expect: &expected{Tenant: text("globex")}}, "tenant-mismatch")
	w.add("an evidence bundle without a policy", "keyless", file, EvidenceBundle, nil, "policy-missing")
	w.add("another identity of a bundle", "evidence", file, EvidenceBundle, &inputs{Expect: &expected{Identity: text("sha256:" + strings.Repeat("0", 64))}}, "identity-mismatch")
	w.add("an identity that is none", "evidence", file, EvidenceBundle, &inputs{Expect: &expected{Identity: text("sha256:x")}}, "expectation-malformed")
	w.add("an evidence bundle that ends early", "evidence", w.blob("short.bundle.tar", w.out.Blobs[file][:2000]), EvidenceBundle, nil, "archive-malformed")
	for i, name := range []string{"a name that leads out of the folder", "a manifest with a member twice", "a changed payload", "a stream that goes on"} {
		c := find(w.t, w.bundles.Cases, func(c bundleCase) string { return c.Name }, name)
		w.add("evidence: "+name, "evidence, stream key", w.blob(fmt.Sprintf("bad-%d.bundle.tar", i+1), c.file(w.bundles.Bundles)), EvidenceBundle, nil, c.Reason)
	}
}

// recognition adds files whose kind is not named.
func (w *world) recognition() {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(make([]byte, 16<<20))
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	full := string(w.out.Blobs["full.receipt.json"])
	sample := string(w.out.Blobs["sample.export.sigstore.json"])
	for i, c := range []struct{ name, content, config, want string }{
		{"nothing", "", "sample", CodeKindUnknown},
		{"text", "hello\n", "sample", CodeKindUnknown},
		{"a compressed file", bomb.String(), "sample", CodeKindUnknown},
		{"zeros", strings.Repeat("\x00", 1024), "sample", CodeKindUnknown},
		{"an object", `{}`, "sample", CodeKindUnknown},
		{"an array", `[` + full + `]`, "receipts", CodeKindUnknown},
		{"a media type that is an object", `{"mediaType":{}}`, "sample", CodeKindUnknown},
		{"a media type of nothing known", `{"mediaType":"application/json"}`, "sample", CodeKindUnknown},
		{"an inherited member", `{"__proto__":{"mediaType":"application/vnd.muniment.receipt.v2+json"}}`, "receipts", CodeKindUnknown},
		{"a receipt with a member twice", strings.Replace(full, `{"mediaType"`, `{"form":"full","mediaType"`, 1), "receipts", CodeKindUnknown},
		{"a receipt with white space", " \n" + full + "\n", "receipts", "verified"},
		{"a receipt with an escaped media type", strings.Replace(full, "application/vnd.muniment", `application\/vnd.muniment`, 1), "receipts", "verified"},
		{"a receipt of a later version", `{"mediaType":"application/vnd.muniment.receipt.v3+json"}`, "receipts", "receipt-version"},
		{"a bundle without a media type", `{"verificationMaterial":{},"dsseEnvelope":{}}`, "keyless", "bundle-malformed"},
		{"a bundle of a later version", `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.9+json"}`, "keyless", "bundle-version"},
		{"an envelope of anything", `{"payloadType":"text/plain","payload":"eA==","signatures":[{"sig":"eA=="}]}`, "exporter's key", "payload-type"},
		{"an export in a bundle without media type", strings.Replace(sample, `"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",`, "", 1), "exporter's key", "verified"},
		{"the head of an archive", strings.Repeat("\x00", 257) + "ustar", "evidence", "archive-malformed"},
		{"a receipt that looks like an archive", full[:1] + strings.Repeat(" ", 256) + "ustar", "evidence", "archive-malformed"},
	} {
		w.add("recognized: "+c.name, c.config, w.blob(fmt.Sprintf("unnamed-%d", i+1), []byte(c.content)), "", nil, c.want)
	}
	w.add("an unexpected input: files of a receipt", "receipts", "full.receipt.json", "", &inputs{Files: map[string]string{"x": "empty"}}, CodeInputUnexpected)
	w.add("an unexpected input: the payload of a bundle", "keyless", "envelope.sigstore.json", "", &inputs{Payload: "hello.txt"}, CodeInputUnexpected)
	w.add("an unexpected input: the tenant of a bundle", "keyless", "envelope.sigstore.json", "", &inputs{Expect: &expected{Tenant: text("acme")}}, CodeInputUnexpected)
	w.add("an unexpected input: the artifact of an export", "sample", "sample.export.sigstore.json", Export, &inputs{Artifact: "hello.txt"}, CodeInputUnexpected)
	w.add("an unexpected input: the identity of a stream", "sample", "sample.bundle.tar", Stream, &inputs{Expect: &expected{Identity: text("sha256:x")}}, CodeInputUnexpected)
	w.add("an unexpected input before a missing policy", "empty", "full.receipt.json", Receipt, &inputs{Receipt: "full.receipt.json"}, CodeInputUnexpected)
	w.add("a receipt named as an export", "sample", "full.receipt.json", Export, nil, "manifest-malformed")
	w.add("an export named as a Sigstore bundle", "managed key", "sample.export.sigstore.json", SigstoreBundle, nil, "entry-missing")
	w.add("an export named as an evidence bundle", "evidence", "sample.export.sigstore.json", EvidenceBundle, nil, "archive-malformed")
}
