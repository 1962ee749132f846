package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	pb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	rekorverify "github.com/sigstore/rekor-tiles/v2/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/internal/peers/rekorpeer"
)

// rekorLog measures one client of the Rekor endpoint, and of the real Rekor v2
// server beside it: from the request to an entry that is complete for a bundle,
// and whose proof verifies.
func (b *bench) rekorLog() {
	bin, data := b.build(), filepath.Join(b.dir, "rekor")
	if out, err := exec.Command(bin, "init", data, "--origin", "bench.example", "--rekor-origin", "127.0.0.1").CombinedOutput(); err != nil {
		check(fmt.Errorf("init: %w\n%s", err, out))
	}
	cmd := exec.Command(bin, "serve", "--data", data, "--listen", "127.0.0.1:0", "--rekor-listen", "127.0.0.1:0")
	url := listen(cmd, "Rekor log 127.0.0.1 listening on ")
	s := &server{cmd: cmd}
	defer s.stop()
	ours := rekorClient{url: url, http: pool(1), verifier: ourRekorKey(url)}
	ours.add(200)
	us := ours.add(2000)
	if !*peer {
		row("Rekor endpoint, one client: request to verified entry", us.String(), "")
		return
	}
	dir := filepath.Join(b.dir, "rekor-peer")
	check(os.MkdirAll(dir, 0o700))
	// The shortest waits that it accepts, apart from its own poll once a
	// second.
	p, err := rekorpeer.Start(context.Background(), dir, "--checkpoint-interval", "100ms", "--batch-max-age", "10ms")
	check(err)
	defer p.Stop()
	theirs := rekorClient{url: p.URL, http: pool(1), verifier: noteVerifier(p.Key)}
	theirs.add(2)
	them := theirs.add(12)
	row("Rekor endpoint, one client: request to verified entry", us.String(), fmt.Sprintf("goal 20× faster than Rekor v2: %.0f×", them.quantile(0.5).Seconds()/us.quantile(0.5).Seconds()))
	row("peer: Rekor v2.3.0 POSIX, one client, interval 100ms", them.String(), "")
}

// A rekorClient sends signed requests to a Rekor v2 log.
type rekorClient struct {
	url      string
	http     *http.Client
	verifier note.Verifier
}

// add records n entries, which are signed before the clock runs, and returns
// how long each took.
func (c *rekorClient) add(n int) sample {
	requests := make([][]byte, n)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	check(err)
	for i := range requests {
		var digest [32]byte
		rand.Read(digest[:])
		sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		check(err)
		requests[i], err = protojson.Marshal(&pb.CreateEntryRequest{Spec: &pb.CreateEntryRequest_HashedRekordRequestV002{HashedRekordRequestV002: &pb.HashedRekordRequestV002{
			Digest: digest[:], Signature: &pb.Signature{Content: sig, Verifier: &pb.Verifier{
				KeyDetails: commonv1.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, Verifier: &pb.Verifier_PublicKey{PublicKey: &pb.PublicKey{RawBytes: der}},
			}},
		}}})
		check(err)
	}
	return times(n, func(i int) {
		res, err := c.http.Post(c.url+"/api/v2/log/entries", "application/json", bytes.NewReader(requests[i]))
		check(err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		check(err)
		if res.StatusCode != http.StatusCreated {
			check(fmt.Errorf("%s: %s %s", c.url, res.Status, body))
		}
		var entry rekorv1.TransparencyLogEntry
		check(protojson.Unmarshal(body, &entry))
		check(rekorverify.VerifyLogEntry(&entry, c.verifier))
	})
}

func noteVerifier(key ed25519.PublicKey) note.Verifier {
	v, err := signature.LoadVerifier(key, crypto.SHA256)
	check(err)
	nv, err := rekornote.NewNoteVerifier("127.0.0.1", v)
	check(err)
	return nv
}

func ourRekorKey(url string) note.Verifier {
	res, err := http.Get(url + rekor.DescriptionPath)
	check(err)
	defer res.Body.Close()
	var d rekor.Description
	check(json.NewDecoder(res.Body).Decode(&d))
	key, err := x509.ParsePKIXPublicKey(d.Keys[0].PublicKey)
	check(err)
	return noteVerifier(key.(ed25519.PublicKey))
}
