package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A Source reads the files of a log.
type Source interface {
	// ReadEndpoint returns the content of a path below the log's prefix, such
	// as "checkpoint" or "tile/0/000". Content of more than limit bytes is cut
	// off after limit+1. An error that wraps fs.ErrNotExist reports that there
	// is nothing at the path. Only then is a full tile requested in place of a
	// partial one. It is called by many goroutines, which do not change the
	// result.
	ReadEndpoint(ctx context.Context, path string, limit int64) ([]byte, error)
}

const (
	tileWidth = torchwood.TileWidth

	maxCheckpointSize = receipt.MaxCheckpointSize
	maxTileSize       = tileWidth * entry.HashSize

	maxTries      = 4
	maxRetryAfter = 30 * time.Second
)

// An HTTPSource reads a log from a web server.
//
// torchwood.TileFetcher is not suitable for an untrusted server: it reads
// responses of any length, does not distinguish a missing file from a refusal,
// and waits for as long as a Retry-After header demands.
type HTTPSource struct {
	prefix string
	client *http.Client
	pause  func(try int) time.Duration // before the second try (1), the third (2), …
}

// NewHTTPSource returns a source that reads below a prefix such as
// "https://ledger.example/tlog/". If client is nil, it uses one that limits a
// request to 30 seconds. Temporary refusals (429, 5xx) and network failures are
// retried, up to four attempts in all.
func NewHTTPSource(prefix string, client *http.Client) (*HTTPSource, error) {
	u, err := url.Parse(prefix)
	if err != nil {
		return nil, fmt.Errorf("the log's URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the log's URL %q must have the form https://ledger.example/tlog/", prefix)
	}
	if client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = transport.MaxIdleConns // all requests go to one host
		client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	}
	return &HTTPSource{
		prefix: strings.TrimSuffix(prefix, "/") + "/",
		client: client,
		// 0.5 s, 2 s, 8 s
		pause: func(try int) time.Duration { return time.Second << (2 * (try - 1)) / 2 },
	}, nil
}

// ErrPermanent can be wrapped by the errors of the client of an HTTPSource. It
// means that another attempt would not change the result.
var ErrPermanent = errors.New("permanent error")

// ReadEndpoint implements Source.
func (s *HTTPSource) ReadEndpoint(ctx context.Context, path string, limit int64) ([]byte, error) {
	for try := 1; ; try++ {
		data, wait, err := s.get(ctx, path, limit)
		if _, final := errors.AsType[*refusal](err); err == nil || final || errors.Is(err, ErrPermanent) || try == maxTries || ctx.Err() != nil {
			return data, err
		}
		if wait < 0 {
			wait = s.pause(try)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w, while waiting to try again after: %w", context.Cause(ctx), err)
		}
	}
}

// A refusal is a response that another attempt would not change.
type refusal struct {
	url    string
	status string
	code   int
}

func (r *refusal) Error() string { return r.url + ": " + r.status }

func (r *refusal) Is(target error) bool {
	switch r.code {
	case http.StatusNotFound, http.StatusGone:
		return target == fs.ErrNotExist
	case http.StatusForbidden:
		// S3 answers a request for a missing object with 403 unless the caller
		// may list the bucket.
		return target == fs.ErrNotExist || target == fs.ErrPermission
	}
	return false
}

// get makes one request. wait is the delay that the server requested before
// another one, or negative if it requested none.
func (s *HTTPSource) get(ctx context.Context, path string, limit int64) (data []byte, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.prefix+path, nil)
	if err != nil {
		return nil, -1, err
	}
	req.Header.Set("User-Agent", "muniment-audit (+https://muniment.dev)")
	resp, err := s.client.Do(req) // asks for gzip and unpacks it
	if err != nil {
		return nil, -1, err
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusOK:
		data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		return data, -1, err
	case code == http.StatusTooManyRequests || code >= 500:
		wait = -1
		if sec, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
			wait = min(time.Duration(sec)*time.Second, maxRetryAfter)
		}
		return nil, wait, fmt.Errorf("%s%s: %s", s.prefix, path, resp.Status)
	default:
		return nil, -1, &refusal{s.prefix + path, resp.Status, code}
	}
}

// A FolderSource reads a log from the files of a folder.
type FolderSource struct{ root *os.Root }

// NewFolderSource returns a source that reads a copy of a log, such as one kept
// by package mirror. It reads only regular files, and follows no links out of
// the folder.
func NewFolderSource(dir string) (*FolderSource, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &FolderSource{root}, nil
}

// Close closes the folder.
func (s *FolderSource) Close() error { return s.root.Close() }

// ReadEndpoint implements Source.
func (s *FolderSource) ReadEndpoint(ctx context.Context, path string, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := bounded.OpenIn(s.root, filepath.FromSlash(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// files reads tiles and bundles of the widths that a checkpoint requires.
type files struct {
	src Source

	// streams is set for a log whose leaves all have entry.LeafSize bytes.
	streams bool

	// known contains the tiles read for the comparison with the last audit,
	// which the scan needs again. It does not change during the scan.
	known map[tlog.Tile][]byte
}

// tile returns the hashes of a tile, exactly t.W of them.
func (f *files) tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	if data, ok := f.known[t]; ok {
		return data, nil
	}
	data, served, err := f.read(ctx, t)
	if err != nil {
		return nil, err
	}
	if want := served.W * entry.HashSize; len(data) != want {
		return nil, malformed(served, data, fmt.Sprintf("it must be %d bytes long, not %s", want, length(len(data), maxTileSize)))
	}
	return data[:t.W*entry.HashSize], nil
}

// limit returns the size of the largest file that t can be.
func (f *files) limit(t tlog.Tile) int64 {
	switch {
	case t.L >= 0:
		return maxTileSize
	case f.streams:
		// With room for one entry of another format, so that the error can name
		// it.
		return int64(t.W)*entrySize + 0xFFFF
	}
	return int64(t.W) * (2 + 0xFFFF)
}

// read returns the content of a tile, and which tile that is: t, or the full
// one in its place. A log may delete a partial tile when the full one exists.
func (f *files) read(ctx context.Context, t tlog.Tile) ([]byte, tlog.Tile, error) {
	path := torchwood.TilePath(t)
	data, err := f.src.ReadEndpoint(ctx, path, f.limit(t))
	if errors.Is(err, fs.ErrNotExist) && t.W < tileWidth {
		full := t
		full.W = tileWidth
		data, fullErr := f.src.ReadEndpoint(ctx, torchwood.TilePath(full), f.limit(full))
		if fullErr == nil {
			return data, full, nil
		}
		if !errors.Is(fullErr, fs.ErrNotExist) {
			err = fullErr
		}
	}
	if err != nil {
		return nil, t, unavailable(ctx, path, err)
	}
	return data, t, nil
}

func unavailable(ctx context.Context, path string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %s: the audit was stopped (%w); run it again with more time", ErrUnavailable, path, context.Cause(ctx))
	case errors.Is(err, ErrPermanent):
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s: %w; it is missing, or access to the log is restricted: check the log's URL and the token", ErrUnavailable, path, err)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s: %w; run the audit again when the log is reachable", ErrUnavailable, path, err)
	case path == "checkpoint":
		return fmt.Errorf("%w: there is no checkpoint (%w); check the log's URL", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: the log signed a checkpoint that needs %s, but does not serve it (%w); run the audit again, and if the error persists, ask the log's operator", ErrUnavailable, path, err)
}

func malformed(t tlog.Tile, data []byte, what string) error {
	return fmt.Errorf("%w: %s: %s%s; check the log's URL, and report the file to the log's operator", ErrMalformed, torchwood.TilePath(t), what, htmlHint(data))
}

func length(n, limit int) string {
	if n > limit {
		return fmt.Sprintf("more than %d", limit)
	}
	return strconv.Itoa(n)
}

// htmlHint returns a hint for a frequent mistake: a proxy or wrong URL that
// responds to everything with a web page.
func htmlHint(data []byte) string {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		return " (it looks like an HTML page)"
	}
	return ""
}

// provenTiles passes tiles to tlog.TileHashReader, and keeps those that it has
// verified.
type provenTiles struct {
	ctx   context.Context // of the one call that it is made for
	files *files
}

func (p *provenTiles) Height() int { return torchwood.TileHeight }

func (p *provenTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, t := range tiles { // a few at most: those along two edges of the tree
		var err error
		if data[i], err = p.files.tile(p.ctx, t); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (p *provenTiles) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	if p.files.known == nil {
		p.files.known = map[tlog.Tile][]byte{}
	}
	for i, t := range tiles {
		p.files.known[t] = data[i]
	}
}
