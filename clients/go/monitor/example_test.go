package monitor_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/clients/go/monitor"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/ledger/receipt"
)

// A Monitor watches a tenant's entries and raises an alert for each one whose
// submitter should be inactive. Run does the same at intervals.
func ExampleMonitor_Rounds() {
	server := ledgerrig.Start()
	defer server.Close()
	client, err := muniment.New(muniment.Options{Server: server.URL, Token: server.Token})
	if err != nil {
		log.Fatal(err)
	}
	policy, err := receipt.ParseTrustPolicy("policy", server.Policy)
	if err != nil {
		log.Fatal(err)
	}
	source, err := audit.NewHTTPSource(server.URL+"/tlog/", nil)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "monitor")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	m := &monitor.Monitor{
		Dir: dir, // keeps the state and the alerts
		Now: time.Now,
		Logs: []monitor.Log{{
			Name:      "ledger",
			Source:    source,
			Policy:    policy,
			StreamKey: server.StreamKey,
			Entries:   monitor.TenantEntries(client),
			Watch:     monitor.Watch{Identities: []string{"token:admin"}},
		}},
	}
	ctx := context.Background()
	show := func() {
		for _, r := range m.Rounds(ctx) {
			if r.Err != nil {
				log.Fatal(r.Err)
			}
			fmt.Printf("%s: size %d, %d new\n", r.Log, r.Size, r.New)
			for _, a := range r.Found {
				fmt.Println(a.Kind, a.Matched)
			}
		}
	}
	show()
	server.Record("surprise")
	show()
	// Output:
	// ledger: size 0, 0 new
	// ledger: size 1, 1 new
	// unexpected token:admin
}
