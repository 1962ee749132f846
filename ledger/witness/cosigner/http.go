package cosigner

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	maxRequest   = 32 << 10 // 63 hashes take 3 KB, and so does an ML-DSA-44 signature
	maxProofSize = 63
)

// A request is the body of add-checkpoint.
type request struct {
	old    int64
	proof  [][]byte
	origin string
	signed []byte
}

func parseRequest(body []byte) (*request, error) {
	head, signed, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return nil, fmt.Errorf("%w: no empty line before the checkpoint", errMalformed)
	}
	lines := strings.Split(string(head), "\n")
	old, ok := strings.CutPrefix(lines[0], "old ")
	n, err := strconv.ParseInt(old, 10, 64)
	if !ok || err != nil || n < 0 || strconv.FormatInt(n, 10) != old {
		return nil, fmt.Errorf("%w: the first line is not \"old\" and a size", errMalformed)
	}
	r := &request{old: n, signed: signed}
	if len(lines)-1 > maxProofSize {
		return nil, fmt.Errorf("%w: more than %d hashes", errMalformed, maxProofSize)
	}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != 32 {
			return nil, fmt.Errorf("%w: a line of the proof is not the base64 of 32 bytes", errMalformed)
		}
		r.proof = append(r.proof, h)
	}
	r.origin, _, _ = strings.Cut(string(signed), "\n")
	return r, nil
}

// Handler returns the witness's HTTP handler: add-checkpoint, each log's latest
// cosigned checkpoint, /healthz and /metrics. admit returns the handler of a
// route, in the form of http.ServeMux, for callers that may use it.
func (c *Cosigner) Handler(admit func(pattern string, next http.Handler) http.Handler) http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]http.HandlerFunc{
		"POST /add-checkpoint": c.addCheckpoint,
		"GET /{id}/checkpoint": c.checkpoint,
		"GET /healthz":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") },
		"GET /metrics":         promhttp.HandlerFor(c.stats.registry, promhttp.HandlerOpts{}).ServeHTTP,
	} {
		mux.Handle(pattern, admit(pattern, h))
	}
	return mux
}

func (c *Cosigner) addCheckpoint(w http.ResponseWriter, r *http.Request) {
	code := c.answer(w, r)
	c.stats.requests.WithLabelValues(strconv.Itoa(code)).Inc()
}

func (c *Cosigner) answer(w http.ResponseWriter, r *http.Request) int {
	refuse := func(code int, err error) int {
		http.Error(w, err.Error(), code)
		return code
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		return refuse(http.StatusRequestEntityTooLarge, err)
	case err != nil:
		return refuse(http.StatusBadRequest, errMalformed)
	}
	req, err := parseRequest(body)
	if err != nil {
		return refuse(http.StatusBadRequest, err)
	}
	lines, err := c.add(req)
	var known conflict
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(lines) // on an error the log asks again
		return http.StatusOK
	case errors.As(err, &known):
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprintf(w, "%d\n", known.size)
		return http.StatusConflict
	case errors.Is(err, errMalformed):
		return refuse(http.StatusBadRequest, err)
	case errors.Is(err, errUnknownLog):
		return refuse(http.StatusNotFound, err)
	case errors.Is(err, errNotSigned):
		return refuse(http.StatusForbidden, err)
	case errors.Is(err, errInconsistent):
		return refuse(http.StatusUnprocessableEntity, err)
	}
	c.cfg.Logger.Error("cosign", "log", req.origin, "err", err)
	return refuse(http.StatusInternalServerError, errors.New("internal error"))
}

// checkpoint serves the latest cosigned checkpoint of a log, for monitors.
func (c *Cosigner) checkpoint(w http.ResponseWriter, r *http.Request) {
	l := c.byID[r.PathValue("id")]
	if l == nil {
		http.Error(w, errUnknownLog.Error(), http.StatusNotFound)
		return
	}
	l.mu.Lock()
	signed := l.signed
	l.mu.Unlock()
	if signed == nil {
		http.Error(w, "no checkpoint of this log has been cosigned yet", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=1")
	_, _ = w.Write(signed) // an error means that the client has gone
}

// stats are the witness's metrics.
type stats struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	size     *prometheus.GaugeVec
}

func newStats() stats {
	s := stats{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "muniment_cosigner_requests_total",
			Help: "Calls of add-checkpoint by HTTP status."}, []string{"code"}),
		size: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "muniment_cosigner_log_size",
			Help: "Size of the latest cosigned checkpoint of the log."}, []string{"log"}),
	}
	s.registry.MustRegister(s.requests, s.size)
	return s
}
