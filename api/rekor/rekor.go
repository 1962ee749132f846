// Package rekor serves a raw log of the ledger to Sigstore clients with the API
// of a Rekor v2 log (https://github.com/sigstore/rekor-tiles).
//
// Rekor's own code checks requests and builds leaves. Rekor publishes at an
// interval. This server responds as soon as the entry is durable and published.
// It also recognizes every entry of the log as a duplicate, not only recent
// ones. Leaves are public and permanent, and contain the signers' certificates
// with their e-mail addresses.
package rekor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorv1 "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	pb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor-tiles/v2/pkg/types/hashedrekord"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/tiles"
	"muniment.dev/muniment/api/tsa"
	"muniment.dev/muniment/ledger"
)

// algorithms lists the client signing algorithms that Rekor v2 accepts by
// default.
var algorithms = []commonv1.PublicKeyDetails{
	commonv1.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256,
	commonv1.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256,
	commonv1.PublicKeyDetails_PKIX_RSA_PKCS1V15_4096_SHA256,
	commonv1.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256,
	commonv1.PublicKeyDetails_PKIX_ECDSA_P384_SHA_384,
	commonv1.PublicKeyDetails_PKIX_ECDSA_P521_SHA_512,
	commonv1.PublicKeyDetails_PKIX_ED25519,
	commonv1.PublicKeyDetails_PKIX_ED25519_PH,
}

// A Config configures a Handler.
type Config struct {
	Ledger *ledger.Ledger // a raw log
	Keys   []Key          // the last one is the signing key
	TSA    *tsa.Authority // nil: no timestamps
	Logger *slog.Logger
	// Arrival is the time limit for a request's body to arrive. 0 means 10 s.
	Arrival time.Duration
	// Observe is called with the gRPC code of each response to a request for an
	// entry. Nil: not called.
	Observe func(code string)
	// Delayed is called for each request that was delayed because others from
	// its address had failed. Nil: not called.
	Delayed func()
	// Admit restricts the handler of a route, given as a pattern of
	// http.ServeMux, to authorized callers.
	Admit func(pattern string, next http.Handler) http.Handler
}

const defaultArrival = 10 * time.Second

// A server creates entries. It implements the service of rekor-tiles except for
// the tiles, which package tiles serves.
type server struct {
	pb.UnimplementedRekorServer
	cfg        Config
	logID      []byte
	algorithms *signature.AlgorithmRegistryConfig
}

// A Handler serves a Rekor v2 log, its description and its timestamp authority.
type Handler struct {
	http.Handler
	book *limit.Book
}

// Book returns the accounts of the callers' usage.
func (h *Handler) Book() *limit.Book { return h.book }

// NewHandler returns a handler for the log.
func NewHandler(cfg Config) (*Handler, error) {
	if len(cfg.Keys) == 0 {
		return nil, errors.New("the log has no key")
	}
	registry, err := signature.NewAlgorithmRegistryConfig(algorithms)
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg, algorithms: registry, logID: cfg.Keys[len(cfg.Keys)-1].LogID}
	entries, err := gateway(s)
	if err != nil {
		return nil, err
	}
	arrival := cfg.Arrival
	if arrival == 0 {
		arrival = defaultArrival
	}
	book := limit.NewBook(holds)
	counter := &counter{book: book, delayed: cfg.Delayed}
	mux := http.NewServeMux()
	mount := func(pattern string, h http.Handler) { mux.Handle(pattern, cfg.Admit(pattern, h)) }
	files := http.StripPrefix("/api/v2/", &tiles.Handler{Ledger: cfg.Ledger, Logger: cfg.Logger, Public: true, Book: book})
	mount("/api/v2/checkpoint", files)
	mount("/api/v2/tile/", files)
	mount("GET "+DescriptionPath, counter.count(http.HandlerFunc(s.description)))
	mount("GET /healthz", http.HandlerFunc(s.healthz))
	if cfg.TSA != nil {
		mount(timestampPath, counter.count(cfg.TSA))
		mount("GET "+certificatesPath, counter.count(http.HandlerFunc(cfg.TSA.ServeChain)))
	}
	// The gateway serves entries and answers unknown paths as Rekor does. It
	// does its own routing, because it accepts more spellings of a path than
	// the mux.
	mount("/", counter.count(newDoor(entries, arrival, book)))
	return &Handler{mux, book}, nil
}

// CreateEntry implements pb.RekorServer: it checks the request, records its
// canonical body and returns the proof.
func (s *server) CreateEntry(ctx context.Context, req *pb.CreateEntryRequest) (entry *rekorv1.TransparencyLogEntry, err error) {
	defer func() {
		if r := recover(); r != nil {
			// A certificate or key can make a parser panic. Rekor recovers too.
			s.cfg.Logger.Error("recovered from a panic while checking an entry", "panic", r)
			entry, err = nil, status.Error(codes.Internal, "internal server error")
		}
		if s.cfg.Observe != nil {
			s.cfg.Observe(status.Code(err).String())
		}
	}()
	body, kind, err := s.canonicalBody(req)
	if err != nil {
		return nil, err
	}
	r, err := s.cfg.Ledger.AppendLeaf(ctx, body)
	if err != nil {
		return nil, s.refusal(err)
	}
	if r.Duplicate {
		index := strconv.FormatUint(r.Index, 10)
		// It fails only outside of a call.
		_ = grpc.SetHeader(ctx, metadata.Pairs(duplicateHeader, index))
		return nil, status.Errorf(codes.AlreadyExists, "an equivalent entry already exists in the transparency log with index %s", index)
	}
	proof, err := inclusionProof(ctx, r)
	if err != nil {
		s.cfg.Logger.Error("prove a recorded entry", "index", r.Index, "err", err)
		return nil, status.Error(codes.Unknown, "failed to integrate entry")
	}
	return &rekorv1.TransparencyLogEntry{
		LogIndex:          int64(r.Index),
		LogId:             &commonv1.LogId{KeyId: s.logID},
		KindVersion:       kind,
		InclusionProof:    proof,
		CanonicalizedBody: body,
	}, nil
}

// canonicalBody verifies the request's signature and returns the leaf data.
func (s *server) canonicalBody(req *pb.CreateEntryRequest) ([]byte, *rekorv1.KindVersion, error) {
	hashed, ok := req.GetSpec().(*pb.CreateEntryRequest_HashedRekordRequestV002)
	if !ok {
		return nil, nil, status.Error(codes.InvalidArgument, "invalid type, must be hashedrekord")
	}
	refuse := func(err error) error {
		s.cfg.Logger.Debug("request for an entry refused", "reason", err)
		return status.Error(codes.InvalidArgument, "invalid hashedrekord request")
	}
	entry, err := hashedrekord.ToLogEntry(hashed.HashedRekordRequestV002, s.algorithms)
	if err != nil {
		return nil, nil, refuse(err)
	}
	text, err := protojson.Marshal(entry)
	if err != nil {
		return nil, nil, refuse(err)
	}
	body, err := jsoncanonicalizer.Transform(text)
	if err != nil {
		return nil, nil, status.Error(codes.InvalidArgument, "invalid entry")
	}
	return body, &rekorv1.KindVersion{Kind: entry.Kind, Version: entry.ApiVersion}, nil
}

// refusal returns the gRPC status of an error of the ledger.
func (s *server) refusal(err error) error {
	switch {
	case errors.Is(err, ledger.ErrQueueFull):
		return status.Error(codes.Unavailable, "reached max pushback; retry")
	case errors.Is(err, ledger.ErrDiskFull), errors.Is(err, ledger.ErrClock), errors.Is(err, ledger.ErrClosed), errors.Is(err, ledger.ErrFailed):
		s.cfg.Logger.Warn("entry refused", "reason", err)
		return status.Error(codes.Unavailable, "the log accepts no entries at the moment; retry later")
	case errors.Is(err, ledger.ErrLeafSize):
		return status.Error(codes.InvalidArgument, "invalid entry")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	s.cfg.Logger.Error("record an entry", "err", err)
	return status.Error(codes.Unknown, "failed to integrate entry")
}

// inclusionProof proves the leaf in the tree published with it.
func inclusionProof(ctx context.Context, r *ledger.LeafResult) (*rekorv1.InclusionProof, error) {
	p := r.Published
	path, err := p.InclusionProof(ctx, r.Index, p.Size)
	if err != nil {
		return nil, fmt.Errorf("inclusion proof: %w", err)
	}
	hashes := make([][]byte, len(path))
	for i := range path {
		hashes[i] = path[i][:]
	}
	return &rekorv1.InclusionProof{
		LogIndex: int64(r.Index), RootHash: p.Root[:], TreeSize: int64(p.Size), Hashes: hashes,
		Checkpoint: &rekorv1.Checkpoint{Envelope: string(p.Checkpoint)},
	}, nil
}

// healthz reports whether the log accepts entries, in the form of a gRPC health
// check.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if s.cfg.Ledger.Ready() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status":"NOT_SERVING"}`)
		return
	}
	fmt.Fprint(w, `{"status":"SERVING"}`)
}
