package main

import "runtime/debug"

// version is set by the linker for releases.
var version = ""

// programVersion returns the version of the release or the module.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		return info.Main.Version
	}
	return version
}
