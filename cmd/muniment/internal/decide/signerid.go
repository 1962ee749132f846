package decide

import (
	"bytes"
	"fmt"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/helm"
)

type signerIDCmd struct {
	Files []string `arg:"" name:"file" help:"File with a public key or certificate in PEM, such as cosign.pub, or with PGP keys, as gpg --armor --export prints them." type:"path" predictor:"file"`
	term.ResultFlags
}

func (signerIDCmd) Help() string {
	return `The ID of a key is sha256: and the SHA-256 of its DER, that of a PGP key pgp: and its fingerprint. Entries name their signers by these IDs, and control sets list
them under keys. The command needs no server.

Exit code: 0 printed; 2 a file cannot be read, or has no public key.

Examples:
  muniment signer id cosign.pub
  muniment signer id chart-2026.asc
  sed -i "s/KEY-ID/$(muniment signer id gate.pub)/" controls.yaml`
}

// A keyList has the IDs of keys.
type keyList struct {
	Keys []keyOfFile `json:"keys"`
}

type keyOfFile struct {
	File string `json:"file"`
	ID   string `json:"id"`
}

// Text implements term.Result.
func (l *keyList) Text() string {
	var b bytes.Buffer
	for _, k := range l.Keys {
		fmt.Fprintln(&b, k.ID)
	}
	return b.String()
}

func (c *signerIDCmd) Run(a *term.App) error {
	all := &keyList{}
	for _, file := range c.Files {
		ids, err := keyIDs(file)
		if err != nil {
			return err
		}
		for _, id := range ids {
			all.Keys = append(all.Keys, keyOfFile{file, id})
		}
	}
	return c.Print(a, all)
}

// keyIDs returns the IDs of the public keys in a file, at least one.
func keyIDs(file string) (ids []string, err error) {
	text, err := bounded.ReadFile(file, bounded.Config)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN PGP")) {
		var ring *helm.Keyring
		if ring, err = helm.ParseKeyring(text); err == nil {
			ids = ring.KeyIDs()
		}
	} else {
		var key *dsse.Key
		if key, err = dsse.ParseKey("", text); err == nil {
			ids = []string{key.ID}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return ids, nil
}
