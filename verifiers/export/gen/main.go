// Command gen writes the tables of docs/spec/tables for the TypeScript
// verifier, below a folder.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

const (
	tables = "docs/spec/tables/"
	output = "clients/ts/packages/verify/src/export/tables.ts"
)

//go:embed tables.ts.tmpl
var text string

// A file has the members of the three tables.
type file struct {
	Version    string
	Licenses   []string
	Deprecated []string
	Exceptions []string
	Countries  map[string]string
	Regions    map[string]string
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: gen FOLDER")
	}
	if err := write(filepath.Join(os.Args[1], filepath.FromSlash(output))); err != nil {
		log.Fatal(err)
	}
}

func write(path string) error {
	all := map[string]file{}
	for _, name := range []string{"spdx", "iso3166", "cloud-regions"} {
		f, err := read(name)
		if err != nil {
			return err
		}
		all[strings.ReplaceAll(name, "-", "")] = f
	}
	t, err := template.New("tables").Funcs(template.FuncMap{"words": words, "countries": countries, "lines": lines, "joined": joined}).Parse(text)
	if err != nil {
		return err
	}
	var out strings.Builder
	if err := t.Execute(&out, all); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(out.String()), 0o644)
}

func read(name string) (f file, err error) {
	text, err := os.ReadFile(tables + name + ".json")
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// words returns the words in sorted order, in lines of at most 100 characters.
// Each begins with the number of characters that it shares with the one before,
// as a digit of base 36.
func words(all []string) string {
	var b strings.Builder
	at, last := 0, ""
	for _, word := range slices.Sorted(slices.Values(all)) {
		n := 0
		for n < min(len(word), len(last), 35) && word[n] == last[n] {
			n++
		}
		last = word
		word = strconv.FormatInt(int64(n), 36) + word[n:]
		if at+1+len(word) > 100 {
			b.WriteByte('\n')
			at = 0
		} else if at > 0 {
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}

// countries returns a line for each country: its code, and the ends of the
// codes of its subdivisions. Consecutive numbers are first~last. Other ends of
// the same length are together: letters writes those of letters, and the rest
// are their length, followed by all of them.
func countries(all map[string]string) string {
	var b []string
	for country, text := range all {
		line := []string{country}
		ofLetters, others := map[int][]string{}, map[int][]string{}
		parts := strings.Fields(text)
		for i := 0; i < len(parts); {
			n := consecutive(parts[i:])
			if n > 2 {
				line = append(line, parts[i]+"~"+parts[i+n-1])
			} else {
				n = 1
				byLength := ofLetters
				if strings.ContainsAny(parts[i], "0123456789") {
					byLength = others
				}
				byLength[len(parts[i])] = append(byLength[len(parts[i])], parts[i])
			}
			i += n
		}
		for _, length := range slices.Sorted(maps.Keys(ofLetters)) {
			line = append(line, letters(ofLetters[length]))
		}
		for _, length := range slices.Sorted(maps.Keys(others)) {
			line = append(line, strconv.Itoa(length)+strings.Join(others[length], ""))
		}
		b = append(b, strings.Join(line, " "))
	}
	slices.Sort(b)
	return strings.Join(b, "\n")
}

// letters returns ends of the same length, which consist of capital letters.
// Each is its last letter. The letters before it are in lower case, without the
// first ones that it shares with the end before.
func letters(ends []string) string {
	var b strings.Builder
	last := ""
	for _, end := range ends {
		head := end[:len(end)-1]
		n := 0
		for n < min(len(head), len(last)) && head[n] == last[n] {
			n++
		}
		last = head
		b.WriteString(strings.ToLower(head[n:]) + end[len(end)-1:])
	}
	return b.String()
}

// consecutive returns how many of the first parts are consecutive numbers of
// the same length.
func consecutive(parts []string) int {
	first, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0
	}
	n := 1
	for n < len(parts) && parts[n] == fmt.Sprintf("%0*d", len(parts[0]), first+n) {
		n++
	}
	return n
}

// lines returns a line for each name, with its value.
func lines(all map[string]string) string {
	var b []string
	for name, value := range all {
		b = append(b, strings.TrimSpace(name+" "+value))
	}
	slices.Sort(b)
	return strings.Join(b, "\n")
}

func joined(lists ...[]string) []string { return slices.Concat(lists...) }
