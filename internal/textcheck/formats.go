package main

import (
	"fmt"
	"go/scanner"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The widest lines, in columns.
const (
	maxComment  = 80  // a line that is a comment
	maxVerbatim = 100 // a line of a table or listing in a doc comment
	maxTrailing = 100 // a line of code followed by a comment
	maxMarkdown = 100 // a line of prose
	tabWidth    = 4
)

// columns returns the width of a line on a screen.
func columns(line string) int {
	n := 0
	for _, r := range line {
		if r == '\t' {
			n += tabWidth - n%tabWidth
		} else {
			n++
		}
	}
	return n
}

// breakable reports whether a comment or paragraph can be wrapped: it has more
// than one word, and none of them is an address.
func breakable(text string) bool {
	return !strings.Contains(text, "://") && len(strings.Fields(text)) > 1
}

func tooLong(file string, line, have, limit int) finding {
	return finding{file: file, line: line, message: fmt.Sprintf("%d columns, the limit is %d here", have, limit)}
}

// directive matches comments that are instructions to tools.
var directive = regexp.MustCompile(`^//(?:go:|line |export |[a-z]+:\S)|^// \+build |^//nolint`)

// A comment is one comment of Go code, with its place.
type comment struct {
	line int
	text string
	full bool // only blanks precede it on its line
}

// checkGo checks the comments of Go code, and its string literals outside of
// tests. Strings in tests quote other texts.
func checkGo(file string, data []byte) []finding {
	lines := strings.Split(string(data), "\n")
	fset := token.NewFileSet()
	f := fset.AddFile(file, -1, len(data))
	var s scanner.Scanner
	s.Init(f, data, nil, scanner.ScanComments)
	var findings []finding
	var comments []comment
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			break
		}
		at := f.PositionFor(pos, false)
		switch {
		case tok == token.COMMENT:
			before := lines[at.Line-1]
			before = before[:min(at.Column-1, len(before))]
			comments = append(comments, comment{at.Line, lit, strings.TrimSpace(before) == ""})
		case tok == token.STRING && !strings.HasSuffix(file, "_test.go"):
			findings = append(findings, checkLiteral(file, at.Line, lit)...)
		}
	}
	for _, c := range comments {
		findings = append(findings, checkWidth(file, lines, c)...)
	}
	for _, p := range paragraphs(comments) {
		findings = append(findings, checkPhrases(file, p.line, p.text)...)
		if p.full && declared.MatchString(p.text) && !strings.HasPrefix(p.text, "It ") {
			words := strings.Fields(p.text)
			findings = append(findings, finding{file, p.line, fmt.Sprintf("%q: %s", words[0]+" "+words[1], "use returns, reports whether, is, or names"), true})
		}
	}
	return findings
}

func checkLiteral(file string, line int, literal string) []finding {
	text, err := strconv.Unquote(literal)
	if err != nil || !strings.Contains(text, " ") {
		return nil
	}
	if literal[0] == '"' {
		text = strings.ReplaceAll(text, "\n", " ") // the literal is one line of code
	}
	return checkPhrases(file, line, text)
}

func checkWidth(file string, lines []string, c comment) []finding {
	if directive.MatchString(c.text) {
		return nil
	}
	var findings []finding
	for i := range strings.Split(c.text, "\n") {
		line := strings.TrimRight(lines[c.line-1+i], "\r")
		limit := maxComment
		switch {
		case i == 0 && !c.full:
			limit = maxTrailing
		case strings.HasPrefix(strings.TrimSpace(line), "//\t"):
			limit = maxVerbatim
		}
		text := line
		if !c.full {
			text = c.text
		}
		if n := columns(line); n > limit && breakable(strings.TrimLeft(text, "#/* \t")) {
			findings = append(findings, tooLong(file, c.line+i, n, limit))
		}
	}
	return findings
}

// paragraphs joins full comments on successive lines, so that a phrase that is
// wrapped is found too. The text has one line for each line of the file.
func paragraphs(comments []comment) []comment {
	var out []comment
	next := -1 // the line that would continue the last paragraph
	for _, c := range comments {
		text := strings.TrimPrefix(strings.TrimPrefix(c.text, "//"), "/*")
		text = strings.TrimPrefix(text, " ")
		if c.full && c.line == next {
			out[len(out)-1].text += "\n" + text
		} else {
			out = append(out, comment{c.line, text, c.full})
		}
		next = -1
		if c.full {
			next = c.line + 1 + strings.Count(c.text, "\n")
		}
	}
	return out
}

// lineComment matches a comment to the end of the line, with or without code
// before it.
var lineComment = regexp.MustCompile(`^((?:[^"'/]|/[^/*]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*)//(.*)$`)

// checkProto checks the comments of protobuf definitions.
func checkProto(file string, data []byte) []finding {
	lines := strings.Split(string(data), "\n")
	var findings []finding
	var comments []comment
	for i, line := range lines {
		if m := lineComment.FindStringSubmatch(line); m != nil {
			comments = append(comments, comment{i + 1, "//" + m[2], strings.TrimSpace(m[1]) == ""})
		}
	}
	for _, c := range comments {
		findings = append(findings, checkWidth(file, lines, c)...)
	}
	for _, p := range paragraphs(comments) {
		findings = append(findings, checkPhrases(file, p.line, p.text)...)
	}
	return findings
}

var fence = regexp.MustCompile("^\\s*(?:>\\s*)*(```+|~~~+)")

// checkMarkdown checks prose. Code blocks, tables, headings and lines with
// links may be longer; code blocks may contain any phrase.
func checkMarkdown(file string, data []byte) []finding {
	var findings []finding
	var text strings.Builder // the prose; other lines are empty in it
	open := ""
	for i, line := range strings.Split(string(data), "\n") {
		prose := open == "" && !strings.HasPrefix(line, "    ")
		if m := fence.FindStringSubmatch(line); m != nil {
			prose = false
			switch {
			case open == "":
				open = m[1]
			case strings.HasPrefix(m[1], open):
				open = ""
			}
		}
		if prose {
			text.WriteString(line)
			if n := utf8.RuneCountInString(line); n > maxMarkdown && wrappable(line) {
				findings = append(findings, tooLong(file, i+1, n, maxMarkdown))
			}
		}
		text.WriteByte('\n')
	}
	return append(findings, checkPhrases(file, 1, text.String())...)
}

// wrappable reports whether a line of Markdown is plain prose.
func wrappable(line string) bool {
	line = strings.TrimSpace(line)
	return !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "<") &&
		!strings.Contains(line, "](") && breakable(line)
}
