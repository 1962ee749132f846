package connector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/conductor/triage/action"
)

// toxiproxy changes proxies of toxiproxy and their toxics, such as a limit of
// the bandwidth (https://github.com/Shopify/toxiproxy). The target toxic/PROXY/
// TOXIC is a toxic that exists, and the parameters its attributes. The target
// proxy/PROXY has the parameters enabled and upstream.
//
// The API has no compare-and-set: Set reads directly before it writes, so a
// change by another program in between is lost.
type toxiproxy struct{ *remote }

func readToxiproxy(s *settings) Connector {
	api := s.remote("", "", "")
	s.read()
	return &toxiproxy{api()}
}

// CheckAction implements Checker.
func (t *toxiproxy) CheckAction(a *action.Action) error {
	if strings.HasPrefix(a.Target, "proxy/") {
		return checkAction(a, "proxy/", nil, map[string]string{"enabled": action.Boolean, "upstream": action.String})
	}
	// The attributes depend on the toxic, and have all types.
	if len(typesOf(a)) == 0 {
		return errors.New("requires a parameter with the name of an attribute")
	}
	return checkAction(a, "toxic/", nil, typesOf(a))
}

// Undo implements Connector.
func (t *toxiproxy) Undo() string { return action.Restore }

// Read implements Connector.
func (t *toxiproxy) Read(ctx context.Context, target string) (Image, error) {
	_, image, err := t.find(ctx, target)
	return image, err
}

// Plan implements Connector.
func (t *toxiproxy) Plan(_ context.Context, target string, parameters map[string]string, before Image) (Image, error) {
	return merged(before, target, parameters)
}

// Set implements Connector.
func (t *toxiproxy) Set(ctx context.Context, target string, before, after Image) error {
	place, now, err := t.find(ctx, target)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return ErrChanged
	}
	body := []byte(after)
	if strings.HasPrefix(target, "toxic/") {
		if body, err = objectOf([]string{"attributes"}, map[string]jsontext.Value{"attributes": jsontext.Value(after)}); err != nil {
			return err
		}
	}
	_, err = t.do(ctx, request{method: http.MethodPost, path: place, body: body})
	return err
}

// find returns the path of a target and its image: the attributes of a toxic,
// or the switch and the upstream of a proxy.
func (t *toxiproxy) find(ctx context.Context, target string) (place string, image Image, err error) {
	toxic := strings.HasPrefix(target, "toxic/")
	var names []string
	if toxic {
		names, err = parts(target, "toxic/", 2)
	} else {
		names, err = parts(target, "proxy/", 1)
	}
	if err != nil {
		return "", nil, err
	}
	place = "/proxies/" + url.PathEscape(names[0])
	if toxic {
		place += "/toxics/" + url.PathEscape(names[1])
	}
	res, err := t.do(ctx, request{method: http.MethodGet, path: place})
	if err != nil {
		return "", nil, err
	}
	all, err := members(res.body)
	if err != nil {
		return "", nil, err
	}
	if !toxic {
		image, err = imageOf(all, []string{"enabled", "upstream"})
		return place, image, err
	}
	attributes, err := find(all, "attributes")
	if err != nil {
		return "", nil, err
	}
	inner, err := members(attributes.value)
	if err != nil {
		return "", nil, fmt.Errorf("attributes: %w", err)
	}
	var order []string
	for _, m := range inner {
		order = append(order, m.name)
	}
	image, err = imageOf(inner, order)
	return place, image, err
}
