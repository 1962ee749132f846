package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
)

// A Webhook receives alerts by HTTP POST, one JSON object each. Any 2xx
// status confirms delivery.
type Webhook struct {
	url    string
	token  string
	client *http.Client
}

// NewWebhook returns a webhook. The token is sent as a bearer token; It is
// omitted if empty.
func NewWebhook(address, token string) (*Webhook, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("not an http or https URL")
	}
	return &Webhook{address, token, &http.Client{
		Timeout: 10 * time.Second,
		// the token is for this host only
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Deliver sends an alert.
func (w *Webhook) Deliver(ctx context.Context, a *Alert) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "muniment-monitor (+https://muniment.dev)")
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	res, err := w.client.Do(req)
	var ue *url.Error
	if errors.As(err, &ue) { // the path of a webhook's URL is often a secret
		return fmt.Errorf("webhook of %s: %w", req.URL.Host, ue.Err)
	} else if err != nil {
		return err
	}
	defer res.Body.Close()
	// so that the connection can be reused
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("webhook of %s: the response was %s", req.URL.Host, res.Status)
	}
	return nil
}
