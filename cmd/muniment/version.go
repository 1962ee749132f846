package main

import "runtime/debug"

// Version is set when a release is linked.
var version = ""

// programVersion returns the version of the release, or that of the module.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		return info.Main.Version
	}
	return version
}
