package connector

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/conductor/triage/action"
)

// cacheFlush flushes an adaptive cache at its control endpoint, which has a
// compare-and-set. The target cache/RESOLVER is a cache. There are no
// parameters. The effect lapses, because the cache fills again.
type cacheFlush struct{ *remote }

func readCacheFlush(s *settings) Connector {
	api := s.remote("", "", "")
	s.required = append(s.required, "token_file")
	s.read()
	return &cacheFlush{api()}
}

// CheckAction implements Checker.
func (c *cacheFlush) CheckAction(a *action.Action) error {
	return checkAction(a, "cache/", nil, nil)
}

// Undo implements Connector.
func (c *cacheFlush) Undo() string { return action.Lapse }

// Read implements Connector. The image is how often the process of the cache
// has flushed it.
func (c *cacheFlush) Read(ctx context.Context, target string) (Image, error) {
	_, image, _, err := c.read(ctx, target)
	return image, err
}

func (c *cacheFlush) read(ctx context.Context, target string) (path string, image Image, etag string, err error) {
	names, err := parts(target, "cache/", 1)
	if err != nil {
		return "", nil, "", err
	}
	path = "/" + url.PathEscape(names[0]) + "/flushes"
	res, err := c.do(ctx, request{method: http.MethodGet, path: path})
	if err != nil {
		return "", nil, "", err
	}
	all, err := members(res.body)
	if err != nil {
		return "", nil, "", err
	}
	if image, err = imageOf(all, []string{"process", "flushes"}); err != nil {
		return "", nil, "", err
	}
	if etag = res.etag(); etag == "" {
		return "", nil, "", errNoETag
	}
	return path, image, etag, nil
}

// Plan implements Connector.
func (c *cacheFlush) Plan(_ context.Context, _ string, _ map[string]string, before Image) (Image, error) {
	return incremented(before, "flushes")
}

// Set implements Connector.
func (c *cacheFlush) Set(ctx context.Context, target string, before, after Image) error {
	if next, err := incremented(before, "flushes"); err != nil || !bytes.Equal(next, after) {
		return ErrChanged // a flush has no other effect
	}
	path, now, etag, err := c.read(ctx, target)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return ErrChanged
	}
	_, err = c.do(ctx, request{method: http.MethodPost, path: path, header: map[string]string{"If-Match": etag}})
	return changed(err, http.StatusPreconditionFailed)
}

// incremented returns an image whose member is greater by one.
func incremented(before Image, name string) (Image, error) {
	all, err := members(before)
	if err != nil {
		return nil, err
	}
	var names []string
	values := map[string]jsontext.Value{}
	for _, m := range all {
		names, values[m.name] = append(names, m.name), m.value
	}
	n, err := strconv.ParseUint(string(values[name]), 10, 53)
	if err != nil {
		return nil, fmt.Errorf("the member %s must be a whole number", name)
	}
	values[name] = strconv.AppendUint(nil, n+1, 10)
	return objectOf(names, values)
}
