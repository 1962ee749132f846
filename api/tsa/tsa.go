// Package tsa answers timestamp requests of RFC 3161 with a key of the
// operator, over HTTP as Sigstore's timestamp authority does.
//
// A timestamp is the operator's statement of the time. With it, signatures stay
// verifiable after a short-lived certificate has expired.
package tsa

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/timestamp-authority/v2/pkg/verification"
	tsax509 "github.com/sigstore/timestamp-authority/v2/pkg/x509"

	"muniment.dev/muniment/api/edge"
	"muniment.dev/muniment/internal/pemfile"
)

// policy is the default of Sigstore's timestamp authority: the requirements of
// RFC 3161 and no more.
var policy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}

// maxRequest is far more than a request needs: a digest, a nonce, and a few
// numbers.
const maxRequest = 16 << 10

// An Authority makes timestamps. It is an http.Handler for POST requests.
type Authority struct {
	signer crypto.Signer
	chain  []*x509.Certificate // leaf first
	pem    string
	now    func() (time.Time, error)
	log    *slog.Logger
}

// New returns an authority that signs with the key of the chain's first
// certificate. now returns the time, or an error if the clock can't be trusted.
func New(signer crypto.Signer, chain []*x509.Certificate, now func() (time.Time, error), log *slog.Logger) (*Authority, error) {
	if err := tsax509.VerifyCertChain(chain, signer, true); err != nil {
		return nil, fmt.Errorf("the timestamp authority's certificate chain: %w", err)
	}
	return &Authority{signer: signer, chain: chain, pem: EncodeChain(chain), now: now, log: log}, nil
}

// ChainPEM returns the certificate chain, leaf first.
func (a *Authority) ChainPEM() string { return a.pem }

// ServeChain answers with the certificate chain.
func (a *Authority) ServeChain(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = io.WriteString(w, a.pem) // the client has gone
}

// A refusal is an answer that is not a timestamp.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

// ServeHTTP answers a timestamp request.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	response, err := a.answer(w, r)
	var no *refusal
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/timestamp-reply")
		_, _ = w.Write(response) // the client has gone
		return
	case errors.As(err, &no):
	default:
		a.log.Error("make a timestamp", "err", err)
		no = &refusal{http.StatusInternalServerError, "internal error"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(no.status)
	// the client has gone
	_ = json.NewEncoder(w).Encode(map[string]any{"code": no.status, "message": no.message})
}

func (a *Authority) answer(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return nil, &refusal{http.StatusMethodNotAllowed, "only POST"}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/timestamp-query" {
		return nil, &refusal{http.StatusUnsupportedMediaType, "the Content-Type must be application/timestamp-query"}
	}
	data, err := io.ReadAll(edge.MaxBytes(w, r.Body, maxRequest))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &refusal{http.StatusRequestTimeout, "the request did not arrive whole in time"}
	} else if err != nil {
		return nil, &refusal{http.StatusBadRequest, "the request can't be read, or has more than 16 KiB"}
	}
	if len(data) == 0 {
		return nil, &refusal{http.StatusUnprocessableEntity, "the request is empty"}
	}
	req, err := timestamp.ParseRequest(data)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "not a timestamp request of RFC 3161 with a hash that this authority knows"}
	}
	if err := check(req); err != nil {
		return nil, err
	}
	now, err := a.now()
	if leaf := a.chain[0]; err == nil && (now.Before(leaf.NotBefore) || now.After(leaf.NotAfter)) {
		err = fmt.Errorf("it is %s, and the certificate is valid from %s until %s", now, leaf.NotBefore, leaf.NotAfter)
	}
	if err != nil {
		a.log.Warn("a timestamp was refused", "reason", err)
		return nil, &refusal{http.StatusServiceUnavailable, "the clock can't be trusted at the moment; retry later"}
	}
	return a.stamp(req, now)
}

// check refuses weak hashes and what the authority can't promise.
func check(req *timestamp.Request) error {
	switch err := verification.VerifyRequest(req); {
	case errors.Is(err, verification.ErrWeakHashAlg):
		return &refusal{http.StatusBadRequest, "weak hash algorithm: use SHA-256, SHA-384 or SHA-512"}
	case errors.Is(err, verification.ErrInconsistentDigestLength):
		return &refusal{http.StatusBadRequest, "the digest has not the length of its hash algorithm"}
	case err != nil:
		return &refusal{http.StatusBadRequest, "the hash algorithm is not supported: use SHA-256, SHA-384 or SHA-512"}
	}
	if len(req.TSAPolicyOID) > 0 && !req.TSAPolicyOID.Equal(policy) {
		return &refusal{http.StatusBadRequest, "the policy is not that of this authority, which is " + policy.String()}
	}
	if len(req.Extensions) > 0 {
		return &refusal{http.StatusBadRequest, "extensions are not supported"}
	}
	return nil
}

func (a *Authority) stamp(req *timestamp.Request, now time.Time) ([]byte, error) {
	t := timestamp.Timestamp{
		HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage,
		Time: now.UTC(), Accuracy: time.Second, Nonce: req.Nonce, Policy: policy,
		AddTSACertificate: req.Certificates,
	}
	return t.CreateResponseWithOpts(a.chain[0], a.signer, crypto.SHA256)
}

// EncodeChain writes certificates in PEM.
func EncodeChain(chain []*x509.Certificate) string {
	var b strings.Builder
	for _, c := range chain {
		// a strings.Builder takes everything
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String()
}

// ParseChain reads one or more certificates in PEM.
func ParseChain(data []byte) ([]*x509.Certificate, error) {
	chain, err := pemfile.Certificates(data)
	if err != nil {
		return nil, fmt.Errorf("not a chain of certificates: %w", err)
	}
	return chain, nil
}
