package connector

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"

	"muniment.dev/muniment/conductor/triage/action"
)

// cache changes the settings of an adaptive cache at its control endpoint. See
// docs/spec/adaptive-cache.md, section 16. The target cache/RESOLVER is a
// cache, and the parameters are members of its settings. The endpoint has a
// compare-and-set.
type cache struct{ *remote }

func readCache(s *settings) Connector {
	api := s.remote("", "", "")
	s.required = append(s.required, "token_file")
	s.read()
	return &cache{api()}
}

// cacheSettings are the members of the settings, and their types.
var cacheSettings = map[string]string{
	"enabled": action.Boolean, "prefetch": action.Boolean, "min_ttl_us": action.Integer, "max_ttl_us": action.Integer,
}

// CheckAction implements Checker.
func (c *cache) CheckAction(a *action.Action) error {
	if len(typesOf(a)) == 0 {
		return errors.New("requires one of the parameters enabled, prefetch, min_ttl_us and max_ttl_us")
	}
	return checkAction(a, "cache/", nil, cacheSettings)
}

// Undo implements Connector.
func (c *cache) Undo() string { return action.Restore }

// Read implements Connector. The image is the representation of the settings.
func (c *cache) Read(ctx context.Context, target string) (Image, error) {
	_, image, _, err := c.read(ctx, target)
	return image, err
}

func (c *cache) read(ctx context.Context, target string) (path string, image Image, etag string, err error) {
	names, err := parts(target, "cache/", 1)
	if err != nil {
		return "", nil, "", err
	}
	path = "/" + url.PathEscape(names[0])
	res, err := c.do(ctx, request{method: http.MethodGet, path: path})
	if err != nil {
		return "", nil, "", err
	}
	all, err := members(res.body)
	if err != nil {
		return "", nil, "", err
	}
	if image, err = imageOf(all, []string{"enabled", "prefetch", "min_ttl_us", "max_ttl_us"}); err != nil {
		return "", nil, "", err
	}
	if etag = res.etag(); etag == "" {
		return "", nil, "", errNoETag
	}
	return path, image, etag, nil
}

var errNoETag = errors.New("the answer has no strong ETag")

// Plan implements Connector.
func (c *cache) Plan(_ context.Context, target string, parameters map[string]string, before Image) (Image, error) {
	return merged(before, target, parameters)
}

// Set implements Connector.
func (c *cache) Set(ctx context.Context, target string, before, after Image) error {
	path, now, etag, err := c.read(ctx, target)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return ErrChanged
	}
	_, err = c.do(ctx, request{method: http.MethodPut, path: path, header: map[string]string{"If-Match": etag}, body: after})
	return changed(err, http.StatusPreconditionFailed)
}
