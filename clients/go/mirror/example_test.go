package mirror_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/clients/go/mirror"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/ledger/receipt"
)

// Update copies a log into a folder, and Handler serves the copy. An auditor
// can then read the mirror instead of the log.
func ExampleUpdate() {
	server := ledgerrig.Start()
	defer server.Close()
	server.Record("one", "two", "three")
	ctx := context.Background()

	policy, err := receipt.ParseTrustPolicy("policy", server.Policy)
	if err != nil {
		log.Fatal(err)
	}
	source, err := audit.NewHTTPSource(server.URL+"/tlog/", nil)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "mirror")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	report, err := mirror.Update(ctx, source, policy, dir, mirror.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("copied %d entries of %s\n", report.Size-report.From, report.Origin)

	copied := httptest.NewServer(mirror.Handler(dir, report.Origin))
	defer copied.Close()
	source, err = audit.NewHTTPSource(copied.URL+"/tlog/", nil)
	if err != nil {
		log.Fatal(err)
	}
	audited, _, err := audit.Run(ctx, source, policy, nil, audit.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("the copy is sound: %d entries\n", audited.Size)
	// Output:
	// copied 3 entries of ledger.example
	// the copy is sound: 3 entries
}
