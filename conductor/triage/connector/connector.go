// Package connector changes targets, so that each change can be undone. See
// docs/spec/triage.md, section 8.
package connector

import (
	"context"
	"errors"
)

// ErrChanged reports that a target does not have the image that it was expected
// to have. Nothing was changed.
var ErrChanged = errors.New("the target was changed meanwhile")

// An Image is the state of a target, as its connector reads it. Equal states
// have equal images.
type Image []byte

// A Connector reads and changes the targets of one system. Each is one Go file,
// and passes connectortest.Run.
type Connector interface {
	// Undo returns how the effect of a change ends: action.Restore or
	// action.Lapse.
	Undo() string
	// Read returns the image of a target.
	Read(ctx context.Context, target string) (Image, error)
	// Plan returns the image of a target after an action with these parameters,
	// if it has the image before. It changes nothing, and returns an error if
	// Set could not produce this image.
	Plan(ctx context.Context, target string, parameters map[string]string, before Image) (Image, error)
	// Set changes a target from one image to another. It returns an error that
	// wraps ErrChanged, and changes nothing, if the target has another image.
	// After any other error the target can have either image. A call has no
	// effect after it has returned.
	Set(ctx context.Context, target string, before, after Image) error
}
