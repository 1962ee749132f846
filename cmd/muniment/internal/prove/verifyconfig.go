package prove

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/clients/go/verify"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
)

// configFlags are the flags of verify that require a configuration. The flag
// --config is that of the program: a file with defaults for flags.
type configFlags struct {
	Trust          string  `help:"Configuration of the SDKs: keys, identities, policies and requirements (docs/spec/verify.md). Replaces --policy and --stream-key." placeholder:"FILE" predictor:"file" type:"path"`
	As             string  `help:"Kind of the files: receipt, sigstore-bundle, export, stream or evidence-bundle. Default: recognized, except for streams." placeholder:"KIND"`
	Artifact       *string `help:"What a Sigstore bundle is about: the file, or its digest." placeholder:"FILE|sha256:…" predictor:"file"`
	ExportFiles    string  `name:"files" help:"Folder with the files of an export and no others." placeholder:"DIR" predictor:"file" type:"path"`
	Receipt        string  `help:"Receipt of the manifest of an export." placeholder:"FILE" predictor:"file" type:"path"`
	StreamBundle   string  `help:"For an export: evidence bundle of the tenant, which shows all recorded spends." placeholder:"FILE.bundle.tar" predictor:"file" type:"path"`
	Export         *string `help:"The export must have this ID." placeholder:"ID"`
	BundleIdentity *string `name:"identity" help:"The evidence bundle must have this identity." placeholder:"sha256:…"`
	HTML           string  `name:"html" help:"Also write the report as a page." placeholder:"FILE" predictor:"file" type:"path"`
	Report         string  `help:"Also write the report as evidence, for 'muniment append --kind verification-report'." placeholder:"FILE" predictor:"file" type:"path"`
}

// given returns the name of a flag that is set, or "".
func (f *configFlags) given() string {
	for _, one := range []struct {
		name string
		is   bool
	}{{"as", f.As != ""}, {"export", f.Export != nil}, {"identity", f.BundleIdentity != nil}} {
		if one.is {
			return one.name
		}
	}
	return f.single()
}

// single returns the name of a flag that is for one file at a time, or "".
func (f *configFlags) single() string {
	for _, one := range []struct {
		name string
		is   bool
	}{{"artifact", f.Artifact != nil}, {"files", f.ExportFiles != ""}, {"receipt", f.Receipt != ""}, {"stream-bundle", f.StreamBundle != ""}, {"html", f.HTML != ""}, {"report", f.Report != ""}} {
		if one.is {
			return one.name
		}
	}
	return ""
}

// withConfig verifies files with a configuration.
func (c *verifyCmd) withConfig(a *term.App) error {
	if err := c.checkConfigFlags(); err != nil {
		return err
	}
	config, err := verify.LoadConfig(c.Trust)
	if err != nil {
		return fmt.Errorf("--trust: %s: %w", c.Trust, err)
	}
	in, done, err := c.inputs()
	if err != nil {
		return err
	}
	defer done()
	v := verify.New(config)
	worst := term.ExitOK
	for _, path := range c.Receipts {
		r, err := c.verifyOne(a, v, path, in)
		if err != nil {
			return err
		}
		switch {
		case r.Verdict == verify.NotVerified:
			worst = term.ExitNo
		case r.Verdict == verify.Error && worst == term.ExitOK:
			worst = term.ExitFailed
		}
	}
	if worst != term.ExitOK {
		return term.ExitWith(worst, nil)
	}
	return nil
}

func (c *verifyCmd) checkConfigFlags() error {
	if len(c.Policy) > 0 && !slices.Equal(c.Policy, []string{os.Getenv("MUNIMENT_POLICY")}) {
		return errors.New("--policy and --trust exclude each other: name the policy in the configuration, as trustPolicy")
	}
	if c.StreamKey != "" && c.StreamKey != os.Getenv("MUNIMENT_STREAM_KEY") {
		return errors.New("--stream-key and --trust exclude each other: name the key in the configuration, as streamKey")
	}
	kinds := verify.Kinds()
	if c.As != "" && !slices.Contains(kinds, verify.Kind(c.As)) {
		return fmt.Errorf("--as: must be one of %s", strings.Trim(fmt.Sprint(kinds), "[]"))
	}
	flag := c.single()
	switch {
	case c.Payload != "":
		flag = "payload"
	case c.External != "":
		flag = "external"
	}
	if flag != "" && len(c.Receipts) > 1 {
		return fmt.Errorf("--%s is for one file at a time", flag)
	}
	return nil
}

// inputs returns the inputs of the flags. The files stay open until done is
// called.
func (c *verifyCmd) inputs() (in verify.Inputs, done func(), err error) {
	var open []io.Closer
	done = func() {
		for _, f := range open {
			f.Close()
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	in.Receipt = verify.ReceiptOptions{HeaderOnly: c.HeaderOnly, Kind: c.Kind, Subject: c.Subject, PredicateType: c.PredicateType, Control: c.Control,
		Signer: c.Signer, Issuer: c.Issuer, StreamID: c.Stream, RequireVerified: c.RequireVerified, Admitted: c.Admitted}
	in.Tenant, in.Identity, in.Export.Export = c.Tenant, c.BundleIdentity, c.Export
	for _, f := range []struct {
		flag, path string
		to         *io.Reader
	}{{"--payload", c.Payload, &in.Receipt.PayloadReader}, {"--external", c.External, &in.Receipt.External}} {
		if f.path == "" {
			continue
		}
		file, err := interrupt.Open(f.path)
		if err != nil {
			return in, done, fmt.Errorf("%s: %w", f.flag, err)
		}
		open = append(open, file)
		*f.to = file
	}
	if c.Artifact != nil {
		if err := c.artifact(&in, &open); err != nil {
			return in, done, fmt.Errorf("--artifact: %w", err)
		}
	}
	if c.ExportFiles != "" {
		root, err := os.OpenRoot(c.ExportFiles)
		if err != nil {
			return in, done, fmt.Errorf("--files: %w", err)
		}
		open = append(open, root)
		in.Export.Files = root.FS()
	}
	for _, f := range []struct {
		path string
		to   **verify.File
	}{{c.Receipt, &in.Export.Receipt}, {c.StreamBundle, &in.Export.Stream}} {
		if f.path != "" {
			*f.to = verify.Open(f.path)
			open = append(open, *f.to)
		}
	}
	return in, done, nil
}

// artifact opens an artifact, or reads its digest.
func (c *verifyCmd) artifact(in *verify.Inputs, open *[]io.Closer) error {
	if digits, ok := strings.CutPrefix(*c.Artifact, "sha256:"); ok {
		digest, err := hex.DecodeString(digits)
		if err != nil || len(digest) != 32 {
			return errors.New("must be a file, or sha256: and 64 hexadecimal digits")
		}
		in.Bundle.ArtifactSHA256 = (*[32]byte)(digest)
		return nil
	}
	f, _, err := interrupt.OpenRegular(*c.Artifact)
	if err != nil {
		return err
	}
	*open = append(*open, f)
	in.Bundle.Artifact = f
	return nil
}

// verifyOne verifies a file and writes its report.
func (c *verifyCmd) verifyOne(a *term.App, v *verify.Verifier, path string, in verify.Inputs) (*verify.Report, error) {
	f := verify.Open(path)
	defer f.Close()
	show, finish := a.ProgressFunc("verify")
	in.Progress = show
	r, err := v.Verify(a.Ctx, f, verify.Kind(c.As), in)
	finish()
	if err != nil {
		return nil, context.Cause(a.Ctx)
	}
	out := r.Text()
	if c.JSON {
		out = string(r.JSON()) + "\n"
	}
	if _, err := io.WriteString(a.Stdout, out); err != nil {
		return nil, err
	}
	if c.HTML != "" {
		if err := a.WriteOutput(c.HTML, r.HTML()); err != nil {
			return nil, fmt.Errorf("--html: %w", err)
		}
	}
	if c.Report == "" {
		return r, nil
	}
	payload, err := r.Evidence(f, time.Now(), a.Version)
	if err == nil {
		err = a.WriteOutput(c.Report, payload)
	}
	if err != nil {
		return nil, fmt.Errorf("--report: %w", err)
	}
	return r, nil
}
