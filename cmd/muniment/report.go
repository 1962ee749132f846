package main

import (
	"errors"
	"slices"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
)

func runCommand(a *app, args []string) (code int) {
	defer interrupt.Set(a.ctx)()
	var c cli
	defer func() {
		if r := recover(); r != nil {
			exit, ok := r.(kongExit)
			if !ok {
				panic(r)
			}
			code = int(exit)
		}
	}()
	config := &configResolver{path: defaultConfigPath(), optional: true, warn: a.warn}
	parser, err := kong.New(&c, append(flagValues(),
		kong.Name("muniment"),
		kong.Description("Keeps evidence in an append-only Merkle log, and proves it offline.\n\nExit codes: 0 yes; 1 no (not verified, not recorded); 2 no answer (usage, file, network); see 'muniment help exit-codes'."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, Summary: true}),
		kong.ExplicitGroups([]kong.Group{{Key: "operate", Title: "Operate a log"}, {Key: "evidence", Title: "Record and find evidence"}, {Key: "prove", Title: "Prove and check"}, {Key: "decide", Title: "Decide"}}),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(n int) { panic(kongExit(n)) }),
		kong.Resolvers(config),
	)...)
	if err != nil {
		a.complain(err.Error())
		return exitFailed
	}
	kongcompletion.Register(parser, kongcompletion.WithPredictor("file", complete.PredictFiles("*")))
	if len(args) > 0 && args[0] == "help" {
		if len(args) == 2 && args[1] == "exit-codes" {
			printExitCodes(a.stdout)
			return exitOK
		}
		args = append(slices.Clone(args[1:]), "--help")
	}
	defer bounded.OnExposed(a.warnExposed)()
	k, err := parser.Parse(args)
	if err != nil {
		return report(a, usageError(err, args))
	}
	a.json = wantsJSON(k)
	return report(a, k.Run(a))
}

// report prints the error and returns the exit code for it.
func report(a *app, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailed
	var ee *exitError
	if errors.As(err, &ee) {
		code = ee.code
	}
	msg := errorText(err)
	if a.ctx.Err() != nil && code <= exitFailed {
		code, msg = exitInterrupted, "interrupted"
	}
	if msg != "" && a.stdout.Err() == nil { // run reports that
		a.complain(msg)
	}
	return code
}
