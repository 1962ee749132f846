package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/evidence"
	"muniment.dev/muniment/internal/term"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCmd) Help() string {
	return `Exit code: 0 printed; 2 failed.

Examples:
  muniment completion bash >> ~/.bashrc
  muniment completion zsh  >> ~/.zshrc
  muniment completion fish > ~/.config/fish/completions/muniment.fish`
}

func (c completionCmd) Run(a *term.App) error {
	bin, err := os.Executable()
	if err != nil {
		return err
	}
	switch c.Shell {
	case "zsh":
		fmt.Fprintf(a.Stdout, "autoload -U +X bashcompinit && bashcompinit\ncomplete -o default -C %q muniment\n", bin)
	case "fish":
		fmt.Fprintf(a.Stdout, "function __complete_muniment\n    set -lx COMP_LINE (commandline -cp)\n    test -z (commandline -ct); and set COMP_LINE \"$COMP_LINE \"\n    %q\nend\ncomplete -f -c muniment -a \"(__complete_muniment)\"\n", bin)
	default:
		fmt.Fprintf(a.Stdout, "complete -o default -C %q muniment\n", bin)
	}
	return nil
}

// predictors maps values of the tag predictor to what completes a value.
var predictors = map[string]complete.Predictor{
	"file":     complete.PredictFiles("*"),
	"dir":      complete.PredictDirs("*"),
	"kind":     complete.PredictSet(evidence.KindNames()...),
	"tenant":   fromData(tenantNames),
	"operator": fromData(operatorNames),
	"key":      fromData(keyNames),
}

// predictorName returns the name of the predictor of a flag or argument, or "".
// Without a tag its type, placeholder and name decide.
func predictorName(v *kong.Value, placeholder string) string {
	switch name := v.Tag.Get("predictor"); {
	case name != "":
		return name
	case v.Enum != "":
		return ""
	case v.Name == "data", v.Name == "dir", placeholder == "DIR":
		return "dir"
	case v.Tag.Type == "path", strings.HasSuffix(placeholder, "FILE"), strings.HasPrefix(placeholder, "FILE|"):
		return "file"
	case v.Name == "kind", v.Name == "tenant":
		return v.Name
	}
	return ""
}

// completeLine answers a shell that completes a command line, and then ends the
// program. The shell sets COMP_LINE. bash and zsh give the name of the program
// and the word at the cursor as arguments.
func completeLine(parser *kong.Kong, args []string) {
	line := os.Getenv("COMP_LINE")
	if line == "" {
		return
	}
	command, err := completions(parser)
	if err != nil {
		parser.Errorf("completion: %v", err)
		parser.Exit(term.ExitFailed)
	}
	c := complete.New(parser.Model.Name, command)
	c.Out = parser.Stdout
	if prefix := mapKey(line); prefix != "" {
		// The library takes the key for a word of its own.
		os.Setenv("COMP_LINE", strings.TrimSuffix(line, lastWord(line))+strings.TrimPrefix(lastWord(line), prefix))
		if len(args) > 1 && !strings.HasPrefix(args[1], prefix) {
			prefix = "" // bash completes what follows the =
		}
		c.Out = &prefixWriter{parser.Stdout, prefix}
	}
	c.Complete()
	parser.Exit(term.ExitOK)
}

// completions returns the tree of commands with their predictors.
func completions(parser *kong.Kong) (complete.Command, error) {
	command, err := kongcompletion.Command(parser, kongcompletion.WithPredictors(predictors))
	if err == nil {
		setPredictors(parser.Model.Node, &command)
	}
	return command, err
}

// setPredictors gives each flag and argument of the tree its predictor.
func setPredictors(n *kong.Node, command *complete.Command) {
	for _, f := range n.Flags {
		if p := predictors[predictorName(f.Value, f.PlaceHolder)]; p != nil {
			command.GlobalFlags["--"+f.Name] = p
			if f.Short != 0 {
				command.GlobalFlags["-"+string(f.Short)] = p
			}
		}
	}
	if args, ok := command.Args.(*kongcompletion.PositionalPredictor); ok {
		for i, v := range n.Positional {
			if p := predictors[predictorName(v, "")]; p != nil {
				args.Predictors[i] = p
			}
		}
	}
	for _, child := range n.Children {
		if sub, ok := command.Sub[child.Name]; ok {
			setPredictors(child, &sub)
			command.Sub[child.Name] = sub
		}
	}
}

func lastWord(line string) string { return line[strings.LastIndexAny(line, " \t")+1:] }

// mapKey returns NAME= if the last word of the line begins with it, as in the
// value of a flag NAME=FILE.
func mapKey(line string) string {
	word := lastWord(line)
	if i := strings.IndexByte(word, '='); i > 0 && !strings.HasPrefix(word, "-") {
		return word[:i+1]
	}
	return ""
}

// A prefixWriter writes each completion after the prefix.
type prefixWriter struct {
	w      io.Writer
	prefix string
}

func (p *prefixWriter) Write(line []byte) (int, error) {
	_, err := p.w.Write(append([]byte(p.prefix), line...))
	return len(line), err
}

// fromData completes with names in the data folder of the command line or of
// MUNIMENT_DATA.
func fromData(names func(*datadir.Dir) []string) complete.Predictor {
	return complete.PredictFunc(func(a complete.Args) []string {
		dir := os.Getenv("MUNIMENT_DATA")
		words := strings.Fields(os.Getenv("COMP_LINE"))
		for i, word := range words {
			if value, ok := strings.CutPrefix(word, "--data="); ok {
				dir = value
			} else if word == "--data" && i+1 < len(words) {
				dir = words[i+1]
			}
		}
		if dir == "" {
			return nil
		}
		d, err := datadir.Load(expandPath(dir))
		if err != nil {
			return nil
		}
		return slices.DeleteFunc(names(d), func(name string) bool { return !strings.HasPrefix(name, a.Last) })
	})
}

func tenantNames(d *datadir.Dir) (names []string) {
	for _, t := range d.Tenants {
		names = append(names, t.Name)
	}
	return names
}

func operatorNames(d *datadir.Dir) (names []string) {
	for _, o := range d.Operators {
		names = append(names, o.ID)
	}
	return names
}

func keyNames(d *datadir.Dir) (names []string) {
	for i := range d.Keys {
		names = append(names, d.Keys[i].ID())
	}
	return names
}
