package main

import (
	"slices"

	"github.com/alecthomas/kong"
)

const logFormatFlag = "log-format"

// asksForJSON reports whether the arguments set --log-format json. It decides
// for messages that are printed before the flags are parsed.
func asksForJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	for i, arg := range args {
		if arg == "--"+logFormatFlag+"=json" || arg == "--"+logFormatFlag && i+1 < len(args) && args[i+1] == "json" {
			return true
		}
	}
	return false
}

// wantsJSON reports whether the command has --log-format json, from the
// arguments or the configuration.
func wantsJSON(k *kong.Context) bool {
	for _, f := range k.Flags() {
		if f.Name == logFormatFlag && k.FlagValue(f) == "json" {
			return true
		}
	}
	return false
}
