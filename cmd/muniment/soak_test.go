//go:build soak

package main

import "testing"

// TestSoakScripts runs the scripts in testdata/soak, whose peers take long to
// build. Only make soak sets the build tag.
func TestSoakScripts(t *testing.T) { runScripts(t, "testdata/soak") }
