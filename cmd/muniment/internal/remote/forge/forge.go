// Package forge opens and updates change requests: pull requests of Gitea and
// of GitHub.
package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
)

// A Change is a branch that should become part of another one.
type Change struct {
	Owner, Repo  string
	Base, Branch string
	Title, Text  string
}

// What is done with a change request.
const (
	Opened    = "opened"
	Updated   = "updated"
	Unchanged = "unchanged"
)

// A Request is a change request.
type Request struct {
	Number int64  `json:"number"`
	URL    string `json:"url"`
	Action string `json:"action"` // opened, updated or unchanged
}

// A Forge has change requests.
type Forge interface {
	// Propose opens the change request of a branch. If one is open, it updates
	// its title and text where they differ.
	Propose(ctx context.Context, c *Change) (*Request, error)
}

// A dialect is how the API of a forge differs from others.
type dialect struct {
	name   string
	api    func(base string) string
	scheme string // of the header Authorization
	accept string
	// exists is the status of an answer to a request to open what is open.
	exists int
	// listed has parameters that select the change requests of a branch. The
	// answer can contain others.
	listed func(c *Change) url.Values
	page   string // parameter for the number of elements of a page
}

// dialects lists the forges.
var dialects = []dialect{
	{
		name: "gitea", scheme: "token", accept: "application/json", exists: http.StatusConflict, page: "limit",
		api:    func(base string) string { return base + "/api/v1" },
		listed: func(c *Change) url.Values { return url.Values{"base_branch": {c.Base}} },
	},
	{
		name: "github", scheme: "Bearer", accept: "application/vnd.github+json", exists: http.StatusUnprocessableEntity, page: "per_page",
		api: func(base string) string {
			if base == "https://github.com" {
				return "https://api.github.com"
			}
			return base + "/api/v3" // GitHub Enterprise Server
		},
		listed: func(c *Change) url.Values { return url.Values{"head": {c.Owner + ":" + c.Branch}, "base": {c.Base}} },
	},
}

// Names returns the names of the forges.
func Names() (names []string) {
	for _, d := range dialects {
		names = append(names, d.name)
	}
	return names
}

// Limits of the API's answers.
const (
	maxAnswer = 8 << 20 // bytes
	maxPages  = 40
	perPage   = 50
	timeout   = time.Minute
)

// New returns the forge of a kind at a URL such as https://git.example.com. The
// token is only sent to the host in that URL.
func New(kind, base, token string, plainHTTP bool) (Forge, error) {
	u, err := CheckURL(base, plainHTTP)
	if err != nil {
		return nil, err
	}
	return NewWith(kind, u, token, http.DefaultTransport)
}

// NewWith is New for a URL that has been checked, with a transport.
func NewWith(kind, base, token string, transport http.RoundTripper) (Forge, error) {
	i := slices.IndexFunc(dialects, func(d dialect) bool { return d.name == kind })
	if i < 0 {
		return nil, fmt.Errorf("%q is not a forge: use one of %s", kind, strings.Join(Names(), ", "))
	}
	client := &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		return fmt.Errorf("the forge redirects to %s: specify the new address", req.URL.Redacted())
	}}
	return &api{dialect: &dialects[i], base: dialects[i].api(base), token: token, client: client}, nil
}

// CheckURL returns the URL of a forge without a slash at its end. Plain HTTP,
// which reveals the token, is refused unless the forge is on this machine or
// plain is set.
func CheckURL(base string, plain bool) (string, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("the URL of the forge must be such as https://git.example.com")
	case u.User != nil:
		return "", errors.New("the URL of the forge must not contain a user or token: use a file or variable for the token")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("the URL of the forge must have no query and no fragment")
	case u.Scheme == "http" && !plain && !isLoopback(u.Host):
		return "", fmt.Errorf("%s: plain HTTP would reveal the token: use https", u.Host)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func isLoopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	return edge.IsLoopback(strings.Trim(host, "[]"))
}

// An api is the REST API of a forge. Those of Gitea and GitHub have the same
// paths and members for what is used here:
// https://docs.gitea.com/api and https://docs.github.com/en/rest/pulls/pulls.
type api struct {
	*dialect
	base   string
	token  string
	client *http.Client
}

// pull is a change request of the API.
type pull struct {
	Number int64  `json:"number"`
	URL    string `json:"html_url"`
	Title  string `json:"title"`
	Body   string `json:"body"`
	Head   branch `json:"head"`
	Base   branch `json:"base"`
}

type branch struct {
	Ref  string `json:"ref"`
	Repo *struct {
		FullName string `json:"full_name"`
	} `json:"repo"`
}

// Propose implements Forge.
func (a *api) Propose(ctx context.Context, c *Change) (*Request, error) {
	open, err := a.find(ctx, c)
	if err != nil {
		return nil, err
	}
	if open == nil {
		made := &pull{}
		status, err := a.call(ctx, http.MethodPost, a.pulls(c), nil, map[string]string{"title": c.Title, "body": c.Text, "head": c.Branch, "base": c.Base}, made)
		if err == nil {
			return &Request{made.Number, made.URL, Opened}, nil
		}
		if status != a.exists {
			return nil, fmt.Errorf("open a change request: %w", err)
		}
		// Another process has opened it in the meantime. The status can also
		// have another reason.
		found, findErr := a.find(ctx, c)
		if findErr != nil || found == nil {
			return nil, fmt.Errorf("open a change request: %w", errors.Join(err, findErr))
		}
		open = found
	}
	r := &Request{open.Number, open.URL, Unchanged}
	if open.Title == c.Title && sameText(open.Body, c.Text) {
		return r, nil
	}
	path := fmt.Sprintf("%s/%d", a.pulls(c), open.Number)
	if _, err := a.call(ctx, http.MethodPatch, path, nil, map[string]string{"title": c.Title, "body": c.Text}, nil); err != nil {
		return nil, fmt.Errorf("update change request %d: %w", open.Number, err)
	}
	r.Action = Updated
	return r, nil
}

// sameText compares texts without regard to the line breaks of forms.
func sameText(a, b string) bool {
	plain := func(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")) }
	return plain(a) == plain(b)
}

func (a *api) pulls(c *Change) string {
	return "/repos/" + url.PathEscape(c.Owner) + "/" + url.PathEscape(c.Repo) + "/pulls"
}

// find returns the open change request of the branch, or nil.
func (a *api) find(ctx context.Context, c *Change) (*pull, error) {
	for page := 1; page <= maxPages; page++ {
		query := a.listed(c)
		query.Set("state", "open")
		query.Set("page", fmt.Sprint(page))
		query.Set(a.page, fmt.Sprint(perPage))
		var all []pull
		if _, err := a.call(ctx, http.MethodGet, a.pulls(c), query, nil, &all); err != nil {
			return nil, fmt.Errorf("list change requests: %w", err)
		}
		for i := range all {
			if all[i].is(c) {
				return &all[i], nil
			}
		}
		if len(all) == 0 {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("list change requests: more than %d are open", maxPages*perPage)
}

// is reports whether the change request is that of the branch in the repository
// itself, and not in a fork.
func (p *pull) is(c *Change) bool {
	return p.Head.Ref == c.Branch && p.Base.Ref == c.Base && p.Head.Repo != nil && strings.EqualFold(p.Head.Repo.FullName, c.Owner+"/"+c.Repo)
}

// call makes a request and returns the status of the answer.
func (a *api) call(ctx context.Context, method, path string, query url.Values, in, out any) (int, error) {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return 0, err
		}
	}
	address := a.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, &body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", a.accept)
	req.Header.Set("User-Agent", "muniment")
	if a.name == "github" {
		req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.token != "" {
		req.Header.Set("Authorization", a.scheme+" "+a.token)
	}
	res, err := a.client.Do(req)
	if err != nil {
		return 0, a.hide(err)
	}
	defer res.Body.Close()
	answer, err := bounded.ReadAll(res.Body, maxAnswer)
	if err != nil {
		return res.StatusCode, a.hide(err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return res.StatusCode, a.hide(refused(res.StatusCode, answer))
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			return res.StatusCode, errors.New("the answer is not that of the forge's API: check the address of the forge")
		}
	}
	return res.StatusCode, nil
}

// hide removes the token from an error, in case the forge has repeated it.
func (a *api) hide(err error) error {
	if a.token == "" || !strings.Contains(err.Error(), a.token) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), a.token, "…"))
}

// refused returns the error of an answer, with a remedy for usual ones.
func refused(status int, answer []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(answer, &said) // without a message, the status is the error
	text := fmt.Sprintf("the forge answered %d %s", status, http.StatusText(status))
	if said.Message != "" {
		text += fmt.Sprintf(": %.300q", said.Message)
	}
	switch status {
	case http.StatusUnauthorized:
		text += ": the token is missing, wrong or expired"
	case http.StatusForbidden:
		text += ": the token needs write access to the repository and its pull requests"
	case http.StatusNotFound:
		text += ": no such repository, or the token has no access to it"
	}
	return errors.New(text)
}
