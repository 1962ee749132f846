package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/alecthomas/kong"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
)

func runCommand(a *term.App, args []string) (code int) {
	defer interrupt.Set(a.Ctx)()
	var c cli
	defer func() {
		if r := recover(); r != nil {
			exit, ok := r.(kongExit)
			if !ok {
				a.Complain(fmt.Sprintf("internal error, please report it: %v\n%s", r, debug.Stack()))
				exit = term.ExitFailed
			}
			code = int(exit)
		}
	}()
	config := &configResolver{path: defaultConfigPath(), optional: true, warn: a.Warn}
	parser, err := kong.New(&c, append(flagValues(),
		kong.Name("muniment"),
		kong.Description("Keeps evidence in an append-only Merkle log, and proves it offline.\n\nExit codes: 0 yes; 1 no (not verified, not recorded); 2 no answer (usage, file, network); see 'muniment help exit-codes'."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, Summary: true}),
		kong.ExplicitGroups([]kong.Group{{Key: "operate", Title: "Operate a log"}, {Key: "evidence", Title: "Record and find evidence"}, {Key: "prove", Title: "Prove and check"}, {Key: "decide", Title: "Decide"}}),
		kong.Writers(a.Stdout, a.Stderr),
		kong.Exit(func(n int) { panic(kongExit(n)) }),
		kong.Resolvers(config),
	)...)
	if err != nil {
		a.Complain(err.Error())
		return term.ExitFailed
	}
	setPlaceholders(parser.Model)
	completeLine(parser, args)
	if len(args) > 0 && args[0] == "help" {
		if len(args) == 2 && args[1] == "exit-codes" {
			term.PrintExitCodes(a.Stdout)
			return term.ExitOK
		}
		args = append(slices.Clone(args[1:]), "--help")
	}
	defer bounded.OnExposed(a.WarnExposed)()
	if err := checkEmptyFlags(parser.Model, args); err != nil {
		return report(a, usageError(parser.Model, err, args))
	}
	k, err := parser.Parse(args)
	if err != nil {
		return report(a, usageError(parser.Model, err, args))
	}
	a.JSON = wantsJSON(k)
	if err := checkPlatform(k); err != nil {
		return report(a, err)
	}
	return report(a, k.Run(a))
}

// report prints the error and returns the exit code for it.
func report(a *term.App, err error) int {
	if err == nil {
		return term.ExitOK
	}
	code := term.ExitFailed
	var ee *term.ExitError
	if errors.As(err, &ee) {
		code = ee.Code
	}
	msg, attrs := remote.ErrorText(err), []any(nil)
	if c := remote.Code(err); c != "" {
		attrs = []any{"code", c}
	}
	if a.Ctx.Err() != nil && code <= term.ExitFailed {
		code, msg, attrs = term.ExitInterrupted, "interrupted", nil
	}
	if msg != "" && a.Stdout.Err() == nil { // run reports that
		a.Complain(msg, attrs...)
	}
	return code
}
