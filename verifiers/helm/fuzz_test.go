package helm

import (
	"errors"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"

	"muniment.dev/muniment/internal/peers/helmrig"
)

func FuzzParse(f *testing.F) {
	e := helmrig.NewEntity(f, "A", "a@acme.example", nil)
	f.Add(clearSigned(f, e, nil))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: a\n...\nfiles: &a [*a]\n-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"))
	k := &Keyring{entities: openpgp.EntityList{e}}
	f.Fuzz(func(t *testing.T, prov []byte) {
		p, err := Parse(prov)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%v is no ErrMalformed", err)
		}
		if err == nil && (p.Chart == "" || len(p.Subjects()) == 0 || p.Fingerprint != "") {
			t.Errorf("got %+v", p)
		}
		p, err = k.Verify(prov)
		if err == nil && (p.Chart != "gateway" || p.Version != "1.7.0" || p.Files["gateway-1.7.0.tgz"] != "sha256:"+strings.Repeat("0", 64)) {
			t.Errorf("what nobody signed is verified: %+v", p)
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotVerified) {
			t.Errorf("%v is no verdict", err)
		}
	})
}

func FuzzParseKeyring(f *testing.F) {
	e := helmrig.NewEntity(f, "A", "a@acme.example", nil)
	f.Add(serialised(f, e))
	f.Add(armored(f, e))
	f.Add([]byte("\x00\x00\x00\x20\x01\x01\x00\x02KBXf\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := ParseKeyring(data); err == nil && len(k.entities) == 0 || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("got %+v, %v", k, err)
		}
	})
}
