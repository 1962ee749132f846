package store

import (
	"context"
	"time"
)

// Deliveries is implemented by stores that several servers share. They remember
// which events webhooks have received, so that a server that takes over goes on
// where another one has ended.
type Deliveries interface {
	// Webhook returns the time since which a webhook receives events, or the
	// zero time if the store does not have the webhook.
	Webhook(ctx context.Context, name string) (since time.Time, err error)
	// AddWebhook adds a webhook that has received some events, unless another
	// server has added it before.
	AddWebhook(ctx context.Context, name string, since time.Time, received []Delivery) error
	// Delivered returns those of the events that a webhook has received.
	Delivered(ctx context.Context, name string, events []string) ([]string, error)
	// Deliver remembers that a webhook has received an event, and forgets
	// events that happened before a time.
	Deliver(ctx context.Context, name string, d Delivery, before time.Time) error
}

// A Delivery is an event that a webhook has received.
type Delivery struct {
	Event    string // its ID
	Happened time.Time
}
