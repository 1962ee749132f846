package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/controls/trial"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// TestDocs runs every command in the pages under docs/ and in the README, as
// written. Each page runs in its own network and mount namespaces, so it can
// listen on any port, use any host name and write to /var/lib. The companion
// file testdata/docs/PAGE.txt sets up what a page assumes, with the directives
// of parseRules. A page with commands must have one.
func TestDocs(t *testing.T) {
	soak.WithoutRace(t)
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, path := range append(pages, "../../README.md") {
		name := strings.ToLower(strings.TrimSuffix(filepath.Base(path), ".md"))
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		checkDocYAML(t, path, name, string(text))
		commands := docCommands(string(text))
		if len(commands) == 0 || runElsewhere["docs/"+filepath.Base(path)] != "" {
			continue
		}
		ran++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			companion, err := txtar.ParseFile(filepath.Join("testdata", "docs", name+".txt"))
			if err != nil {
				t.Fatalf("the page has commands but no companion file: %v", err)
			}
			runDocs(t, path, commands, companion)
		})
	}
	if ran == 0 {
		t.Fatal("no page has commands")
	}
}

// A docCommand is a command of a page.
type docCommand struct {
	line   int
	text   string
	output []string // as shown on the page
}

// docCommands returns the commands in console and sh blocks. In a console
// block, a command starts after "$ " and continues while a line ends in a
// backslash or a pipe, or a here-document or quote is open.
func docCommands(page string) (commands []docCommand) {
	block, number := "", 0
	for line := range strings.SplitSeq(page, "\n") {
		number++
		trimmed := strings.TrimSpace(line)
		if lang, ok := strings.CutPrefix(trimmed, "```"); ok {
			if block != "" {
				block = ""
			} else if block = lang; lang == "" {
				block = "text"
			}
			if lang == "sh" && block != "" {
				commands = append(commands, docCommand{line: number + 1})
			}
			continue
		}
		last := len(commands) - 1
		switch {
		case block == "sh":
			commands[last].text += line + "\n"
		case block != "console":
		case strings.HasPrefix(trimmed, "$ "):
			commands = append(commands, docCommand{line: number, text: trimmed[2:]})
		case last >= 0 && len(commands[last].output) == 0 && goesOn(commands[last].text):
			commands[last].text += "\n" + line
		case last >= 0 && trimmed != "":
			commands[last].output = append(commands[last].output, trimmed)
		}
	}
	return commands
}

func goesOn(command string) bool {
	if strings.HasSuffix(command, "\\") || strings.HasSuffix(command, "|") || strings.Count(command, "'")%2 == 1 {
		return true
	}
	m := regexp.MustCompile(`<<'?([A-Z]+)'?`).FindStringSubmatch(command)
	return m != nil && !strings.HasSuffix(command, "\n"+m[1])
}

// docRules holds the directives of a companion file.
type docRules struct {
	hosts   []string
	peers   []string          // real programs that the page uses
	own     []string          // programs of this repository that the page uses
	release bool              // the page uses a release, see releaseFolder
	other   []string          // YAML blocks of other programs, by their first line
	skip    []string          // commands that cannot run here
	serve   []string          // commands that run until the page ends
	stop    []string          // commands that are interrupted after three seconds
	exit    map[string]int    // expected exit code; 0 by default
	before  map[string]string // shell to run before a command
	used    map[string]bool
}

// parseRules parses directives, one per line: hosts NAME…; peers PROGRAM…; own
// FOLDER…, which contain programs; release; skip COMMAND # REASON; serve
// COMMAND; stop COMMAND; exit N COMMAND; before COMMAND => SHELL; and other
// LINE # PROGRAM, for a YAML block of another program that starts with that
// line. A command is named by a prefix. @2 before the prefix selects the second
// match.
func parseRules(t *testing.T, comment string) *docRules {
	r := &docRules{exit: map[string]int{}, before: map[string]string{}, used: map[string]bool{}}
	for line := range strings.SplitSeq(comment, "\n") {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "", "#":
		case "hosts":
			r.hosts = append(r.hosts, strings.Fields(rest)...)
		case "peers":
			r.peers = append(r.peers, strings.Fields(rest)...)
		case "other":
			block, program, _ := strings.Cut(rest, " # ")
			if program == "" {
				t.Fatalf("other without the program: %s", line)
			}
			r.other = append(r.other, block)
		case "release":
			r.release = true
		case "own":
			r.own = append(r.own, strings.Fields(rest)...)
		case "skip":
			command, reason, ok := strings.Cut(rest, " # ")
			if !ok || reason == "" {
				t.Fatalf("skip without a reason: %s", line)
			}
			r.skip = append(r.skip, command)
		case "serve":
			r.serve = append(r.serve, rest)
		case "stop":
			r.stop = append(r.stop, rest)
		case "exit":
			code, command, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(code)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			r.exit[command] = n
		case "before":
			command, shell, ok := strings.Cut(rest, " => ")
			if !ok {
				t.Fatalf("before without =>: %s", line)
			}
			r.before[command] += shell + "\n"
		default:
			t.Fatalf("unknown directive: %s", line)
		}
	}
	return r
}

// match reports whether the list names command i.
func (r *docRules) match(list []string, commands []docCommand, i int) bool {
	at := slices.IndexFunc(list, func(name string) bool { return r.names(name, commands, i) })
	return at >= 0
}

// names reports whether a directive names command i.
func (r *docRules) names(name string, commands []docCommand, i int) bool {
	prefix, which := name, 0
	if n, rest, ok := strings.Cut(name, " "); ok && strings.HasPrefix(n, "@") {
		which, _ = strconv.Atoi(n[1:])
		prefix = rest
	}
	if !strings.HasPrefix(commands[i].text, prefix) {
		return false
	}
	nth := 0
	for _, c := range commands[:i+1] {
		if strings.HasPrefix(c.text, prefix) {
			nth++
		}
	}
	if which == 0 || which == nth {
		r.used[name] = true
		return true
	}
	return false
}

// script returns the shell script that runs the commands. It prints a line
// @@ INDEX EXIT after the output of each command.
func (r *docRules) script(commands []docCommand) string {
	var b strings.Builder
	b.WriteString(". $PRELUDE\n")
	fmt.Fprintf(&b, "{ echo 127.0.0.1 localhost %s; } >hosts && mount --bind hosts /etc/hosts\n", strings.Join(r.hosts, " "))
	b.WriteString("[ ! -e setup.sh ] || . ./setup.sh || { printf '\n@@ -1 1\n'; exit 1; }\n")
	for i, c := range commands {
		for prefix, shell := range r.before {
			if r.names(prefix, commands, i) {
				b.WriteString(shell)
			}
		}
		switch {
		case r.match(r.skip, commands, i):
			fmt.Fprintf(&b, "printf '\\n@@ %d skipped\\n'\n", i)
		case r.match(r.serve, commands, i):
			text := regexp.MustCompile(`\s*&?\s*(#.*)?$`).ReplaceAllString(c.text, "")
			fmt.Fprintf(&b, "{ %s\n} >serve.%d 2>&1 &\nserver=$!\nawait serve.%d >/dev/null\nended=$?\ncat serve.%d\nprintf '\\n@@ %d %%s\\n' $ended\n", text, i, i, i, i)
		case r.match(r.stop, commands, i):
			fmt.Fprintf(&b, "timeout --foreground --preserve-status -s INT 3 %s </dev/null 2>&1\nprintf '\\n@@ %d %%s\\n' $?\n", c.text, i)
		default:
			fmt.Fprintf(&b, "{\n%s\n} </dev/null 2>&1\nprintf '\\n@@ %d %%s\\n' $?\n", c.text, i)
		}
	}
	return b.String()
}

func runDocs(t *testing.T, page string, commands []docCommand, companion *txtar.Archive) {
	rules := parseRules(t, string(companion.Comment))
	dir := t.TempDir()
	for _, f := range companion.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	peersDir := ""
	for _, name := range rules.peers {
		peersDir = filepath.Dir(peers.Path(t, name))
	}
	ownDir := t.TempDir()
	for _, name := range rules.own {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", ownDir+"/", "../../"+name).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	release := ""
	if rules.release {
		release = releaseFolder(t)
	}
	script := rules.script(commands)
	ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
	defer cancel()
	args := []string{"--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Getuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	cmd := exec.CommandContext(ctx, "unshare", append(args, "bash", "-c", script)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PRELUDE="+absolute(t, "testdata/docs/prelude.sh"), "PAGE="+absolute(t, page), "BIN="+filepath.Dir(plainProgram(t)), "PEERS="+peersDir, "OWN="+ownDir, "RELEASE="+release, "SIGSTORE_GO="+moduleFolder(t, "github.com/sigstore/sigstore-go"))
	cmd.Env = append(cmd.Env, goCaches(t)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	checkDocs(t, page, commands, rules, out.String(), err)
}

func absolute(t *testing.T, path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// moduleFolder returns the folder of a module's source.
func moduleFolder(t *testing.T, module string) string {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find %s: %v", module, err)
	}
	return strings.TrimSpace(string(dir))
}

// goCaches returns the variables with which Go finds in an empty home what was
// downloaded and built before.
func goCaches(t *testing.T) []string {
	names := []string{"GOMODCACHE", "GOCACHE"}
	out, err := exec.Command("go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	for i, value := range strings.Fields(string(out)) {
		names[i] += "=" + value
	}
	return names
}

// checkDocs compares the output of the commands with the page.
func checkDocs(t *testing.T, page string, commands []docCommand, rules *docRules, out string, err error) {
	rest, done := out, 0
	mark := regexp.MustCompile(`(?m)^@@ (-?\d+) (\w+)\n`)
	for {
		m := mark.FindStringSubmatchIndex(rest)
		if m == nil {
			break
		}
		printed, index, exit := rest[:m[0]], rest[m[2]:m[3]], rest[m[4]:m[5]]
		rest = rest[m[1]:]
		i, _ := strconv.Atoi(index)
		if i < 0 {
			t.Fatalf("setup.sh failed:\n%s", printed)
		}
		done = i + 1
		if exit == "skipped" {
			continue
		}
		c, want := commands[i], 0
		for prefix, code := range rules.exit {
			if rules.names(prefix, commands, i) {
				want = code
			}
		}
		if exit != strconv.Itoa(want) {
			t.Errorf("%s:%d: $ %s\nexit code %s, want %d:\n%s", page, c.line, c.text, exit, want, printed)
			continue
		}
		if missing := missingOutput(c.output, printed); missing != "" {
			t.Errorf("%s:%d: $ %s\nthe page shows:\n%s\nbut it printed:\n%s", page, c.line, c.text, missing, printed)
		}
	}
	if done != len(commands) {
		t.Errorf("the shell ended (%v) after %d of %d commands:\n%s", err, done, len(commands), rest)
	}
	for _, list := range [][]string{rules.skip, rules.serve, rules.stop} {
		for _, prefix := range list {
			if !rules.used[prefix] {
				t.Errorf("no command begins with %q: delete the directive", prefix)
			}
		}
	}
	for prefix := range rules.exit {
		if !rules.used[prefix] {
			t.Errorf("no command begins with %q: delete the directive", prefix)
		}
	}
	for prefix := range rules.before {
		if !rules.used[prefix] {
			t.Errorf("no command begins with %q: delete the directive", prefix)
		}
	}
}

// volatile replaces values that differ in each run, and spaces in JSON, which
// protojson varies by build. An ellipsis on a page matches anything.
var volatile = []struct {
	re *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`[A-Za-z0-9+/]{43}=`), "@"},
	{regexp.MustCompile(`\b[0-9a-f]{8,}\b`), "@"},
	{regexp.MustCompile(`[0-9]+`), "#"},
	{regexp.MustCompile(`\s+`), " "},
	{regexp.MustCompile(`([,:]) "`), `$1"`},
}

func steady(line string) string {
	for _, v := range volatile {
		line = v.re.ReplaceAllString(line, v.as)
	}
	return strings.TrimSpace(line)
}

// missingOutput returns the first line shown that was not printed, or "".
func missingOutput(shown []string, printed string) string {
	var lines []string
	for line := range strings.SplitSeq(printed, "\n") {
		lines = append(lines, steady(line))
	}
	for _, want := range shown {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(steady(want)), "…", ".*")
		re := regexp.MustCompile("^" + pattern + "$")
		if !slices.ContainsFunc(lines, re.MatchString) {
			return want
		}
	}
	return ""
}

// checkDocYAML requires each YAML block of a page to be part of a configuration
// file of the program, without unknown keys or values of the wrong type.
func checkDocYAML(t *testing.T, path, name, page string) {
	rules := &docRules{}
	if companion, err := txtar.ParseFile(filepath.Join("testdata", "docs", name+".txt")); err == nil {
		rules = parseRules(t, string(companion.Comment))
	}
	for _, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		block := m[1]
		first, _, _ := strings.Cut(block, "\n")
		if slices.Contains(rules.other, first) {
			rules.other = slices.DeleteFunc(rules.other, func(s string) bool { return s == first })
			continue
		}
		var wrong []string
		for kind, decode := range docYAML {
			err := decode([]byte(block))
			if err == nil {
				wrong = nil
				break
			}
			wrong = append(wrong, fmt.Sprintf("as %s: %v", kind, err))
		}
		if wrong != nil {
			t.Errorf("%s: the block that begins with %q is not part of a configuration file:\n%s", path, first, strings.Join(wrong, "\n"))
		}
	}
	if len(rules.other) > 0 {
		t.Errorf("%s: no YAML block begins with %q: delete the directive", path, rules.other)
	}
}

// docYAML maps configuration files to their decoders.
var docYAML = map[string]func([]byte) error{
	"muniment.yaml": func(b []byte) error { return datadir.DecodeYAML(b, &datadir.Config{}) },
	"monitor.yaml":  func(b []byte) error { return datadir.DecodeYAML(b, &operate.MonitorConfig{}) },
	"witness.yaml":  func(b []byte) error { return datadir.DecodeYAML(b, &operate.WitnessConfig{}) },
	"admission.yaml": func(b []byte) error {
		_, err := ingest.ParseAdmissionPolicy(b)
		return err
	},
	"controls.yaml": func(b []byte) error {
		_, err := catalog.Parse(b)
		return err
	},
	"controls_test.yaml": func(b []byte) error {
		_, err := trial.Parse(b, os.ReadFile)
		return err
	},
}

func TestDocCommands(t *testing.T) {
	got := docCommands("x\n```console\n$ one \\\n    two\nout\n$ cat <<EOF\na\nEOF\nout 2\n```\n```sh\nfor x in 1; do\ndone\n```\n```yaml\n$ no\n```\n")
	want := []string{"one \\\n    two", "cat <<EOF\na\nEOF", "for x in 1; do\ndone\n"}
	for i, c := range got {
		if i >= len(want) || c.text != want[i] {
			t.Fatalf("command %d is %q", i, c.text)
		}
	}
	if len(got) != len(want) || len(got[0].output) != 1 || got[1].output[0] != "out 2" {
		t.Fatalf("%d commands: %+v", len(got), got)
	}
	if missingOutput([]string{"entry 12, root …, ok"}, "x\nentry 7,  root abc, ok\n") != "" {
		t.Error("numbers and ellipses must match")
	}
	if missingOutput([]string{"1 failed"}, "1 refused\n") == "" {
		t.Error("other words must not match")
	}
}
