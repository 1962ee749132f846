package main

import (
	"fmt"
	"runtime"

	"github.com/alecthomas/kong"
)

// Data folders need the locks, owners and permissions of Unix. Commands that
// work in one are refused on other systems, where clients and verifiers run.

// checkPlatform returns an error if the parsed command can't run on this
// system.
func checkPlatform(k *kong.Context) error {
	if runtime.GOOS != "windows" {
		return nil
	}
	set := func(f *kong.Flag) bool { v, ok := k.FlagValue(f).(string); return ok && v != "" }
	if n := k.Selected(); n != nil && needsUnix(n, set) {
		return fmt.Errorf("%s works in a data folder, which Windows does not support: run it on Linux or macOS", n.FullPath())
	}
	return nil
}

// needsUnix reports whether the command works in a data folder: it or its group
// has the tag unix, or its flag --data is set and has no tag portable.
func needsUnix(n *kong.Node, set func(*kong.Flag) bool) bool {
	for p := n; p != nil; p = p.Parent {
		if p.Tag != nil && p.Tag.Has("unix") {
			return true
		}
	}
	for _, f := range n.Flags {
		if f.Name == "data" && !f.Tag.Has("portable") && set(f) {
			return true
		}
	}
	return false
}
