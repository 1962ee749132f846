// Command muniment keeps evidence in an append-only Merkle log, and verifies
// the log's receipts.
//
// The groups of commands are packages below internal, and each registers its
// own: operate, evidence, prove and decide. They share term (output and exit
// codes), datadir (data folders) and remote (connections to a server). This
// package parses flags and reports errors.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"muniment.dev/muniment/cmd/muniment/internal/decide"
	"muniment.dev/muniment/cmd/muniment/internal/evidence"
	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/cmd/muniment/internal/prove"
	"muniment.dev/muniment/internal/term"
)

type cli struct {
	Config configFlag `help:"YAML file with defaults for flags, such as server and token-file." placeholder:"FILE" env:"MUNIMENT_CONFIG" type:"path"`

	Operate  operate.Commands  `embed:""`
	Evidence evidence.Commands `embed:""`
	Prove    prove.Commands    `embed:""`
	Decide   decide.Commands   `embed:""`

	Completion completionCmd `cmd:"" help:"Print the completion script for a shell."`
	Help       helpCmd       `cmd:"" help:"Show the help of a command, or a topic: exit-codes."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	ShowVersion versionFlag `name:"version" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs a command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, messages := term.NewOutput(stdout, stop), term.NewEscaper(stderr)
	a := &term.App{Ctx: ctx, Stdin: stdin, Stdout: out, Stderr: messages, JSON: asksForJSON(args), Version: programVersion()}
	code := runCommand(a, args)
	_ = messages.Flush() // nowhere to report it
	_ = out.Flush()      // the output keeps the error
	switch {
	case out.Closed():
		return term.ExitPipe
	case out.Err() != nil:
		a.Complain(fmt.Sprint("write standard output: ", term.Cause(out.Err())))
		return term.ExitFailed
	}
	return code
}

// A kongExit unwinds the parser when it ends the program, as --help does.
type kongExit int

// usageError adds the command that prints the usage to an error on the command
// line.
func usageError(app *kong.Application, err error, args []string) error {
	var config configError
	if errors.As(err, &config) {
		return config.error // kong names the flag that is resolved first
	}
	command, node := "", app.Node
	for _, arg := range args {
		at := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == arg })
		if at < 0 {
			break
		}
		command, node = command+arg+" ", node.Children[at]
	}
	// The empty value of an optional flag is no choice.
	message := strings.Replace(err.Error(), ` must be one of "",`, " must be one of ", 1)
	if missing, ok := strings.CutPrefix(message, "expected "); ok {
		message = "missing argument: " + missing
		if strings.HasPrefix(missing, "one of ") {
			message = "missing command: " + missing
		}
	}
	return fmt.Errorf("%s\nfor usage, run: muniment %s--help", message, command)
}

type versionCmd struct{ term.ResultFlags }

func (versionCmd) Help() string {
	return `Exit code: 0 printed; 2 failed.

Example:
  muniment version`
}

func (c *versionCmd) Run(a *term.App) error { return c.Print(a, versionResult{programVersion()}) }

type versionResult struct {
	Version string `json:"version"`
}

func (r versionResult) Text() string { return "muniment " + r.Version + "\n" }

// A versionFlag prints the version and ends the program.
type versionFlag bool

// BeforeReset implements kong's hook. It runs before kong checks for required
// arguments.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	fmt.Fprintln(app.Stdout, "muniment", programVersion())
	app.Exit(term.ExitOK)
	return nil
}

type helpCmd struct {
	Topic []string `arg:"" optional:"" help:"A command, such as verify or token issue; or exit-codes."`
}

func (helpCmd) Help() string {
	return `Exit code: 0 printed; 2 there is no such command.

Examples:
  muniment help verify
  muniment help token issue
  muniment help exit-codes`
}

// Run is never called: runCommand turns the command into COMMAND --help.
func (helpCmd) Run(*term.App) error { return nil }
