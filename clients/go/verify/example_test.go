package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing/fstest"

	"muniment.dev/muniment/clients/go/verify"
)

// shared are the test vectors, from which the examples take their files.
var shared struct {
	Blobs          map[string][]byte `json:"blobs"`
	Configurations []struct {
		Name string            `json:"name"`
		Text []byte            `json:"configurationBase64"`
		File map[string]string `json:"files"`
	} `json:"configurations"`
}

var readShared = sync.OnceFunc(func() {
	text, err := os.ReadFile("../../../docs/spec/vectors/verify.json")
	if err == nil {
		err = json.Unmarshal(text, &shared)
	}
	if err != nil {
		panic(err)
	}
})

// load returns a verifier with a configuration of the vectors. Programs use
// verify.LoadConfig.
func load(name string) *verify.Verifier {
	readShared()
	for _, c := range shared.Configurations {
		if c.Name != name {
			continue
		}
		config, err := verify.ParseConfig(c.Text, func(path string) (io.ReadCloser, error) {
			content, ok := shared.Blobs[path]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(bytes.NewReader(content)), nil
		})
		if err != nil {
			panic(err)
		}
		return verify.New(config)
	}
	panic("no configuration " + name)
}

func file(name string) *verify.File {
	readShared()
	return verify.Bytes(name, shared.Blobs[name])
}

func expect[T any](v T) *T { return &v }

func ExampleParseConfig() {
	_, err := verify.ParseConfig([]byte(`{"identities": [{"subject": "ci@acme.example"}]}`), func(string) (io.ReadCloser, error) {
		return nil, fs.ErrNotExist
	})
	var fault *verify.ConfigError
	fmt.Println(errors.As(err, &fault), fault.Code)
	// Output:
	// true identity-missing
}

func ExampleVerifier_Receipt() {
	r, err := load("receipts").Receipt(context.Background(), file("verified.receipt.json"), verify.ReceiptOptions{
		Tenant: expect("acme"), Kind: expect("attestation"), Signer: expect("ci@acme.example"), Issuer: expect("https://issuer.example"), Admitted: true,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Verdict, r.Receipt.Proven.Index, r.Receipt.Proven.Origin, r.Warnings)
	// Output:
	// verified 6 ledger.example/demo [not-witnessed]
}

func ExampleVerifier_Bundle() {
	v := load("keyless")
	artifact := bytes.NewReader(shared.Blobs["hello.txt"])
	r, err := v.Bundle(context.Background(), file("envelope.sigstore.json"), verify.BundleOptions{Artifact: artifact})
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Verdict, r.Bundle.Proven.Signer.Identity, r.Bundle.Claimed.PredicateType)

	r, err = v.Bundle(context.Background(), file("envelope.sigstore.json"), verify.BundleOptions{Artifact: strings.NewReader("something else")})
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Verdict, r.Code, "in step", r.Step)
	// Output:
	// verified ci@acme.example https://example.com/p
	// not-verified artifact-mismatch in step 3
}

func ExampleVerifier_Export() {
	v := load("sample")
	folder := fstest.MapFS{ // programs use os.DirFS, or os.Root
		"assets/part-0000.csv": {Data: shared.Blobs["files-good-assets-part-0000.csv"]},
		"schema.json":          {Data: shared.Blobs["files-good-schema.json"]},
		"empty.txt":            {},
	}
	r, err := v.Export(context.Background(), file("sample.export.sigstore.json"), verify.ExportOptions{
		Files: folder, Receipt: file("sample.receipt.json"), Stream: file("sample.bundle.tar"), Tenant: expect("acme"),
	})
	if err != nil {
		panic(err)
	}
	p := r.Export.Proven
	fmt.Println(r.Verdict, p.ExportID, "ε", p.Privacy.Epsilon, "recorded as entry", p.Entry.Index)
	for _, c := range r.Export.Claimed.Residency {
		fmt.Println("claimed:", c.Activity, "in", c.Places)
	}
	fmt.Println(r.Warnings)
	// Output:
	// verified embeddings-2026-11 ε 2.7 recorded as entry 5
	// claimed: storage in [DE-BE aws:eu-west-3]
	// claimed: processing in [aws:eu-central-1]
	// [residency-without-evidence not-witnessed]
}

func ExampleVerifier_Stream() {
	r, err := load("sample").Stream(context.Background(), file("sample.bundle.tar"), verify.StreamOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Verdict, r.Stream.Proven.Entries, "entries, complete up to size", r.Stream.Proven.Size)
	for _, s := range r.Stream.Claimed.Spends {
		fmt.Println(s.Budget, s.Spends, "spends, ρ", s.Sum)
	}
	// Output:
	// verified 6 entries, complete up to size 8
	// acme-2026 3 spends, ρ 3.17
	// another 1 spends, ρ 100
}

func ExampleVerifier_EvidenceBundle() {
	r, err := load("evidence, stream key").EvidenceBundle(context.Background(), file("evidence.bundle.tar"), verify.EvidenceBundleOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Verdict, r.EvidenceBundle.Proven.Complete, r.Warnings)
	// Output:
	// verified true [not-witnessed erased reports-not-compared]
}

func ExampleVerifier_Verify() {
	r, err := load("receipts").Verify(context.Background(), file("hello.txt"), "", verify.Inputs{})
	if err != nil {
		panic(err)
	}
	fmt.Println(r.Verdict, r.Code)
	// Output:
	// error kind-unknown
}

func ExampleReport_Text() {
	r, err := load("receipts").Receipt(context.Background(), file("detached.receipt.json"), verify.ReceiptOptions{})
	if err != nil {
		panic(err)
	}
	lines := strings.Split(r.Text(), "\n")
	fmt.Println(lines[0])
	fmt.Println(lines[len(lines)-2])
	// Output:
	// ✗ NOT VERIFIED  receipt  detached.receipt.json
	// What this report does not prove: docs/sdk-trust-boundary.md#receipts
}

func ExampleReport_JSON() {
	r, err := load("empty").Receipt(context.Background(), file("full.receipt.json"), verify.ReceiptOptions{})
	if err != nil {
		panic(err)
	}
	before, _, _ := strings.Cut(string(r.JSON()), `,"code"`)
	fmt.Println(before)
	// Output:
	// {"file":"full.receipt.json","kind":"receipt","verdict":"error"
}

func ExampleReport_HTML() {
	r, err := load("receipts").Receipt(context.Background(), verify.Bytes("<b>.receipt.json", nil), verify.ReceiptOptions{})
	if err != nil {
		panic(err)
	}
	page := string(r.HTML())
	fmt.Println(strings.Contains(page, "<title>✗ NOT VERIFIED: &lt;b&gt;.receipt.json</title>"), strings.Contains(page, "<script"))
	// Output:
	// true false
}
