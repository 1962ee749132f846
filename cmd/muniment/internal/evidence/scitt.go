package evidence

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/ownfolder"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/ledger/receipt/strictcbor"
	"muniment.dev/muniment/verifiers/cose"
	"muniment.dev/muniment/verifiers/dsse"
)

type scittCmd struct {
	Init     scittInitCmd     `cmd:"" help:"Create the key that enables a data folder's SCITT endpoint."`
	Sign     scittSignCmd     `cmd:"" help:"Make a signed statement about a file."`
	Register scittRegisterCmd `cmd:"" help:"Register a signed statement and write its COSE receipt."`
	Keys     scittKeysCmd     `cmd:"" help:"Fetch the keys that verify COSE receipts."`
	Verify   scittVerifyCmd   `cmd:"" help:"Verify a statement's COSE receipt offline."`
}

type scittInitCmd struct {
	Data string `help:"Data folder." required:"" type:"path" env:"MUNIMENT_DATA"`
	term.ResultFlags
}

func (scittInitCmd) Help() string {
	return `Restart the server to enable the endpoint.

Exit code: 0 created; 2 no answer, for example because the key exists.

Example:
  muniment scitt init --data ./data`
}

func (c *scittInitCmd) Run(a *term.App) error {
	if _, err := datadir.Load(c.Data); err != nil {
		return err
	}
	_, key, err := datadir.NewECDSAKey()
	if err != nil {
		return err
	}
	path := filepath.Join(c.Data, datadir.SCITTKeyFile)
	if err := datadir.WriteNew(path, key, 0o600); err != nil {
		return err
	}
	return c.Print(a, &scittKeyMade{path})
}

// A scittKeyMade is the result of scitt init.
type scittKeyMade struct {
	File string `json:"file"`
}

func (m *scittKeyMade) Text() string {
	return fmt.Sprintf("Created %s, which signs COSE receipts. Back it up, keep it secret, and restart the server.\n", m.File)
}

type scittSignCmd struct {
	File        string `arg:"" help:"File to make a statement about." predictor:"file"`
	Key         string `help:"Private key to sign with, in PEM." required:"" placeholder:"FILE" predictor:"file"`
	Issuer      string `help:"Issuer of the statement (iss)." required:""`
	Subject     string `help:"Subject of the statement (sub), such as a package URL." required:""`
	ContentType string `help:"Media type of the file." placeholder:"TYPE"`
	Hash        bool   `help:"Sign the file's SHA-256 instead of its content (a COSE hash envelope). For large files, and to find the statement by digest."`
	Output      string `short:"o" help:"File to write to. Default: standard output." placeholder:"FILE" type:"path"`
}

func (scittSignCmd) Help() string {
	return `Exit code: 0 signed; 2 no answer (usage, files).

Examples:
  openssl genpkey -algorithm ed25519 -out issuer.key
  muniment scitt sign sbom.spdx.json --key issuer.key --issuer acme.example --subject pkg:oci/app --content-type application/spdx+json -o sbom.cose`
}

func (c *scittSignCmd) Run(a *term.App) error {
	key, err := datadir.ReadPrivateKey(c.Key)
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	payload, err := bounded.ReadFile(c.File, cose.MaxSize)
	if err != nil {
		return err
	}
	data, err := cose.Sign(key, cose.Draft{Issuer: c.Issuer, Subject: c.Subject, ContentType: c.ContentType, Payload: payload, Hash: c.Hash})
	if err != nil {
		return err
	}
	return a.WriteOutput(c.Output, data)
}

type scittRegisterCmd struct {
	Statement string `arg:"" help:"Signed statement." predictor:"file"`
	remote.Flags
	Output      string `short:"o" help:"File for the receipt. Default: <statement>.receipt.cose." placeholder:"FILE" type:"path"`
	Transparent string `help:"Also write the transparent statement, which contains the receipt." placeholder:"FILE" type:"path"`
}

func (scittRegisterCmd) Help() string {
	return `Registering the same statement again returns a receipt of the first entry.

Exit code: 0 registered; 1 refused; 2 no answer.

Example:
  muniment scitt register sbom.cose --token-file acme.token --transparent sbom.transparent.cose`
}

func (c *scittRegisterCmd) Run(a *term.App) error {
	data, err := bounded.ReadFile(c.Statement, cose.MaxSize)
	if err != nil {
		return err
	}
	st, err := cose.Parse(data)
	if err != nil {
		return err
	}
	if c.Output == "" {
		c.Output = c.Statement + ".receipt.cose"
	}
	for _, path := range []string{c.Output, c.Transparent} { // before the statement is recorded
		if path == "" || path == "-" {
			continue
		}
		if err := ownfolder.CheckFile(path); err != nil {
			return err
		}
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	got, err := scittCall(a.Ctx, client, http.MethodPost, "/entries", st.Bytes)
	if err != nil {
		return err
	}
	if err := a.WriteOutput(c.Output, got); err != nil {
		return err
	}
	if c.Transparent == "" {
		return nil
	}
	whole, err := cosereceipt.Attach(st.Bytes, got)
	if err != nil {
		return err
	}
	return a.WriteOutput(c.Transparent, whole)
}

const (
	maxSCITTAnswer = 4 << 20
	scittTimeout   = 2 * time.Minute
)

// scittCall calls the SCITT endpoint. A refusal ends the program with ExitNo.
func scittCall(ctx context.Context, client *muniment.Client, method, path string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, scittTimeout)
	defer cancel()
	contentType := ""
	if body != nil {
		contentType = cose.MediaType
	}
	res, err := client.Do(ctx, method, path, contentType, body)
	if err != nil {
		if connect.CodeOf(err) == connect.CodeUnknown { // no answer
			err = connect.NewError(connect.CodeUnavailable, err)
		}
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxSCITTAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(data) > maxSCITTAnswer {
		return nil, fmt.Errorf("the answer exceeds %d bytes", maxSCITTAnswer)
	}
	if res.StatusCode/100 == 2 {
		return data, nil
	}
	const detail = -2
	problem := map[int]string{}
	if strictcbor.Unmarshal(data, &problem) != nil || problem[detail] == "" {
		return nil, term.ExitWith(term.ExitNo, fmt.Errorf("%s: the server may have no SCITT endpoint; enable it with 'muniment scitt init --data DIR'", res.Status))
	}
	return nil, term.ExitWith(term.ExitNo, fmt.Errorf("%s: %s", res.Status, problem[detail]))
}

type scittKeysCmd struct {
	Server string `help:"URL of the ledger." placeholder:"URL" env:"MUNIMENT_SERVER" default:"http://127.0.0.1:7480"`
	CA     string `help:"CA certificates, in PEM, to verify the server's certificate against. Default: the system's." name:"ca" placeholder:"FILE" env:"MUNIMENT_CA" predictor:"file"`
	Output string `short:"o" help:"File to write to." required:"" placeholder:"FILE" type:"path"`
}

func (scittKeysCmd) Help() string {
	return `The keys are only as trustworthy as the connection: compare the file with one that the operator gave you
in another way, and keep it.

Exit code: 0 written; 1 the server has no SCITT endpoint; 2 no answer.

Example:
  muniment scitt keys --server https://ledger.example.com -o scitt-keys.cbor`
}

func (c *scittKeysCmd) Run(a *term.App) error {
	o := muniment.Options{Server: c.Server, UserAgent: "muniment-cli"}
	if err := (&remote.Credentials{CA: c.CA}).UseTLS(&o); err != nil {
		return err
	}
	client, err := muniment.New(o)
	if err != nil {
		return err
	}
	data, err := scittCall(a.Ctx, client, http.MethodGet, "/.well-known/scitt-keys", nil)
	if err != nil {
		return err
	}
	if _, err := cosereceipt.ParseKeySet(data); err != nil {
		return err
	}
	return a.WriteOutput(c.Output, data)
}

type scittVerifyCmd struct {
	Statement string `arg:"" help:"Signed statement, or transparent statement, which contains its receipt." predictor:"file"`
	Receipt   string `help:"The receipt, if the statement does not contain it." placeholder:"FILE" predictor:"file"`
	Keys      string `help:"COSE Key Set of the log, from 'muniment scitt keys'." required:"" placeholder:"FILE" predictor:"file"`
	Key       string `help:"Issuer's public key, in PEM: also verify the statement's own signature." placeholder:"FILE" predictor:"file"`
	Tenant    string `help:"The entry must belong to this tenant."`
	JSON      bool   `help:"Print JSON."`
}

func (scittVerifyCmd) Help() string {
	return `Needs no network. Without --key, only the receipt is verified: it proves that the log recorded this statement.

Exit code: 0 verified; 1 not verified; 2 no answer.

Examples:
  muniment scitt verify sbom.transparent.cose --keys scitt-keys.cbor --key issuer.pub
  muniment scitt verify sbom.cose --receipt sbom.cose.receipt.cose --keys scitt-keys.cbor`
}

func (c *scittVerifyCmd) Run(a *term.App) error {
	keysFile, err := bounded.ReadFile(c.Keys, bounded.Config)
	if err != nil {
		return fmt.Errorf("--keys: %w", err)
	}
	keys, err := cosereceipt.ParseKeySet(keysFile)
	if err != nil {
		return fmt.Errorf("--keys: %w", err)
	}
	data, err := bounded.ReadFile(c.Statement, cose.MaxSize+maxSCITTAnswer)
	if err != nil {
		return err
	}
	st, err := cose.Parse(data)
	if err != nil {
		return term.ExitWith(term.ExitNo, err)
	}
	receipts, err := c.receipts(data)
	if err != nil {
		return err
	}
	signer := ""
	if c.Key != "" {
		key, err := datadir.ReadPublicKey(c.Key)
		if err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		if _, err := st.Verify([]*dsse.Key{key}); err != nil {
			return term.ExitWith(term.ExitNo, err)
		}
		signer = key.ID
	}
	var errs []error
	for _, r := range receipts {
		// One good receipt is enough: a transparent statement can contain
		// receipts of other logs.
		proven, err := cosereceipt.Verify(st.Bytes, st.Subject, r, keys)
		if err == nil && c.Tenant != "" && proven.Header.Tenant != c.Tenant {
			err = fmt.Errorf("tenant: the entry belongs to %q, not to %q", proven.Header.Tenant, c.Tenant)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return c.print(a, st, proven, signer)
	}
	return term.ExitWith(term.ExitNo, errors.Join(errs...))
}

func (c *scittVerifyCmd) receipts(statement []byte) ([][]byte, error) {
	if c.Receipt != "" {
		data, err := bounded.ReadFile(c.Receipt, maxSCITTAnswer)
		return [][]byte{data}, err
	}
	receipts, err := cosereceipt.Receipts(statement)
	if err != nil {
		return nil, term.ExitWith(term.ExitNo, err)
	}
	if len(receipts) == 0 {
		return nil, errors.New("the statement contains no receipt: use --receipt")
	}
	return receipts, nil
}

func (c *scittVerifyCmd) print(a *term.App, st *cose.Statement, p *cosereceipt.Statement, signer string) error {
	when := time.UnixMilli(int64(p.Time)).UTC().Format(term.TimeFormat)
	if c.JSON {
		return term.WriteJSON(a.Stdout, struct {
			Verified  bool   `json:"verified"`
			Witnessed bool   `json:"witnessed"`
			Origin    string `json:"origin"`
			Index     uint64 `json:"index"`
			Size      uint64 `json:"size"`
			Root      string `json:"root"`
			LeafHash  string `json:"leafHash"`
			Time      string `json:"time"`
			Tenant    string `json:"tenant"`
			Issuer    string `json:"issuer"`
			Subject   string `json:"subject"`
			SignedBy  string `json:"signedBy,omitempty"`
		}{true, false, p.Origin, p.Index, p.Size, p.Root.Base64(), p.LeafHash.String(), when, p.Header.Tenant, st.Issuer, st.Subject, signer})
	}
	own := "the statement's own signature was not checked: use --key"
	if signer != "" {
		own = "the statement is signed by key " + signer
	}
	fmt.Fprintf(a.Stdout, `✓ VERIFIED  %s
  proven    statement of %s about %s
            is entry %d of the log %s, in its tree of %s
            root %s
            %s
  claimed   by the log: recorded %s for tenant %s
  witness   not witnessed: COSE receipts carry no cosignatures; the entry's native receipt can
`, c.Statement, term.Quoted(st.Issuer), term.Quoted(st.Subject), p.Index, term.Quoted(p.Origin), term.Count(p.Size, "entry"), p.Root.Base64(), own, when, p.Header.Tenant)
	return nil
}
