package muniment_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	muniment "muniment.dev/muniment/clients/go"

	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/ledger/receipt"
)

// Append records a document and verifies its receipt before it returns it. The
// policy file comes from the ledger's operator, and makes the client
// independent of the server's honesty.
func ExampleClient_Append() {
	server := ledgerrig.Start() // stands for https://ledger.example
	defer server.Close()

	policy, err := receipt.ParseTrustPolicy("policy", server.Policy)
	if err != nil {
		log.Fatal(err)
	}
	client, err := muniment.New(muniment.Options{Server: server.URL, Token: server.Token, Policy: policy})
	if err != nil {
		log.Fatal(err)
	}
	result, err := client.Append(context.Background(), muniment.Submission{
		Kind:      "attestation",
		MediaType: "text/plain",
		Payload:   []byte("the release was approved"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("entry", result.Index, "recorded before:", result.Duplicate)

	// Keep result.Receipt beside the document. It verifies without the server.
	statement, err := receipt.Verify(result.Receipt, []*receipt.TrustPolicy{policy}, receipt.Options{
		Payload: []byte("the release was approved"),
		Tenant:  &client.Tenant,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("in the log", statement.Origin, "at size", statement.Size)
	// Output:
	// entry 0 recorded before: false
	// in the log ledger.example at size 1
}

// AppendBatch returns one result per submission, in order. A refused submission
// does not affect the others.
func ExampleClient_AppendBatch() {
	server := ledgerrig.Start()
	defer server.Close()

	client, err := muniment.New(muniment.Options{Server: server.URL, Token: server.Token})
	if err != nil {
		log.Fatal(err)
	}
	results, err := client.AppendBatch(context.Background(), []muniment.Submission{
		{Kind: "attestation", MediaType: "text/plain", Payload: []byte("first")},
		{Kind: "no-such-kind", MediaType: "text/plain", Payload: []byte("second")},
		{Kind: "attestation", MediaType: "text/plain", Payload: []byte("first")},
	})
	if err != nil {
		log.Fatal(err) // the call as a whole failed
	}
	for i, r := range results {
		switch {
		case r.Err != nil:
			fmt.Println(i, "refused")
		case r.Duplicate:
			fmt.Println(i, "already recorded as entry", r.Index)
		default:
			fmt.Println(i, "recorded as entry", r.Index)
		}
	}
	// Output:
	// 0 recorded as entry 0
	// 1 refused
	// 2 already recorded as entry 0
}

// AppendStream sends a payload in chunks. ReadPayload gets it back.
func ExampleClient_AppendStream() {
	server := ledgerrig.Start()
	defer server.Close()

	client, err := muniment.New(muniment.Options{Server: server.URL, Token: server.Token, StreamKey: server.StreamKey})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	result, err := client.AppendStream(ctx, muniment.Stream{
		Kind:      "attestation",
		MediaType: "text/plain",
		Payload:   strings.NewReader(strings.Repeat("scan result\n", 200_000)),
	})
	if err != nil {
		log.Fatal(err)
	}
	var back strings.Builder
	n, err := client.ReadPayload(ctx, result.Index, &back)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("entry", result.Index, "has", n, "bytes")
	// Output:
	// entry 0 has 2400000 bytes
}
