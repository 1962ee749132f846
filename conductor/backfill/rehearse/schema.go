package rehearse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/internal/bounded"
)

// MaxLines is the number of lines by which schemas differ that are listed.
const MaxLines = 100

// maxOutput is the size limit of the output of PostgreSQL's programs.
const maxOutput = 64 << 20

// schema returns the lines of the schema of the clone, without comments and
// empty lines.
func (c *Clone) schema(ctx context.Context) (lines []string, err error) {
	out, err := c.run(ctx, "pg_dump", "--schema-only", "-d", c.config.Database)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		// Newer versions begin and end with a random key.
		if line == "" || strings.HasPrefix(line, "--") || strings.HasPrefix(line, `\restrict `) || strings.HasPrefix(line, `\unrestrict `) {
			continue
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// difference returns the lines that are missing in b, with -, and those that it
// adds, with +. If only the order differs, it returns the first line that does.
func difference(a, b []string) (list []string) {
	if slices.Equal(a, b) {
		return nil
	}
	count := map[string]int{}
	for _, line := range b {
		count[line]++
	}
	for _, line := range a {
		if count[line]--; count[line] < 0 {
			list = append(list, "-"+line)
		}
	}
	for _, line := range b {
		if count[line] > 0 {
			count[line]--
			list = append(list, "+"+line)
		}
	}
	if list == nil {
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				return []string{"order: " + b[i]}
			}
		}
	}
	return list[:min(len(list), MaxLines)]
}

// A programError is the failure of a program.
type programError struct {
	program string
	stderr  string
	err     error
}

func (e *programError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.program, e.err, e.stderr)
}

func (e *programError) Unwrap() error { return e.err }

// run runs a program of PostgreSQL as a client of the clone, and returns its
// output.
func (c *Clone) run(ctx context.Context, program string, args ...string) (string, error) {
	return command(ctx, c.bin, program, &account{}, c.environment(c.ssl), args...)
}

// command runs a program as an account, and returns its output. The program
// ends with this process.
func command(ctx context.Context, bin, program string, who *account, env []string, args ...string) (string, error) {
	path := filepath.Join(bin, program)
	if bin == "" {
		var err error
		if path, err = exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%w: specify the folder of PostgreSQL's programs", err)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(plain(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &limited{b: &stderr}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	defer who.bind(cmd, syscall.SIGKILL)()
	if err := cmd.Start(); err != nil {
		return "", err
	}
	out, err := bounded.ReadAll(stdout, maxOutput)
	if err != nil {
		_ = cmd.Process.Kill() // Wait returns its end
	}
	if wait := cmd.Wait(); wait != nil && err == nil {
		err = wait
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return string(out), &programError{program, strings.TrimSpace(stderr.String()), err}
	}
	return string(out), nil
}

// A limited buffer keeps the first 64 KiB.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), max(64<<10-l.b.Len(), 0))])
	return len(p), nil
}

// inherited lists the variables of this process that programs of PostgreSQL
// get. The others can contain secrets, such as the token of the ledger, and the
// programs run as another user.
var inherited = []string{"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGKRBSRVNAME"}

// plain returns these variables.
func plain() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return !strings.HasPrefix(name, "LC_") && !slices.Contains(inherited, name)
	})
}

// tlsSetting matches the settings of TLS in both forms of DSNs.
var tlsSetting = regexp.MustCompile(`\b(sslmode|sslrootcert|sslcert|sslkey)\s*=\s*('[^']*'|[^\s&]+)`)

// tlsSettings returns the settings of TLS of a DSN as variables.
func tlsSettings(dsn string) (env []string) {
	for _, m := range tlsSetting.FindAllStringSubmatch(dsn, -1) {
		value := strings.Trim(m[2], "'")
		if strings.Contains(dsn, "://") {
			value = unescape(value)
		}
		env = append(env, "PG"+strings.ToUpper(m[1])+"="+value)
	}
	return env
}

// isRefusal reports whether a statement failed because of its parameters.
func isRefusal(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23") || strings.HasPrefix(pg.Code, "P0"))
}
