package term

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// The exit codes of all commands. The table exitCodes describes them.
const (
	ExitOK     = 0
	ExitNo     = 1
	ExitFailed = 2

	ExitRollback  = 3
	ExitLeaf      = 3
	ExitReports   = 3
	ExitTruncated = 4
	ExitForked    = 5
	ExitStream    = 6

	ExitInterrupted = 130
	ExitPipe        = 141
)

// exitCodes is the table that 'muniment help exit-codes' prints. Commands use
// no other codes.
var exitCodes = []struct {
	code     int
	commands string // separated by commas; "" for all
	meaning  string
}{
	{ExitOK, "", "the answer is yes: verified, recorded, sound, done"},
	{ExitNo, "", "the answer is no: not verified, not recorded, refused, not the same"},
	{ExitFailed, "", "there is no answer: wrong usage, or a file, server or output failed"},
	{ExitRollback, "serve", "the log was rolled back, or has forked; a restart does not help"},
	{ExitRollback, "restore", "restored, but the log was newer"},
	{ExitLeaf, "audit,mirror", "an entry was changed"},
	{ExitReports, "bundle create,bundle verify", "verified, but the reports were not compared with the evidence"},
	{ExitTruncated, "audit,mirror", "the log is shorter than it was"},
	{ExitForked, "audit,mirror,import,monitor", "the log has forked"},
	{ExitStream, "audit", "the stream is not complete"},
	{ExitInterrupted, "", "interrupted by SIGINT or SIGTERM before there was an answer"},
	{ExitPipe, "", "the reader of standard output went away"},
}

// An ExitError ends the program with a code. Its message is empty if the result
// was already printed.
type ExitError struct {
	Code int
	err  error
}

func (e *ExitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *ExitError) Unwrap() error { return e.err }

// ExitWith returns an error that ends the program with the code. err may be
// nil.
func ExitWith(code int, err error) error { return &ExitError{code, err} }

// ExitCodes returns the codes of a command that depend on its answer.
func ExitCodes(command string) []int {
	var codes []int
	for _, row := range exitCodes {
		if row.code < ExitInterrupted && (row.commands == "" || slices.Contains(strings.Split(row.commands, ","), command)) {
			codes = append(codes, row.code)
		}
	}
	return codes
}

// PrintExitCodes writes the table.
func PrintExitCodes(w io.Writer) {
	fmt.Fprint(w, "Every command ends with one of these codes. \"muniment COMMAND --help\" specifies\nwhat yes and no are for the command.\n\n")
	for _, row := range exitCodes {
		meaning := row.meaning
		if row.commands != "" {
			meaning = strings.ReplaceAll(row.commands, ",", ", ") + ": " + meaning
		}
		fmt.Fprintf(w, "  %-5d %s\n", row.code, meaning)
	}
}
