// Command muniment keeps evidence in an append-only Merkle log, and verifies
// the receipts that the log hands out.
//
// This package has flags, wiring and exit codes. What the commands do lives in
// the packages that they call.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"connectrpc.com/connect"
	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"

	"muniment.dev/muniment/cmd/muniment/internal/term"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
)

type cli struct {
	Config configFlag `help:"YAML file with defaults for flags, such as server and token-file." placeholder:"FILE" env:"MUNIMENT_CONFIG" type:"path"`

	Init      initCmd      `cmd:"" group:"operate" help:"Make a data folder: configuration, log key, policy, a tenant with token and stream key."`
	Serve     serveCmd     `cmd:"" group:"operate" help:"Run the server on a data folder."`
	Tenant    tenantCmd    `cmd:"" group:"operate" help:"Add, suspend, resume, remove or list the tenants of a data folder."`
	Operator  operatorCmd  `cmd:"" group:"operate" help:"Add, remove or list who may read metrics and health details."`
	Reload    reloadCmd    `cmd:"" group:"operate" help:"Bring a changed configuration in force without a restart."`
	Policy    policyCmd    `cmd:"" group:"operate" help:"Admission policies (test, lint, set, get), and the log's own for verifiers (add-witness, post-quantum, show)."`
	Witness   witnessCmd   `cmd:"" group:"operate" help:"Run a witness: cosign the checkpoints of other logs."`
	Token     tokenCmd     `cmd:"" group:"operate" help:"Issue, revoke or list a tenant's tokens."`
	Whoami    whoamiCmd    `cmd:"" group:"operate" help:"Show what the credentials are good for."`
	Export    exportCmd    `cmd:"" group:"operate" help:"Write what the log has grown by, with a tenant's evidence, to one signed file."`
	Import    importCmd    `cmd:"" group:"operate" help:"Verify such a file on another machine, and bring a replica forward by it."`
	Replica   replicaCmd   `cmd:"" group:"operate" help:"Make the data folder of a replica, for a machine that can't reach the log."`
	Keys      keysCmd      `cmd:"" group:"operate" help:"Rotate and retire the keys that sign the log."`
	Erase     eraseCmd     `cmd:"" group:"operate" help:"Erase an entry's evidence for good; the entry and its proofs stay."`
	Retention retentionCmd `cmd:"" group:"operate" help:"Set, show or apply a tenant's retention rules."`
	Hold      holdCmd      `cmd:"" group:"operate" help:"Place, release or list legal holds."`
	Fsck      fsckCmd      `cmd:"" group:"operate" help:"Check the whole store, and list what is damaged."`
	Reindex   reindexCmd   `cmd:"" group:"operate" help:"Rebuild search index and deduplication from the log, and compare."`
	Backup    backupCmd    `cmd:"" group:"operate" help:"Back up a data folder, also while its server runs."`
	Restore   restoreCmd   `cmd:"" group:"operate" help:"Make a data folder from a backup, once that is proven whole."`

	Append     appendCmd     `cmd:"" group:"evidence" help:"Record evidence and keep its receipts."`
	Get        getCmd        `cmd:"" group:"evidence" help:"Show an entry, or write its payload."`
	List       listCmd       `cmd:"" group:"evidence" help:"Search the tenant's entries."`
	Trace      traceCmd      `cmd:"" group:"evidence" help:"Show all evidence on an artifact as a tree."`
	Watch      watchCmd      `cmd:"" group:"evidence" help:"Follow the tenant's entries as they are published."`
	Receipt    receiptGroup  `cmd:"" group:"evidence" help:"Fetch the receipt of an entry, also for third parties; bring old receipts under the log's current key."`
	Checkpoint checkpointCmd `cmd:"" group:"evidence" help:"Print the log's latest signed checkpoint."`

	Verify          verifyCmd          `cmd:"" group:"prove" help:"Verify receipts offline."`
	VerifyBundle    verifyBundleCmd    `cmd:"" group:"prove" help:"Verify a Sigstore bundle of an artifact offline."`
	VerifyImage     verifyImageCmd     `cmd:"" group:"prove" help:"Verify what is attached to an image or chart in a registry."`
	VerifyChart     verifyChartCmd     `cmd:"" group:"prove" help:"Verify where a Helm chart comes from."`
	VerifyEnvelope  verifyEnvelopeCmd  `cmd:"" group:"prove" help:"Verify a DSSE envelope that was signed with raw keys offline."`
	VerifyStatement verifyStatementCmd `cmd:"" group:"prove" help:"Check the structure of an in-toto statement; nobody has signed it."`
	SigningConfig   signingConfigCmd   `cmd:"" group:"prove" help:"Write the file that makes cosign sign with a Rekor log that this program serves."`
	TrustedRoot     trustedRootCmd     `cmd:"" group:"prove" help:"Look at trusted roots: who may sign certificates, keep logs and tell the time."`
	Prove           proveCmd           `cmd:"" group:"prove" help:"Write the bare C2SP tlog-proof of an entry or receipt."`
	Audit           auditCmd           `cmd:"" group:"prove" help:"Check that a log never rewrote, truncated or forked, and that a stream is complete."`

	Monitor monitorCmd `cmd:"" group:"prove" help:"Follow logs, and raise alerts: forks, stalls, unexpected entries."`
	Mirror  mirrorCmd  `cmd:"" group:"prove" help:"Keep a verified copy of a log, and serve it."`

	SCITT scittCmd `cmd:"" name:"scitt" group:"evidence" help:"Sign, register and verify SCITT statements with COSE receipts."`

	Completion completionCmd `cmd:"" help:"Print the completion script for a shell."`
	Help       helpCmd       `cmd:"" help:"Show the help of a command, or a topic: exit-codes."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	ShowVersion versionFlag `name:"version" help:"Print the version."`
}

// An app is what commands work with besides their flags.
type app struct {
	ctx    context.Context
	stdin  io.Reader
	stdout *term.Output
	stderr io.Writer
	level  slog.LevelVar               // of the logger
	log    atomic.Pointer[slog.Logger] // of a service; nil in other commands
	json   bool                        // standard error is for lines of JSON
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program without the process: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, messages := term.NewOutput(stdout, stop), term.NewEscaper(stderr)
	a := &app{ctx: ctx, stdin: stdin, stdout: out, stderr: messages, json: asksForJSON(args)}
	code := a.run(args)
	_ = messages.Flush() // nowhere to report it
	_ = out.Flush()      // the output keeps the error
	switch {
	case out.Closed():
		return exitPipe
	case out.Err() != nil:
		a.complain(fmt.Sprint("write standard output: ", cause(out.Err())))
		return exitFailed
	}
	return code
}

// cause returns the system's own words for an error of a file.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func (a *app) run(args []string) (code int) {
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
		kong.ExplicitGroups([]kong.Group{{Key: "operate", Title: "Operate a log"}, {Key: "evidence", Title: "Record and find evidence"}, {Key: "prove", Title: "Prove and check"}}),
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
		return a.report(usageError(err, args))
	}
	a.json = wantsJSON(k)
	return a.report(k.Run(a))
}

// A kongExit unwinds the parser when it ends the program, as --help does.
type kongExit int

// usageError adds where the right usage is shown.
func usageError(err error, args []string) error {
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command = args[0] + " "
	}
	return fmt.Errorf("%w\nfor usage, run: muniment %s--help", err, command)
}

// report prints the error and returns the exit code for it.
func (a *app) report(err error) int {
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

// complain prints why the program ends.
func (a *app) complain(msg string) {
	if a.json {
		a.newLogger(true).Error(msg)
		return
	}
	fmt.Fprintln(a.stderr, "muniment:", printable(msg))
}

// warn prints a warning of before the flags are parsed.
func (a *app) warn(msg string) {
	if a.json {
		a.newLogger(true).Warn(msg)
		return
	}
	fmt.Fprintln(a.stderr, "muniment: warning:", printable(msg))
}

// errorText adds the remedy to errors that a person can mend.
func errorText(err error) string {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return err.Error()
	}
	msg := err.Error() // of a connect.Error that is wrapped, with what was said around it
	if err == error(ce) {
		msg = ce.Code().String() + ": " + ce.Message()
	}
	if !connect.IsWireError(ce) {
		if remedy := connectionRemedy(ce); remedy != "" {
			return msg + "\n" + remedy
		}
	}
	switch ce.Code() {
	case connect.CodeUnavailable:
		if !connect.IsWireError(ce) {
			msg += "\nIs the server running, and is --server (or MUNIMENT_SERVER) its address?"
		}
	case connect.CodeUnauthenticated:
		if !strings.Contains(msg, "identity_token: ") { // which says itself what to do
			msg += "\nGive the tenant's token with --token-file, or in MUNIMENT_TOKEN; in a CI job, --identity-token auto."
		}
	}
	return msg
}

// Version is set when a release is linked.
var version = ""

type versionCmd struct{}

func (versionCmd) Help() string {
	return `Example:
  muniment version`
}

func (versionCmd) Run(a *app) error {
	_, err := fmt.Fprintln(a.stdout, "muniment", programVersion())
	return err
}

// programVersion returns the version of the release, or that of the module.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		return info.Main.Version
	}
	return version
}

// A versionFlag prints the version and ends the program.
type versionFlag bool

// BeforeReset implements kong's hook. It runs before required arguments are
// missed.
func (versionFlag) BeforeReset(app *kong.Kong) error {
	fmt.Fprintln(app.Stdout, "muniment", programVersion())
	app.Exit(exitOK)
	return nil
}

type helpCmd struct {
	Topic []string `arg:"" optional:"" help:"A command, such as verify or token issue; or exit-codes."`
}

func (helpCmd) Help() string {
	return `Examples:
  muniment help verify
  muniment help token issue
  muniment help exit-codes`
}

// Run is not reached: runCommand turns the arguments around before they are
// parsed.
func (helpCmd) Run(*app) error { return nil }

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCmd) Help() string {
	return `Examples:
  muniment completion bash >> ~/.bashrc
  muniment completion zsh  >> ~/.zshrc
  muniment completion fish > ~/.config/fish/completions/muniment.fish`
}

func (c completionCmd) Run(a *app) error {
	bin, err := os.Executable()
	if err != nil {
		return err
	}
	switch c.Shell {
	case "zsh":
		fmt.Fprintf(a.stdout, "autoload -U +X bashcompinit && bashcompinit\ncomplete -o default -C %q muniment\n", bin)
	case "fish":
		fmt.Fprintf(a.stdout, "function __complete_muniment\n    set -lx COMP_LINE (commandline -cp)\n    test -z (commandline -ct); and set COMP_LINE \"$COMP_LINE \"\n    %q\nend\ncomplete -f -c muniment -a \"(__complete_muniment)\"\n", bin)
	default:
		fmt.Fprintf(a.stdout, "complete -o default -C %q muniment\n", bin)
	}
	return nil
}
