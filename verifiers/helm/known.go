package helm

import (
	"encoding/hex"
	"slices"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Knows reports whether a provenance file claims to be signed with a key of the
// keyring. The claim is unsigned. A file with such a claim that does not verify
// was changed.
func (k *Keyring) Knows(prov []byte) bool {
	_, block, err := parse(prov)
	if err != nil {
		return false
	}
	p, err := packet.Read(block.ArmoredSignature.Body)
	if err != nil {
		return false
	}
	sig, ok := p.(*packet.Signature)
	if !ok || sig.IssuerKeyId == nil {
		return false
	}
	return slices.Contains(k.keyIDs(), *sig.IssuerKeyId)
}

// keyIDs returns the IDs of the keys and their subkeys.
func (k *Keyring) keyIDs() []uint64 {
	var ids []uint64
	for _, e := range k.entities {
		ids = append(ids, e.PrimaryKey.KeyId)
		for _, s := range e.Subkeys {
			ids = append(ids, s.PublicKey.KeyId)
		}
	}
	return ids
}

// KeyIDs returns the IDs of the keys, as entries name the signers of provenance
// files.
func (k *Keyring) KeyIDs() []string {
	var ids []string
	for _, e := range k.entities {
		ids = append(ids, keyID(hex.EncodeToString(e.PrimaryKey.Fingerprint)))
	}
	return ids
}
