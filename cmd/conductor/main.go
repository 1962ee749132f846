// Command conductor changes running systems step by step, and records each step
// in a Muniment ledger before and after it is taken. It is a customer of the
// ledger, with an identity of its own. See docs/backfill.md and docs/triage.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"

	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
)

// version is set by the linker.
var version = "development"

type cli struct {
	Backfill   backfillCmd   `cmd:"" help:"Change a column of a PostgreSQL table online, with evidence of each step."`
	Triage     triageCmd     `cmd:"" help:"Receive alerts, classify incidents and take the first steps against them."`
	Completion completionCmd `cmd:"" help:"Print the completion script for a shell."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	code := runLine(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// runLine runs a command line and returns the exit code.
func runLine(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, messages := term.NewOutput(stdout, stop), term.NewEscaper(stderr)
	a := &term.App{Ctx: ctx, Stdin: stdin, Stdout: out, Stderr: messages, Program: "conductor", Version: version, JSON: slices.Contains(args, "--json")}
	code := command(a, args)
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

// An exit unwinds the parser when it ends the program, as --help does.
type exit int

func command(a *term.App, args []string) (code int) {
	defer interrupt.Set(a.Ctx)()
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(exit)
			if !ok {
				a.Complain(fmt.Sprintf("internal error, please report it: %v\n%s", r, debug.Stack()))
				e = term.ExitFailed
			}
			code = int(e)
		}
	}()
	var c cli
	parser, err := kong.New(&c, kong.Name("conductor"),
		kong.Description("Changes running systems step by step, with evidence of each step in a Muniment ledger.\n\nExit codes: 0 done; 1 refused, paused, rows differ, or no incident; 2 failed; 130 interrupted."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, Summary: true}),
		kong.Writers(a.Stdout, a.Stderr), kong.Exit(func(n int) { panic(exit(n)) }),
	)
	if err != nil {
		a.Complain(err.Error())
		return term.ExitFailed
	}
	kongcompletion.Register(parser, kongcompletion.WithPredictor("file", complete.PredictFiles("*")))
	k, err := parser.Parse(args)
	if err != nil {
		return fail(a, fmt.Errorf("%w\nfor usage, run: conductor %s--help", err, prefix(parser.Model, args)))
	}
	return fail(a, k.Run(a))
}

// prefix returns the commands in the arguments.
func prefix(app *kong.Application, args []string) string {
	command, node := "", app.Node
	for _, arg := range args {
		at := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == arg })
		if at < 0 {
			break
		}
		command, node = command+arg+" ", node.Children[at]
	}
	return command
}

// fail prints the error and returns the exit code for it.
func fail(a *term.App, err error) int {
	if err == nil {
		return term.ExitOK
	}
	code := term.ExitFailed
	var e *term.ExitError
	if errors.As(err, &e) {
		code = e.Code
	}
	msg := err.Error()
	if a.Ctx.Err() != nil && code <= term.ExitFailed {
		code, msg = term.ExitInterrupted, "interrupted"
	}
	if strings.TrimSpace(msg) != "" && a.Stdout.Err() == nil { // runLine reports that
		a.Complain(msg)
	}
	return code
}

type versionCmd struct{}

func (versionCmd) Help() string {
	return `Exit code: 0 printed.

Example:
  conductor version`
}

func (versionCmd) Run(a *term.App) error {
	_, err := fmt.Fprintln(a.Stdout, "conductor", a.Version)
	return err
}

type completionCmd struct{ kongcompletion.Completion }
