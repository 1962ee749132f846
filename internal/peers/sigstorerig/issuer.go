package sigstorerig

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// An Issuer is an OIDC issuer that issues any token on request. It combines two
// issuers: one for people with e-mail addresses and one for CI jobs.
type Issuer struct {
	URL string // of people
	CI  string // of CI jobs; Fulcio reads its tokens as those of GitHub

	// RequestToken authorizes jobs to request tokens from RequestURL.
	RequestToken string

	key    *rsa.PrivateKey
	server *httptest.Server
}

const keyID = "rig"

func newIssuer() (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	i := &Issuer{URL: server.URL, CI: server.URL + "/ci", RequestToken: rand.Text(), key: key, server: server}
	for path, issuer := range map[string]string{"": i.URL, "/ci": i.CI} {
		answer(mux, path+"/.well-known/openid-configuration", map[string]any{
			"issuer": issuer, "jwks_uri": i.URL + "/keys", "authorization_endpoint": issuer + "/none", "token_endpoint": issuer + "/none",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		})
	}
	answer(mux, "/keys", map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
		"n": segment(key.N.Bytes()), "e": segment(big.NewInt(int64(key.E)).Bytes()),
	}}})
	mux.HandleFunc("GET /request/{owner}/{name}", i.serveJob)
	return i, nil
}

// RequestURL is where a CI job of a repository requests its tokens, as those of
// GitHub do (https://docs.github.com/en/actions/reference/security/oidc).
func (i *Issuer) RequestURL(repository string) string {
	return i.URL + "/request/" + repository + "?api-version=2.0"
}

func (i *Issuer) serveJob(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Authorization"), "Bearer "+i.RequestToken) {
		http.Error(w, "no such job", http.StatusForbidden)
		return
	}
	claims := i.JobClaims(r.PathValue("owner") + "/" + r.PathValue("name"))
	claims["aud"] = r.URL.Query().Get("audience")
	token, err := i.Sign(claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"value": token}) // an error: the client is gone
}

func answer(mux *http.ServeMux, path string, document any) {
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(document) // an error means that the client is gone
	})
}

// Email returns a token for a person with the e-mail address.
func (i *Issuer) Email(t testing.TB, address string) string {
	t.Helper()
	return i.Token(t, map[string]any{"iss": i.URL, "sub": address, "email": address, "email_verified": true})
}

// Job returns a token like GitHub's for a CI job of the repository, in the form
// owner/name. The identity in its certificate is
// https://github.com/REPOSITORY/.github/workflows/release.yml@refs/heads/main.
func (i *Issuer) Job(t testing.TB, repository string) string {
	t.Helper()
	return i.Token(t, i.JobClaims(repository))
}

// JobClaims are the claims of the token of a CI job.
func (i *Issuer) JobClaims(repository string) map[string]any {
	owner, _, _ := strings.Cut(repository, "/")
	workflow := repository + "/.github/workflows/release.yml@refs/heads/main"
	return map[string]any{
		"iss": i.CI, "sub": "repo:" + repository + ":ref:refs/heads/main", "job_workflow_ref": workflow, "workflow_ref": workflow, "repository": repository,
		"repository_id": "1234", "repository_owner": owner, "repository_owner_id": "56", "repository_visibility": "private", "ref": "refs/heads/main",
		"sha": "0123456789012345678901234567890123456789", "job_workflow_sha": "0123456789012345678901234567890123456789",
		"workflow_sha": "0123456789012345678901234567890123456789", "workflow": "release", "event_name": "push", "runner_environment": "self-hosted",
		"run_id": "78", "run_attempt": "1",
	}
}

// Token returns a token with the claims. By default its audience is sigstore,
// it has a random ID, and it is valid for ten minutes from now.
func (i *Issuer) Token(t testing.TB, claims map[string]any) string {
	t.Helper()
	token, err := i.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Sign is Token for programs that are not tests.
func (i *Issuer) Sign(claims map[string]any) (string, error) {
	now, id := time.Now(), make([]byte, 16)
	rand.Read(id)
	all := map[string]any{"iss": i.URL, "aud": "sigstore", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(), "jti": segment(id)}
	maps.Copy(all, claims)
	head, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": keyID})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	signed := segment(head) + "." + segment(body)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return signed + "." + segment(sig), nil
}

func segment(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
