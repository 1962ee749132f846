// Package tsa issues RFC 3161 timestamps with a key of the operator. Its HTTP
// interface is that of Sigstore's timestamp authority.
//
// A timestamp is the operator's assertion of the current time. It keeps a
// signature verifiable after a short-lived certificate has expired.
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

	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/internal/pemfile"
)

// policy is the default of Sigstore's timestamp authority. It requires nothing
// beyond RFC 3161.
var policy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}

// maxRequest is far above the size of a request, which contains a digest, a
// nonce and a few numbers.
const maxRequest = 16 << 10

// An Authority issues timestamps. It is an http.Handler for POST requests.
type Authority struct {
	signer crypto.Signer
	chain  []*x509.Certificate // leaf first
	pem    string
	now    func() (time.Time, error)
	log    *slog.Logger
}

// New returns an authority that signs with the key of the chain's first
// certificate. now returns the time, or an error if the clock cannot be
// trusted.
func New(signer crypto.Signer, chain []*x509.Certificate, now func() (time.Time, error), log *slog.Logger) (*Authority, error) {
	if err := tsax509.VerifyCertChain(chain, signer, true); err != nil {
		return nil, fmt.Errorf("the timestamp authority's certificate chain: %w", err)
	}
	return &Authority{signer: signer, chain: chain, pem: EncodeChain(chain), now: now, log: log}, nil
}

// ChainPEM returns the certificate chain, leaf first.
func (a *Authority) ChainPEM() string { return a.pem }

// ServeChain serves the certificate chain.
func (a *Authority) ServeChain(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = io.WriteString(w, a.pem) // an error means that the client is gone
}

// A refusal is a response other than a timestamp.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string { return r.message }

// ServeHTTP handles a timestamp request.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	response, err := a.answer(w, r)
	var no *refusal
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/timestamp-reply")
		_, _ = w.Write(response) // an error means that the client is gone
		return
	case errors.As(err, &no):
	default:
		a.log.Error("issue a timestamp", "err", err)
		no = &refusal{http.StatusInternalServerError, "internal error"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(no.status)
	// An error means that the client is gone.
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
		return nil, &refusal{http.StatusRequestTimeout, "the request did not arrive completely in time"}
	} else if err != nil {
		return nil, &refusal{http.StatusBadRequest, "the request cannot be read, or has more than 16 KiB"}
	}
	if len(data) == 0 {
		return nil, &refusal{http.StatusUnprocessableEntity, "the request is empty"}
	}
	req, err := timestamp.ParseRequest(data)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "not an RFC 3161 timestamp request with a hash that this authority supports"}
	}
	if err := check(req); err != nil {
		return nil, err
	}
	now, err := a.now()
	if leaf := a.chain[0]; err == nil && (now.Before(leaf.NotBefore) || now.After(leaf.NotAfter)) {
		err = fmt.Errorf("it is %s, and the certificate is valid from %s until %s", now, leaf.NotBefore, leaf.NotAfter)
	}
	if err != nil {
		a.log.Warn("timestamp refused", "reason", err)
		return nil, &refusal{http.StatusServiceUnavailable, "the clock cannot be trusted at the moment; retry later"}
	}
	return a.stamp(req, now)
}

// check refuses weak hashes and unsupported requests.
func check(req *timestamp.Request) error {
	switch err := verification.VerifyRequest(req); {
	case errors.Is(err, verification.ErrWeakHashAlg):
		return &refusal{http.StatusBadRequest, "weak hash algorithm: use SHA-256, SHA-384 or SHA-512"}
	case errors.Is(err, verification.ErrInconsistentDigestLength):
		return &refusal{http.StatusBadRequest, "the digest does not have the length of its hash algorithm"}
	case err != nil:
		return &refusal{http.StatusBadRequest, "the hash algorithm is not supported: use SHA-256, SHA-384 or SHA-512"}
	}
	if len(req.TSAPolicyOID) > 0 && !req.TSAPolicyOID.Equal(policy) {
		return &refusal{http.StatusBadRequest, "unsupported policy: this authority's policy is " + policy.String()}
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

// EncodeChain encodes certificates in PEM.
func EncodeChain(chain []*x509.Certificate) string {
	var b strings.Builder
	for _, c := range chain {
		// Writing to a strings.Builder cannot fail.
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String()
}

// ParseChain parses one or more certificates in PEM.
func ParseChain(data []byte) ([]*x509.Certificate, error) {
	chain, err := pemfile.Certificates(data)
	if err != nil {
		return nil, fmt.Errorf("not a certificate chain: %w", err)
	}
	return chain, nil
}
