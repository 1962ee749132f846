package rpc

import (
	"testing"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// TestArtifactsOf checks that each part of a subject is charged.
func TestArtifactsOf(t *testing.T) {
	r := &munimentv1.DecideRequest{Subjects: []*munimentv1.GateSubject{{}, {Parts: make([]*munimentv1.GatePart, 128)}}}
	if n := artifactsOf(r); n != 129 {
		t.Errorf("%d artifacts, want 129", n)
	}
}
