package main

import (
	"fmt"
	"io"
	"strings"
)

// The exit codes of all commands. exitCodes documents them.
const (
	exitOK     = 0
	exitNo     = 1
	exitFailed = 2

	exitRollback  = 3
	exitLeaf      = 3
	exitTruncated = 4
	exitForked    = 5
	exitStream    = 6

	exitInterrupted = 130
	exitPipe        = 141
)

// exitCodes is the table that 'muniment help exit-codes' prints. A command
// ends with no other code.
var exitCodes = []struct {
	code     int
	commands string // "": all
	meaning  string
}{
	{exitOK, "", "the answer is yes: verified, recorded, sound, done"},
	{exitNo, "", "the answer is no: not verified, not recorded, refused, not the same"},
	{exitFailed, "", "there is no answer: wrong usage, or a file, server or output failed"},
	{exitRollback, "serve", "the log was rolled back, or has forked; a restart does not help"},
	{exitLeaf, "audit mirror", "an entry was changed"},
	{exitTruncated, "audit mirror", "the log is shorter than it was"},
	{exitForked, "audit mirror import monitor", "the log has forked"},
	{exitStream, "audit", "the stream is not complete"},
	{exitInterrupted, "", "interrupted by SIGINT or SIGTERM before there was an answer"},
	{exitPipe, "", "the reader of standard output went away"},
}

// An exitError ends the program with a code. Its message may be empty when
// everything is printed already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func exitWith(code int, err error) error { return &exitError{code, err} }

// printExitCodes writes the table.
func printExitCodes(w io.Writer) {
	fmt.Fprint(w, "Every command ends with one of these codes. \"muniment COMMAND --help\" specifies\nwhat yes and no are for the command.\n\n")
	for _, row := range exitCodes {
		meaning := row.meaning
		if row.commands != "" {
			meaning = strings.Join(strings.Fields(row.commands), ", ") + ": " + meaning
		}
		fmt.Fprintf(w, "  %-5d %s\n", row.code, meaning)
	}
}
