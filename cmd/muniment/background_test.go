package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestBackgroundOutputs checks that no two background processes of a script
// write to the same file. A script that waits for a line of the second one
// could find it in what the first one has written.
func TestBackgroundOutputs(t *testing.T) {
	t.Parallel()
	background := regexp.MustCompile(`(?m)^(?:! )?exec .*[^&]&\w+&$`)
	redirected := regexp.MustCompile(`(?:^|\s)2?>\s*([\w./-]+)`)
	scripts, err := filepath.Glob("testdata/*script*/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	processes := 0
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		taken := map[string]bool{}
		for _, line := range background.FindAllString(string(text), -1) {
			processes++
			for _, file := range redirected.FindAllStringSubmatch(line, -1) {
				if name := file[1]; name != "pid" && taken[name] {
					t.Errorf("%s: two background processes write to %s: give the second one another file", script, name)
				} else {
					taken[name] = true
				}
			}
		}
	}
	if processes < 10 {
		t.Errorf("found only %d background processes in the scripts: mend the pattern of this test", processes)
	}
}
