package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// runElsewhere lists the pages whose commands another test runs: the tests of
// their own package.
var runElsewhere = map[string]string{
	"clients/python/README.md":             "clients/python/tests/test_readme.py",
	"docs/cache.md":                        "clients/ts/packages/adaptive-cache/test/page.test.ts",
	"docs/quickstart-python.md":            "clients/python/tests/test_quickstart.py",
	"docs/quickstart-typescript.md":        "clients/ts/packages/verify/test/quickstart.test.ts",
	"clients/ts/README.md":                 "clients/ts/packages/verify/test/readme.test.ts",
	"clients/ts/packages/verify/README.md": "clients/ts/packages/verify/test/readme.test.ts",
}

// languages are those of code blocks. Only console and sh blocks have commands.
// A block without a language is text.
var languages = []string{"", "console", "sh", "yaml", "json", "text", "mermaid", "go", "python", "ts"}

// pages returns the text of each page of the repository by its path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "clients/*/README.md", "clients/ts/packages/*/README.md", "clients/ts/samples/*/README.md", "deploy/*.md", "verifiers/*/*.md"} {
		paths, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all[strings.TrimPrefix(filepath.ToSlash(path), "../../")] = string(text)
		}
	}
	if len(all) < 35 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}

// TestEveryPageRuns fails for a page with commands that no test runs, and for
// commands where no test looks for them.
func TestEveryPageRuns(t *testing.T) {
	for page, text := range pages(t) {
		for _, problem := range hiddenCommands(text) {
			t.Errorf("%s: %s", page, problem)
		}
		if len(docCommands(text)) == 0 {
			continue
		}
		if runner := runElsewhere[page]; runner != "" {
			if code, err := os.ReadFile("../../" + runner); err != nil || !strings.Contains(string(code), filepath.Base(page)) || !strings.Contains(string(code), "console") {
				t.Errorf("%s: %s does not run the console blocks of the page: %v", page, runner, err)
			}
		} else if page != "README.md" && filepath.Dir(page) != "docs" {
			t.Errorf("%s: no test runs the commands of this page: move them to a page under docs/", page)
		}
	}
}

var (
	indentedCommand = regexp.MustCompile(`^(?: {4,}|\t)(?:\$ |(?:muniment|conductor|npm|npx|node|make|go|pip|python3?|docker|curl) )`)
	// An import in Go has a quote.
	blockCommand = regexp.MustCompile(`^\s*(?:\$ |(?:muniment|conductor) [^"])`)
)

// hiddenCommands returns the places of a page where commands escape
// docCommands: blocks with an unknown language or one that has no commands, and
// indented blocks.
func hiddenCommands(page string) (problems []string) {
	block, blank := "", true
	for number, line := range strings.Split(page, "\n") {
		problem := func(text string) { problems = append(problems, fmt.Sprintf("line %d: %s", number+1, text)) }
		lang, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && block != "":
			block = ""
		case fence:
			if block = lang; !slices.Contains(languages, lang) {
				problem(fmt.Sprintf("the code block has the language %q: use one of %q", lang, languages))
			} else if lang == "" {
				block = "text"
			}
		case block == "" && blank && indentedCommand.MatchString(line):
			problem("a command in an indented block: use a console block")
		case block != "" && block != "console" && block != "sh" && blockCommand.MatchString(line):
			problem("a command in a block of " + block + ": use a console block")
		}
		blank = strings.TrimSpace(line) == "" || blank && indentedCommand.MatchString(line)
	}
	if block != "" {
		problems = append(problems, "the last code block does not end")
	}
	return problems
}

func TestHiddenCommands(t *testing.T) {
	for page, want := range map[string]int{
		"```console\n$ muniment list\n```\n":       0,
		"```text\n$ muniment list\n```\n":          1,
		"```json\nmuniment list\n```\n":            1,
		"```go\n\tmuniment \"m.dev/go\"\n```\n":    0,
		"```\nx\n```\n":                            0,
		"```\nmuniment list\n```\n":                1,
		"```text\nconductor backfill plan\n```\n":  1,
		"```bash\nmuniment list\n```\n":            2,
		"text\n\n    muniment list\n":              1,
		"text\n\n    $ ls\n    npm ci\n":           2,
		"- item\n    muniment is a word here\n":    0,
		"```console\n$ muniment list\n":            1,
		"text\n\n    {\"json\": \"no command\"}\n": 0,
	} {
		if got := hiddenCommands(page); len(got) != want {
			t.Errorf("%q: %q, want %d", page, got, want)
		}
	}
}

var inlineCommand = regexp.MustCompile("`(muniment [a-z][^`]*)`")

// TestInlineCommands checks the commands that prose names: each exists, with
// its flags.
func TestInlineCommands(t *testing.T) {
	parser, err := kong.New(&cli{}, append(flagValues(), kong.Name("muniment"))...)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for page, text := range pages(t) {
		if page == "CHANGELOG.md" {
			continue // of commands that may be gone
		}
		for _, m := range inlineCommand.FindAllStringSubmatch(strings.ReplaceAll(text, "\n", " "), -1) {
			found++
			if problem := unknownWord(parser.Model.Node, strings.Fields(m[1])[1:]); problem != "" {
				t.Errorf("%s: `%s`: %s", page, m[1], problem)
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d commands were found", found)
	}
}

// unknownWord returns what is wrong with a command line, or "".
func unknownWord(n *kong.Node, words []string) string {
	for len(words) > 0 && len(n.Children) > 0 && !strings.HasPrefix(words[0], "-") {
		at := slices.IndexFunc(n.Children, func(c *kong.Node) bool { return c.Name == words[0] })
		if at < 0 {
			if n.Parent == nil || n.DefaultCmd == nil && regexp.MustCompile(`^[a-z-]+$`).MatchString(words[0]) {
				return "there is no command " + words[0]
			}
			break
		}
		n, words = n.Children[at], words[1:]
	}
	known := map[string]bool{}
	for _, leaf := range append(n.Leaves(false), n) {
		for _, group := range leaf.AllFlags(false) {
			for _, f := range group {
				known["--"+f.Name] = true
				if f.Short != 0 {
					known["-"+string(f.Short)] = true
				}
			}
		}
	}
	for _, word := range words {
		flag, _, _ := strings.Cut(word, "=")
		if regexp.MustCompile(`^--?[a-z][a-z-]*$`).MatchString(flag) && !known[flag] {
			return "there is no flag " + flag
		}
	}
	return ""
}
