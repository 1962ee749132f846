package datadir

import (
	"fmt"
	"slices"
	"time"

	"muniment.dev/muniment/api/notify"
	"muniment.dev/muniment/internal/publicaddr"
)

// WebhookState is the file that remembers what webhooks have received.
const WebhookState = "webhooks.json"

// A webhookConfig is a receiver of events.
type webhookConfig struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
	// SecretFile contains the secret that signs requests, relative to the
	// folder.
	SecretFile     string   `yaml:"secret_file"`
	Tenants        []string `yaml:"tenants"`
	Events         []string `yaml:"events"`
	Lead           string   `yaml:"lead"`
	AllowAddresses []string `yaml:"allow_addresses"`
}

// maxWebhooks is the largest number of webhooks.
const maxWebhooks = 64

// loadWebhooks reads the webhooks and their secrets.
func (d *Dir) loadWebhooks() error {
	if len(d.Config.Webhooks) > maxWebhooks {
		return fmt.Errorf("webhooks: %d, above the limit of %d", len(d.Config.Webhooks), maxWebhooks)
	}
	for i := range d.Config.Webhooks {
		h, err := d.webhook(&d.Config.Webhooks[i])
		if err != nil {
			return fmt.Errorf("webhooks[%d].%w", i, err)
		}
		if slices.ContainsFunc(d.webhooks, func(o notify.Hook) bool { return o.Name == h.Name }) {
			return fmt.Errorf("webhooks[%d].name: %q is listed twice", i, h.Name)
		}
		d.webhooks = append(d.webhooks, *h)
	}
	return nil
}

func (d *Dir) webhook(c *webhookConfig) (*notify.Hook, error) {
	h := &notify.Hook{Name: c.Name, URL: c.URL, Tenants: c.Tenants, Types: c.Events, Lead: notify.DefaultLead}
	if !GrantID.MatchString(c.Name) {
		return nil, fmt.Errorf("name: %q must be 1 to 63 lowercase letters, digits and . _ -", c.Name)
	}
	if c.SecretFile == "" {
		return nil, fmt.Errorf("secret_file: no file specified: requests are signed with its secret")
	}
	text, err := d.readSecret(c.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	if h.Secret, err = notify.ParseSecret(text); err != nil {
		return nil, fmt.Errorf("secret_file: the content of %s %w", c.SecretFile, err)
	}
	if c.Lead != "" {
		if h.Lead, err = time.ParseDuration(c.Lead); err != nil {
			return nil, fmt.Errorf("lead: %q is not a duration such as 72h", c.Lead)
		}
	}
	if h.Allowed, err = publicaddr.Parse(c.AllowAddresses); err != nil {
		return nil, fmt.Errorf("allow_addresses: %w", err)
	}
	for _, name := range c.Tenants {
		if !slices.ContainsFunc(d.Config.Tenants, func(t TenantConfig) bool { return t.Name == name }) {
			return nil, fmt.Errorf("tenants: there is no tenant %q", name)
		}
	}
	return h, h.Check()
}
