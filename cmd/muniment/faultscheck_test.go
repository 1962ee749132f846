package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// checkLog compares the log at the end with what its clients were promised.
func (c *faultClients) checkLog(t *testing.T) {
	server := c.log.servers[c.seed%faultServers]
	res, err := c.client(server.url).GetCheckpoint(t.Context(), connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	c.size = c.history.see(t, c.log.policy, res.Msg.Checkpoint)
	leaves := fetchLeaves(t, server.url, c.size)
	c.history.checkRoots(t, leaves)
	c.checkReceipts(t, leaves)
	c.checkEntries(t, c.entries(t, server))
	if err := c.history.check(c.first); err != nil {
		t.Error(err)
	}
}

// checkReceipts verifies all receipts offline, and compares them with the log.
func (c *faultClients) checkReceipts(t *testing.T, leaves []entry.Hash) {
	for index, a := range c.acked {
		s, err := receipt.Verify(a.receipt, []*receipt.TrustPolicy{c.log.policy}, receipt.Options{Payload: a.payload, StreamKey: c.log.key})
		if err != nil {
			t.Errorf("the receipt of entry %d: %v", index, err)
			continue
		}
		if index >= uint64(len(leaves)) || leaves[index] != s.LeafHash {
			t.Errorf("the acknowledged entry %d is lost or changed", index)
		}
	}
}

// entries reads all entries from a server.
func (c *faultClients) entries(t *testing.T, s *faultServer) []*munimentv1.GetEntryResponse {
	client, all := c.client(s.url), make([]*munimentv1.GetEntryResponse, c.size)
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := k; i < len(all); i += 4 {
				e, err := c.entry(client, uint64(i))
				if err != nil {
					t.Errorf("read entry %d: %v", i, err)
					return
				}
				all[i] = e
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// checkEntries checks that the log contains what was sent and nothing else,
// each once, and that each piece of evidence was admitted under the policy that
// was in force at its place.
func (c *faultClients) checkEntries(t *testing.T, all []*munimentv1.GetEntryResponse) {
	claimed := map[uint64]bool{}
	for _, op := range c.history.ops {
		if o := op.Input.(logOperation); o.kind == appended {
			claimed[o.n] = true
		}
	}
	// An append that is repeated after a change of the policy is another
	// submission, so the first one may have no answer.
	again := map[string]bool{}
	for _, a := range c.acked {
		again[string(a.payload)] = true
	}
	seen, policy := map[string]uint64{}, ""
	for i, e := range all {
		index := uint64(i)
		if i > 0 && e.Entry.Time.AsTime().Before(all[i-1].Entry.Time.AsTime()) {
			t.Errorf("entry %d is of %s, before the entry before it", index, e.Entry.Time.AsTime())
		}
		if e.Entry.Kind == "config" {
			var doc struct{ Name, Digest string }
			if err := json.Unmarshal(e.Payload, &doc); err != nil {
				t.Errorf("entry %d: %v", index, err)
			}
			if want := c.policies[index]; want != "" && want != doc.Digest {
				t.Errorf("the policy of entry %d has the digest %s, want %s", index, doc.Digest, want)
			}
			if strings.HasPrefix(doc.Name, "admission-policy") {
				policy = doc.Digest
			}
		}
		a, ok := c.acked[index]
		if e.Entry.Kind != "attestation" {
			if ok || c.policies[index] != "" && e.Entry.Kind != "config" {
				t.Errorf("entry %d is of kind %s", index, e.Entry.Kind)
			}
			if index >= c.first && !claimed[index] { // its caller had no answer
				c.history.add(-1, logOperation{appended, index}, 0, never)
			}
			continue
		}
		if e.Entry.AdmissionPolicy != policy {
			t.Errorf("entry %d was admitted under policy %s, and %s was in force", index, e.Entry.AdmissionPolicy, policy)
		}
		switch {
		case !ok && again[string(e.Payload)]:
			c.history.add(-1, logOperation{appended, index}, 0, never)
		case !ok:
			t.Errorf("entry %d was recorded, and no client has got it, although each append was repeated: %q", index, e.Payload)
		case c.erased[index]:
			if e.Payload != nil {
				t.Errorf("the erased payload of entry %d is in the log", index)
			}
		case e.Payload != nil && !bytes.Equal(e.Payload, a.payload):
			t.Errorf("entry %d has the payload %q, want %q", index, e.Payload, a.payload)
		}
		payload := a.payload
		if !ok {
			payload = e.Payload
		}
		submission := policy + " " + string(payload)
		if other, twice := seen[submission]; twice {
			t.Errorf("entries %d and %d are the same submission", other, index)
		}
		seen[submission] = index
	}
}
