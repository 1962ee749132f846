package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// fill appends n documents of acme without going through HTTP.
func (ts *testServer) fill(n int) {
	ts.t.Helper()
	stream := ledger.NewStream(ts.keys["acme"])
	h := &entry.Header{Origin: origin, Tenant: "acme", Kind: "attestation", MediaType: "text/plain", Submitter: "token:acme", Verification: entry.Verification{Result: entry.Unverified}}
	for done := 0; done < n; {
		drafts := make([]ledger.Draft, min(4096, n-done))
		first := ts.ledger.Published().Size
		for i := range drafts {
			// The same header for all: these tests look at leaves only.
			d := ledger.Draft{Stream: stream, Header: h, Payload: receipt.PayloadOpening{Content: fmt.Appendf(nil, "filler %d", first+uint64(i))}}
			d.Opening.Content = []byte("{}")
			drafts[i] = d
		}
		if _, err := ts.ledger.Append(context.Background(), drafts); err != nil {
			ts.t.Fatal(err)
		}
		done += len(drafts)
	}
}

// torchwood's client reads the whole log over HTTP and checks every entry
// against the checkpoint.
func TestStockClientReadsTheLog(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	fetcher, err := torchwood.NewTileFetcher(ts.url+"/tlog", torchwood.WithHTTPClient(ts.h2), torchwood.WithConcurrencyLimit(8))
	if err != nil {
		t.Fatal(err)
	}
	read := func() {
		t.Helper()
		ctx := context.Background()
		signed, err := fetcher.ReadEndpoint(ctx, "checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		cp, _, err := torchwood.VerifyCheckpoint(signed, ts.policy.Torchwood())
		if err != nil {
			t.Fatal(err)
		}
		p := ts.ledger.Published()
		if uint64(cp.N) != p.Size || entry.Hash(cp.Hash) != p.Root || cp.Origin != origin {
			t.Fatalf("the checkpoint is %v, published is %d %s", cp, p.Size, p.Root)
		}
		client, err := torchwood.NewClient(fetcher)
		if err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for i, data := range client.AllEntries(ctx, cp.Tree, 0) {
			leaf, err := ts.ledger.LeafHash(ctx, p, uint64(i))
			if err != nil || i != n || entry.LeafHash(data) != leaf || len(data) != entry.LeafSize {
				t.Fatalf("size %d: entry %d is number %d: %x, %v", cp.N, i, n, data, err)
			}
			n++
		}
		if client.Err() != nil || n != cp.N {
			t.Fatalf("size %d: read %d entries, %v", cp.N, n, client.Err())
		}
	}
	for _, size := range []uint64{0, 1, 255, 256, 257, 512, 1000, 65536 + 700} {
		ts.fill(int(size - ts.ledger.Published().Size))
		if size > 0 {
			read()
		}
	}
	a := ts.append("acme", "the last")
	r, err := receipt.Parse(a.Receipt)
	if err != nil {
		t.Fatal(err)
	}
	s := ts.verify("acme", a.Receipt, []byte("the last"), a.Index)
	if err := torchwood.VerifyProof(ts.policy.Torchwood(), tlog.Hash(s.LeafHash), r.Proof); err != nil {
		t.Errorf("the receipt's proof: %v", err)
	}
	proof, err := ts.client(acmeToken).GetConsistencyProof(context.Background(), connect.NewRequest(&munimentv1.GetConsistencyProofRequest{FromSize: 1000}))
	if err != nil || proof.Msg.ToSize != s.Size {
		t.Fatal(proof, err)
	}
	var tree tlog.TreeProof
	for _, h := range proof.Msg.Hashes {
		tree = append(tree, tlog.Hash(h))
	}
	in, err := ts.client(acmeToken).GetInclusionProof(context.Background(), connect.NewRequest(&munimentv1.GetInclusionProofRequest{Index: a.Index}))
	if err != nil || entry.Hash(in.Msg.LeafHash) != s.LeafHash || len(in.Msg.Hashes) == 0 {
		t.Fatal(in, err)
	}
	var record tlog.RecordProof
	for _, h := range in.Msg.Hashes {
		record = append(record, tlog.Hash(h))
	}
	if err := tlog.CheckRecord(record, int64(s.Size), tlog.Hash(s.Root), int64(a.Index), tlog.Hash(s.LeafHash)); err != nil {
		t.Errorf("inclusion proof: %v", err)
	}
	if err := tlog.CheckTree(tree, int64(s.Size), tlog.Hash(s.Root), 1000, rootOf(t, ts, 1000)); err != nil {
		t.Errorf("consistency proof: %v", err)
	}
}

// rootOf computes the root of an earlier size from the leaves.
func rootOf(t *testing.T, ts *testServer, size uint64) tlog.Hash {
	t.Helper()
	p := ts.ledger.Published()
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = hashes[x]
		}
		return out, nil
	})
	for i := range size {
		leaf, err := ts.ledger.LeafHash(context.Background(), p, i)
		if err != nil {
			t.Fatal(err)
		}
		more, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(leaf), reader)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
	}
	root, err := tlog.TreeHash(int64(size), reader)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestTlogPaths(t *testing.T) {
	ts := newServer(t)
	ts.fill(256*3 + 5)
	ok := func(path, contentType, cache string, size int) {
		t.Helper()
		for _, c := range []*http.Client{ts.h1, ts.h2} {
			a := ts.do(c, "GET", "/tlog/"+path, "", nil, nil)
			if a.status != 200 || a.header.Get("Content-Type") != contentType || a.header.Get("Cache-Control") != cache || len(a.body) != size || a.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("GET %s: status %d, %d bytes, %v", path, a.status, len(a.body), a.header)
			}
			h := ts.do(c, "HEAD", "/tlog/"+path, "", nil, nil)
			if h.status != 200 || h.body != "" || h.header.Get("Content-Length") != fmt.Sprint(size) || h.header.Get("Cache-Control") != cache {
				t.Errorf("HEAD %s: status %d, %d bytes, %v", path, h.status, len(h.body), h.header)
			}
			if a := ts.do(c, "POST", "/tlog/"+path, "", nil, strings.NewReader("x")); a.status != 405 || a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("POST %s: status %d", path, a.status)
			}
		}
	}
	const binary, forever = "application/octet-stream", "public, max-age=31536000, immutable"
	ok("checkpoint", "text/plain; charset=utf-8", "public, max-age=1", len(ts.ledger.Published().Checkpoint))
	ok("tile/0/000", binary, forever, 256*32)
	ok("tile/0/002", binary, forever, 256*32)
	ok("tile/0/003.p/5", binary, forever, 5*32)
	ok("tile/0/003.p/1", binary, forever, 32)
	ok("tile/0/000.p/255", binary, forever, 255*32) // the prefix of a full one
	ok("tile/1/000.p/3", binary, forever, 3*32)
	ok("tile/entries/000", binary, forever, 256*67)
	ok("tile/entries/003.p/5", binary, forever, 5*67)
	ok("tile/entries/000.p/255", binary, forever, 255*67)

	for _, path := range []string{
		"", "checkpoint/", "checkpoint.txt", "Checkpoint", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/000.p", "tile/0/000.p/",
		"tile/0/000.p/0", "tile/0/000.p/00", "tile/0/000.p/05", "tile/0/000.p/256", "tile/0/000.p/-1", "tile/0/000.p/+1", "tile/0/000.p/1/", "tile/0/x000", "tile/0/x000/000",
		"tile/0/-01", "tile/0/003", "tile/0/003.p/6", "tile/0/004.p/1", "tile/00/000", "tile/-1/000", "tile/+0/000", "tile/1/000", "tile/1/000.p/4", "tile/2/000", "tile/2/000.p/1",
		"tile/7/000.p/1", "tile/63/000", "tile/64/000", "tile/255/000", "tile/256/000", "tile/99999999999999999999/000", "tile/data/000", "tile/entries", "tile/entries/", "tile/entries/003",
		"tile/entries/003.p/6", "tile/entries/004.p/1", "tile/entries/000/", "tile/8/0/000", "tile/0/x999/x999/x999/x999/x999/x999/999", "tile/0/x001/001", "tile/entries/x001/001",
		"tile/entries/x999/x999/x999/x999/x999/x999/999", "tile/0/%30%30%30%2e", "tile/0/000%00", "tile/0/%252e", "tile%2f0%2f000.p%2f999", "issuer/x", "log.v3.json",
	} {
		a := ts.get("/tlog/" + path)
		if a.status != 404 || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("GET /tlog/%s: status %d, %s", path, a.status, a.header.Get("Cache-Control"))
		}
	}
	// net/http redirects an unclean path to the clean one, which does not exist
	// here.
	for _, path := range []string{"/tlog//checkpoint", "/tlog/tile//0/000", "/tlog/./checkpoint", "/tlog/../tlog/checkpoint"} {
		if a := ts.get(path); a.status != http.StatusMovedPermanently && a.status != http.StatusTemporaryRedirect {
			t.Errorf("GET %s: status %d", path, a.status)
		}
	}
}

func TestClosedTlog(t *testing.T) {
	ts := newServer(t, func(_ *ledger.Config, ac *api.Config) { ac.PublicTlog = false })
	ts.fill(300)
	for _, path := range []string{"checkpoint", "tile/0/000", "tile/entries/000", "tile/0/nonsense", ""} {
		for name, token := range map[string]string{"no": "", "a wrong": "mnt_acme_guess"} {
			if a := ts.do(ts.h1, "GET", "/tlog/"+path, token, nil, nil); a.status != 401 || a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("GET %s with %s token: status %d, %v", path, name, a.status, a.header)
			}
		}
	}
	for path, cache := range map[string]string{"checkpoint": "private, max-age=1", "tile/0/000": "private, max-age=31536000, immutable"} {
		if a := ts.do(ts.h1, "GET", "/tlog/"+path, globexToken, nil, nil); a.status != 200 || a.header.Get("Cache-Control") != cache {
			t.Errorf("GET %s with a token: status %d, %v", path, a.status, a.header)
		}
	}
}

// An unread tile counts against its reader's address, and a reader that holds
// too much is asked to retry later.
func TestTilesAreAccounted(t *testing.T) {
	ts := newServer(t)
	for i := range 4 {
		ts.append("acme", fmt.Sprint(i))
	}
	if a := ts.get("/tlog/tile/entries/000.p/4"); a.status != http.StatusOK {
		t.Fatalf("status %d", a.status)
	}
	ts.api.Book().SetLimits(limit.HeldLimits{limit.PublicBytes: {Owner: 100}})
	if a := ts.get("/tlog/tile/entries/000.p/4"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d, %v", a.status, a.header)
	}
	for _, r := range limit.All() {
		if n := ts.api.Book().Total(r); n != 0 {
			t.Errorf("%d %s stay held", n, r)
		}
	}
}
