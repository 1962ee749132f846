package arch

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// made is a small table for packages that exist only in tests.
var made = []Room{
	{Folder: "top", Imports: []string{"low"}, Tests: []string{"top/helper"}},
	{Folder: "top/helper", ByName: true},
	{Folder: "low"},
	{Folder: "low/engine", ByName: true},
	{Folder: "low/shared"},
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		pkg  Package
		want string // part of the only fault; "" for none
	}{
		{"allowed", Package{Folder: "top", Imports: []string{"low"}}, ""},
		{"below a listed room", Package{Folder: "top/x/y", Imports: []string{"low/x", "low/shared"}}, ""},
		{"own room", Package{Folder: "top/x", Imports: []string{"top", "top/y"}}, ""},
		{"everyone's", Package{Folder: "low", Imports: []string{everyone[0]}}, ""},
		{"in a test", Package{Folder: "top", Tests: []string{"top/helper", "low", "internal/peers/witnessrig"}}, ""},
		{"no room", Package{Folder: "elsewhere"}, "elsewhere is in no room"},
		{"only a prefix of the name", Package{Folder: "topmost"}, "topmost is in no room"},
		{"upward", Package{Folder: "low", Imports: []string{"top"}}, "low imports top: room low may import only its own packages"},
		{"upward in a test", Package{Folder: "low", Tests: []string{"top"}}, "a test of low imports top"},
		{"from a room to the one above it", Package{Folder: "low/shared", Imports: []string{"low"}}, "low/shared imports low"},
		{"by name only", Package{Folder: "top", Imports: []string{"low/engine"}}, "top imports low/engine"},
		{"by name only, in a test", Package{Folder: "top", Tests: []string{"low/engine/x"}}, "imports low/engine/x"},
		{"outside of a test", Package{Folder: "top", Imports: []string{"top/helper"}}, "top imports top/helper"},
		{"a target in no room", Package{Folder: "top", Imports: []string{"elsewhere"}}, "top imports elsewhere"},
		{"peers outside of tests", Package{Folder: "top", Imports: []string{"internal/peers"}}, "top imports internal/peers"},
		{"restricted", Package{Folder: "top", References: map[string]int{"ledger/entry.ParseHeader": 1}}, "top refers 1 times to ledger/entry.ParseHeader"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rooms := append(slices.Clone(made), Room{Folder: everyone[0]}, Room{Folder: "internal/peers", ByName: true})
			faults := Check(rooms, []Package{c.pkg})
			if c.want == "" && len(faults) > 0 || c.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], c.want)) {
				t.Errorf("Check returned %q, want %q", faults, c.want)
			}
		})
	}
}

func TestUnused(t *testing.T) {
	rooms := []Room{{Folder: "a", Imports: []string{"b", "b/x", "gone"}}, {Folder: "b"}, {Folder: "c"}, {Folder: "d", Coming: true}}
	faults := Unused(rooms, []Package{{Folder: "a/y"}, {Folder: "b/x"}})
	want := []string{"room a may import gone", "room c has no package"}
	if len(faults) != len(want) {
		t.Fatalf("Unused returned %q, want %q", faults, want)
	}
	for i := range want {
		if !strings.Contains(faults[i], want[i]) {
			t.Errorf("fault %d is %q, want %q", i, faults[i], want[i])
		}
	}
}

func TestStrayFolders(t *testing.T) {
	faults := StrayFolders([]Room{{Folder: "a/b"}}, []string{"a", "docs", ".git", "util"})
	if len(faults) != 1 || !strings.Contains(faults[0], "folder util") {
		t.Errorf("StrayFolders returned %q, want util only", faults)
	}
}

func TestWeightCheck(t *testing.T) {
	w := Weight{Room: "low", Never: []string{"example.org/server/"}}
	faults := w.check([]string{"fmt", "example.org/other", "example.org/server/http"})
	if len(faults) != 1 || faults[0] != "low links example.org/server/http" {
		t.Errorf("check returned %q", faults)
	}
}

func TestLoad(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	packages, err := Load(fstest.MapFS{
		"a/a.go":                    file("package a\nimport (\n\"fmt\"\n\"" + module + "b\"\n)\n"),
		"a/a_windows.go":            file("//go:build windows\npackage a\nimport _ \"" + module + "c\"\n"),
		"a/a_test.go":               file("package a\nimport _ \"" + module + "d\"\n"),
		"a/x_test.go":               file("package a_test\nimport _ \"" + module + "e\"\n"),
		"a/testdata/ignored.go":     file("not Go"),
		"a/node_modules/ignored.go": file("not Go"),
		".cache/ignored.go":         file("not Go"),
		"h/h.go": file("package h\nimport e \"" + module + "ledger/entry\"\n" +
			"func f() { e.ParseHeader(nil); g := e.ParseHeader; g(nil) }\n"),
		"s/s.go":      file("package s\nimport (\n\"net\"\nweb \"net/http\"\n)\nvar srv = &web.Server{}\nfunc f() { net.Listen(\"tcp\", \"\") }\n"),
		"h/h_test.go": file("package h\nimport \"" + module + "ledger/entry\"\nvar _ = entry.ParseHeader\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) != 3 {
		t.Fatalf("Load returned %d packages, want a, h and s: %+v", len(packages), packages)
	}
	a, h, s := packages[0], packages[1], packages[2]
	if s.References["net/http.Server"] != 1 || s.References["net.Listen"] != 1 {
		t.Errorf("s refers to %v, want a server and a listener", s.References)
	}
	if a.Folder != "a" || !slices.Equal(a.Imports, []string{"b", "c"}) || !slices.Equal(a.Tests, []string{"d", "e"}) {
		t.Errorf("package a was read as %+v", a)
	}
	if n := h.References["ledger/entry.ParseHeader"]; n != 2 {
		t.Errorf("h refers %d times to ParseHeader, want 2", n)
	}
	_, err = Load(fstest.MapFS{"a/a.go": file("package a\nimport . \"" + module + "b\"\n")})
	if err == nil || !strings.Contains(err.Error(), "dot import of b") {
		t.Errorf("a dot import: %v", err)
	}
}
