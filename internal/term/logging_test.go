package term

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A tracedError prints a stack trace for %+v, as errors of Pebble do.
type tracedError struct{}

func (tracedError) Error() string { return "checksum mismatch" }

func (tracedError) Format(s fmt.State, verb rune) {
	if fmt.Fprint(s, "checksum mismatch"); s.Flag('+') {
		fmt.Fprint(s, "\nstack trace: block.go:598")
	}
}

func TestLogsNoStackTraces(t *testing.T) {
	for _, json := range []bool{false, true} {
		var out bytes.Buffer
		newLogger(&out, slog.LevelInfo, json).With("first", tracedError{}).Error("damaged", "err", tracedError{}, slog.Group("g", "err", tracedError{}))
		if text := out.String(); strings.Contains(text, "block.go") || strings.Count(text, "checksum mismatch") != 3 {
			t.Errorf("json %v: %s", json, text)
		}
	}
}

// Commands make loggers only here, so that none prints stack traces. The audit
// log contains no errors.
func TestLoggersAreMadeHere(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		switch path {
		case "internal/term/logging.go", "cmd/muniment/internal/operate/auditlog.go":
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if strings.Contains(string(text), "slog.NewTextHandler") || strings.Contains(string(text), "slog.NewJSONHandler") {
			t.Errorf("%s makes a logger: use App.NewLogger or App.StoreLogger", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
