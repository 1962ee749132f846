package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"muniment.dev/muniment/internal/term"
)

// TestUnknownKinds gives each flag for a kind a mistyped one. That is a usage
// error, found before any file is read and any server is called.
func TestUnknownKinds(t *testing.T) {
	clearEnvironment(t)
	app, err := kong.New(&cli{}, append(flagValues(), kong.Name("muniment"))...)
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	err = kong.Visit(app.Model, func(n kong.Visitable, next kong.Next) error {
		command, ok := n.(*kong.Node)
		if !ok || command.Type != kong.CommandNode {
			return next(nil)
		}
		for _, f := range command.Flags {
			takesKind := f.Name == "kind"
			if named := predictorName(f.Value, f.PlaceHolder) == "kind"; named != takesKind {
				t.Errorf("%s --%s: a flag that takes a kind must be named kind", command.FullPath(), f.Name)
			}
			if !takesKind {
				continue
			}
			commands++
			for given, want := range map[string]string{"atestation": "did you mean attestation?", "gossip-and-more": "use one of attestation, "} {
				args := append(strings.Fields(command.FullPath())[1:], "--kind", given)
				var stderr bytes.Buffer
				code := run(t.Context(), args, strings.NewReader(""), &bytes.Buffer{}, &stderr)
				if got := stderr.String(); code != term.ExitFailed || !strings.Contains(got, want) || !strings.Contains(got, "unknown kind") {
					t.Errorf("%s: exit code %d, want %d and %q\n%s", strings.Join(args, " "), code, term.ExitFailed, want, got)
				}
			}
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if commands < 4 {
		t.Errorf("%d flags take a kind", commands)
	}
}
