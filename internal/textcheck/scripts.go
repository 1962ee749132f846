package main

import (
	"regexp"
	"strings"
)

// A piece is a comment or string literal of Python or TypeScript. Its text has
// no quotes or comment marks, and one line for each line of the file. A literal
// is full if it is a docstring.
type piece struct {
	comment
	literal bool
}

// checkPython checks the comments and docstrings of Python, and the string
// literals of programs. The formatter checks the widths of code.
func checkPython(file string, data []byte) []finding {
	return checkPieces(file, data, scan(string(data), pythonToken))
}

// checkTypeScript is checkPython for TypeScript.
func checkTypeScript(file string, data []byte) []finding {
	return checkPieces(file, data, scan(string(data), typeScriptToken))
}

// toolComment matches comments that are instructions to tools.
var toolComment = regexp.MustCompile(`^\s*(?:eslint|prettier|@ts-|noqa|type:)`)

func checkPieces(file string, data []byte, pieces []piece) []finding {
	lines := strings.Split(string(data), "\n")
	var findings []finding
	var comments []comment
	for _, p := range pieces {
		switch {
		case !p.literal:
			comments = append(comments, p.comment)
			if p.full && !toolComment.MatchString(p.text) {
				findings = append(findings, checkWidth(file, lines, p.comment)...)
			}
		case strings.Contains(p.text, " ") && (p.full || !inTests.MatchString(file)):
			findings = append(findings, checkPhrases(file, p.line, p.text)...)
		}
	}
	for _, p := range paragraphs(comments) {
		findings = append(findings, checkPhrases(file, p.line, p.text)...)
	}
	return findings
}

// inTests matches files whose strings quote the input of others.
var inTests = regexp.MustCompile(`(?:^|/)tests?/`)

// Tokens whose content is not code. The first group is the content.
var (
	pythonToken = regexp.MustCompile(`(?s)#([^\n]*)|"""(.*?)"""|'''(.*?)'''|"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'`)
	// A slash starts a regular expression after an operator or bracket.
	typeScriptToken = regexp.MustCompile(`(?s)//([^\n]*)|/\*(.*?)\*/|` +
		`[(,=:\[!&|?{};]\s*/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/|` +
		"\"((?:[^\"\\\\\\n]|\\\\.)*)\"|'((?:[^'\\\\\\n]|\\\\.)*)'|`((?:[^`\\\\]|\\\\.)*)`")
	star = regexp.MustCompile(`(?m)^\s*\*+ ?`)
)

// scan returns the comments and literals of a source file.
func scan(source string, token *regexp.Regexp) []piece {
	var pieces []piece
	for _, at := range token.FindAllStringSubmatchIndex(source, -1) {
		start, end := -1, -1
		for i := 2; i < len(at); i += 2 {
			if at[i] >= 0 {
				start, end = at[i], at[i+1]
			}
		}
		if start < 0 {
			continue // a regular expression
		}
		before := source[strings.LastIndexByte(source[:at[0]], '\n')+1 : at[0]]
		p := piece{comment: comment{
			line: strings.Count(source[:start], "\n") + 1,
			text: source[start:end],
			full: strings.Trim(before, " \t") == "",
		}}
		switch mark := source[at[0]]; mark {
		case '#':
		case '/':
			p.text = star.ReplaceAllString(p.text, "")
		default:
			p.literal = true
			p.full = p.full && strings.HasPrefix(source[at[0]:], `"""`)
		}
		pieces = append(pieces, p)
	}
	return pieces
}
