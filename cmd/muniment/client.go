package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/ledger/receipt"
)

// serverFlags say which ledger to speak to, and as whom.
type serverFlags struct {
	Server    string `help:"URL of the ledger." placeholder:"URL" env:"MUNIMENT_SERVER" default:"http://127.0.0.1:7480"`
	TokenFile string `help:"File with the tenant's token. Or put the token itself into MUNIMENT_TOKEN." placeholder:"FILE" env:"MUNIMENT_TOKEN_FILE"`
	Tenant    string `help:"Tenant to act for. Default: the one that the token names." env:"MUNIMENT_TENANT"`
}

// client connects with what the flags and the environment say. A flag goes before MUNIMENT_TOKEN.
func (f *serverFlags) client(policy *receipt.Policy, key *receipt.StreamKey) (*muniment.Client, error) {
	return f.connect(muniment.Options{Policy: policy, StreamKey: key})
}

func (f *serverFlags) connect(o muniment.Options) (*muniment.Client, error) {
	token := os.Getenv("MUNIMENT_TOKEN")
	if f.TokenFile != "" {
		data, err := os.ReadFile(f.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		token = string(data)
	}
	token, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	o.Server, o.Token, o.Tenant, o.UserAgent = f.Server, token, f.Tenant, "muniment-cli"
	c, err := muniment.New(o)
	if err != nil {
		return nil, err
	}
	if c.Tenant == "" {
		return nil, errors.New("the token does not say for which tenant it is: give --tenant NAME")
	}
	return c, nil
}

// parseToken checks that a token can be sent. What it was is not in the error.
func parseToken(text string) (string, error) {
	token := strings.TrimSpace(text)
	if token == "" {
		return "", errors.New("no token: give --token-file FILE, or set MUNIMENT_TOKEN")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("--token-file: not a token: it holds more than one line, or characters that no token has")
	}
	return token, nil
}

// loadPolicies reads policy files.
func loadPolicies(paths []string) ([]*receipt.Policy, error) {
	var out []*receipt.Policy
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		p, err := receipt.ParsePolicy(path, data)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// optionalPolicy reads a policy and a stream key, where given.
func optionalPolicy(policy, streamKey string) (*receipt.Policy, *receipt.StreamKey, error) {
	var p *receipt.Policy
	var k *receipt.StreamKey
	if policy != "" {
		all, err := loadPolicies([]string{policy})
		if err != nil {
			return nil, nil, err
		}
		p = all[0]
	}
	if streamKey != "" {
		var err error
		if k, err = readStreamKey(streamKey); err != nil {
			return nil, nil, fmt.Errorf("--stream-key: %w", err)
		}
	}
	return p, k, nil
}

// writeJSON writes v on one line.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeOutput writes to the file, or to standard output if path is "" or "-".
func (a *app) writeOutput(path string, data []byte) error {
	if path == "" || path == "-" {
		_, err := a.stdout.Write(data)
		return err
	}
	return replaceFile(path, data)
}

// replaceFile writes a file whole or not at all. What is there and is not a plain file, such as a device or a link, is written to as it is.
func replaceFile(path string, data []byte) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(path, data, 0o666)
	}
	tmp := path + ".part"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // less what the umask takes away
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there: another run is writing the same file, or was interrupted; delete it", tmp)
	} else if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// printable keeps control characters of evidence, file names and messages away from the terminal. Lines stay lines.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) || r == utf8.RuneError {
			return '\ufffd'
		}
		return r
	}, s)
}

// quoted is printable for one field: lines don't stay lines either.
func quoted(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

// progress shows a bar on standard error, where that is a terminal and there is enough to do.
func (a *app) progress(total int64, what string) *progressbar.ProgressBar {
	f, ok := a.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || total < 10 {
		return progressbar.DefaultSilent(total)
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString("entries"), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// byteProgress is progress for bytes.
func (a *app) byteProgress(total int64, what string) *progressbar.ProgressBar {
	f, ok := a.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || total < 64<<20 {
		return progressbar.DefaultBytesSilent(total)
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// progressFunc returns a function that shows how far work has come whose total it learns on the way, and one that ends the show.
func (a *app) progressFunc(what string) (show func(done, total uint64), finish func()) {
	var bar *progressbar.ProgressBar
	show = func(done, total uint64) {
		if bar == nil {
			bar = a.progress(int64(total), what)
		}
		_ = bar.Set64(int64(done)) // a bar that can't be drawn changes nothing
	}
	finish = func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
	return show, finish
}

// buffered returns a buffered standard output, to be flushed by the caller.
func (a *app) buffered() *bufio.Writer { return bufio.NewWriter(a.stdout) }
