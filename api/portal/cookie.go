package portal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"muniment.dev/muniment/api/oidc"
)

// The names of the cookies. The prefix makes browsers accept them only from
// this host, over a secure connection, and for all paths (RFC 6265bis, section
// 4.1.3.2), so that neither a subdomain nor a proxy of plain HTTP can set one.
const (
	sessionCookie = "__Host-muniment-session"
	attemptCookie = "__Host-muniment-signin-" // and the place of the attempt
)

// attemptLife is how long a person may take to sign in with a provider.
const attemptLife = 10 * time.Minute

// setCookie sets a cookie for a time, or until the browser ends if that is 0.
func setCookie(w http.ResponseWriter, name, value string, site http.SameSite, life time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: site, MaxAge: int(life / time.Second)})
}

// removeCookie removes a cookie.
func removeCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: "/", Secure: true, HttpOnly: true, MaxAge: -1})
}

// cookie returns the value of a cookie, or "". Of two cookies with the name,
// one cannot be the server's.
func cookie(r *http.Request, name string) string {
	all := r.CookiesNamed(name)
	if len(all) != 1 {
		return ""
	}
	return all[0].Value
}

// An attempt is a sign-in with a provider that a browser has begun. The browser
// keeps it, sealed, so that anonymous callers cannot fill the server's memory
// with them.
type attempt struct {
	oidc.Attempt
	Return   string
	Expires  time.Time
	Replaces key // of the session that the browser had
}

// A sealer encrypts attempts with a key that lives as long as the process.
type sealer struct{ aead cipher.AEAD }

func newSealer() sealer {
	var k [32]byte
	rand.Read(k[:])
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err) // the key has a valid length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block has the right size
	}
	return sealer{aead}
}

// seal returns the value of an attempt's cookie, which is bound to its name.
func (s sealer) seal(name string, a *attempt) (string, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, text, []byte(name))), nil
}

// open is the reverse of seal.
func (s sealer) open(name, value string) (*attempt, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return nil, errors.New("not base64url")
	}
	text, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return nil, errors.New("not sealed by this process")
	}
	a := &attempt{}
	return a, json.Unmarshal(text, a)
}

// attemptName returns the name of the cookie of an attempt. Eight attempts fit
// into one browser, in as many tabs. Another replaces an older one, so that the
// cookies stay small.
func attemptName(state string) string {
	place := byte(0)
	for i := range len(state) {
		place ^= state[i]
	}
	return attemptCookie + string('0'+rune(place&7))
}
