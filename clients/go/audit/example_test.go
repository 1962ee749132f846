package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/ledger/receipt"
)

// Run audits a log and the stream of one of its tenants. The state file makes
// the next run check that the log has only grown since.
func ExampleRun() {
	server := ledgerrig.Start()
	defer server.Close()
	server.Record("one", "two")

	policy, err := receipt.ParseTrustPolicy("policy", server.Policy)
	if err != nil {
		log.Fatal(err)
	}
	source, err := audit.NewHTTPSource(server.URL+"/tlog/", nil)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "audit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "audit.json")

	for range 2 { // as cron would, at intervals
		state, err := audit.LoadState(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Fatal(err)
		}
		report, state, err := audit.Run(context.Background(), source, policy, state, audit.Options{StreamKey: server.StreamKey})
		switch {
		case errors.Is(err, audit.ErrForked):
			log.Fatal("the log signed two histories: ", err)
		case errors.Is(err, audit.ErrStream):
			log.Fatal("entries of the tenant are missing: ", err)
		case err != nil:
			log.Fatal(err)
		}
		if err := state.Save(path); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %d entries, %d new, %d of the stream, complete: %t\n",
			report.Origin, report.Size, report.Size-report.From, report.Stream.Found, report.Stream.Complete())
		server.Record("three")
	}
	// Output:
	// ledger.example: 2 entries, 2 new, 2 of the stream, complete: true
	// ledger.example: 3 entries, 1 new, 3 of the stream, complete: true
}
