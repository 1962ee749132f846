package receipt_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"

	"muniment.dev/muniment/ledger/receipt"
)

// Verify needs a receipt and a policy, and no network. A gate should always
// expect a tenant, a kind and a subject: without them any genuine receipt of
// the log verifies.
func ExampleVerify() {
	data, policyFile := vector("all expectations of a verified entry met") // read them from files

	policy, err := receipt.ParseTrustPolicy("policy", policyFile)
	if err != nil {
		log.Fatal(err)
	}
	tenant, kind := "acme", "attestation"
	subject := "sha256:b05486c7957763e5781e7271d3d4eff1ec8ccb2ae7e246b0c50d4dc4051e74a3"
	statement, err := receipt.Verify(data, []*receipt.TrustPolicy{policy}, receipt.Options{
		Tenant: &tenant, Kind: &kind, Subject: &subject, RequireVerified: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("entry %d of %s, in its tree of size %d\n", statement.Index, statement.Origin, statement.Size)
	fmt.Printf("signed by %s\n", statement.Signers[0])
	fmt.Printf("witnessed: %t\n", statement.Witnessed)
	// Output:
	// entry 6 of ledger.example/demo, in its tree of size 11
	// signed by ledger.example/demo+1b0cd458
	// witnessed: false
}

// Every error of Verify is an [*receipt.Error]. Its step and code are those of
// docs/spec/receipt.md. An error that wraps [receipt.ErrNotVerified] is a
// verdict about the receipt; any other is an error of the caller.
func ExampleError() {
	data, policyFile := vector("full")
	policy, err := receipt.ParseTrustPolicy("policy", policyFile)
	if err != nil {
		log.Fatal(err)
	}

	for _, tenant := range []string{"initech", ""} {
		_, err = receipt.Verify(data, []*receipt.TrustPolicy{policy}, receipt.Options{Tenant: &tenant})
		if e, ok := errors.AsType[*receipt.Error](err); ok {
			fmt.Printf("step %d, %s, a verdict: %t\n", e.Step, e.Code, errors.Is(err, receipt.ErrNotVerified))
			fmt.Println(e.Message)
		}
	}
	// Output:
	// step 10, tenant-mismatch, a verdict: true
	// tenant: the entry belongs to "globex", not to "initech"
	// step 0, expectation-malformed, a verdict: false
	// tenant: empty: omit it if none is expected
}

// A policy lists the keys of a log and its witnesses, and the quorum of
// witnesses that a receipt needs.
func ExampleParseTrustPolicy() {
	_, policyFile := vector("witnessed, quorum asks for it")
	policy, err := receipt.ParseTrustPolicy("policy", policyFile)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(policy.Origin(), "requires a witness:", policy.RequiresWitness())

	_, err = receipt.ParseTrustPolicy("policy", []byte("log\n"))
	if e, ok := errors.AsType[*receipt.Error](err); ok {
		fmt.Println(e.Code)
	}
	// Output:
	// ledger.example/demo requires a witness: true
	// policy-malformed
}

// vector returns the receipt and the policy of a case of
// docs/spec/vectors/receipts.json.
func vector(name string) (data, policy []byte) {
	file, err := os.ReadFile("../../docs/spec/vectors/receipts.json")
	if err != nil {
		log.Fatal(err)
	}
	var vectors struct {
		Policies map[string]string
		Cases    []struct {
			Name          string
			ReceiptBase64 []byte
			Policies      []string
		}
	}
	if err := json.Unmarshal(file, &vectors); err != nil {
		log.Fatal(err)
	}
	for _, c := range vectors.Cases {
		if c.Name == name {
			return c.ReceiptBase64, []byte(vectors.Policies[c.Policies[0]])
		}
	}
	log.Fatal("no case named ", name)
	return nil, nil
}
