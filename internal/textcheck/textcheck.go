// Command textcheck checks the prose of the project: line lengths, and a short
// list of phrases that read as translated. It reads the files that git lists,
// prints what it finds as file:line: message, and fails if it finds anything.
//
//	go run ./internal/textcheck [FOLDER]
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/bounded"
)

// maxFile is the size limit of files to check, in bytes. Larger files are test
// data.
const maxFile = 4 << 20

// exempt lists folders whose phrases are not checked yet, one per line. A row
// covers the files of the folder, not the folders below it.
//
//go:embed exempt.txt
var exempt string

// A finding is a line that breaks a rule.
type finding struct {
	file    string
	line    int
	message string
	phrase  bool // by the list of phrases, not by width
}

func (f finding) String() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.message) }

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	findings, err := checkTree(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "textcheck:", err)
		os.Exit(2)
	}
	failed := report(findings, rows(exempt))
	if failed > 0 {
		fmt.Fprintf(os.Stderr, "%d lines need another wording or wrapping: see CONTRIBUTING.md\n", failed)
		os.Exit(1)
	}
}

// report prints the findings outside of exempted folders, and the exemptions
// that are no longer needed. It returns the number of these findings.
func report(findings []finding, exempted []string) int {
	failed := 0
	needed := map[string]bool{}
	for _, f := range findings {
		dir := path.Dir(f.file)
		if f.phrase && slices.Contains(exempted, dir) {
			needed[dir] = true
			continue
		}
		fmt.Println(f)
		failed++
	}
	for _, dir := range exempted {
		if !needed[dir] {
			fmt.Printf("internal/textcheck/exempt.txt: %s has no findings left: delete its row\n", dir)
		}
	}
	return failed
}

// rows returns the lines of text, without comments and empty lines.
func rows(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

// checkTree checks every file below root that git tracks or would track.
func checkTree(root string) ([]finding, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the files of %s with git: %w", root, err)
	}
	var findings []finding
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		check := checkerOf(name)
		if check == nil {
			continue
		}
		file := filepath.Join(root, filepath.FromSlash(name))
		info, err := os.Lstat(file)
		if os.IsNotExist(err) || err == nil && (!info.Mode().IsRegular() || info.Size() > maxFile) {
			continue
		}
		data, err := bounded.ReadFile(file, maxFile)
		if err != nil {
			return nil, err
		}
		if isGenerated(data) {
			continue
		}
		findings = append(findings, check(name, data)...)
	}
	return findings, nil
}

// checkerOf returns the check for files of this name, or nil if there is none.
func checkerOf(name string) func(string, []byte) []finding {
	if strings.HasPrefix(name, "internal/textcheck/") || strings.Contains("/"+name, "/testdata/") {
		return nil // these quote the phrases, or texts of others
	}
	switch path.Ext(name) {
	case ".go":
		return checkGo
	case ".proto":
		return checkProto
	case ".md":
		return checkMarkdown
	case ".ts", ".tsx":
		return checkTypeScript
	case ".py":
		return checkPython
	}
	return nil
}

// isGenerated reports whether a line before the first code marks the file as
// generated: https://go.dev/s/generatedcode.
func isGenerated(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) && line[0] != '#' {
			return false
		}
		text := bytes.TrimLeft(line, "/# ") // of Go, TypeScript and Python
		if bytes.HasPrefix(text, []byte("Code generated ")) && bytes.HasSuffix(line, []byte(" DO NOT EDIT.")) {
			return true
		}
	}
	return false
}
