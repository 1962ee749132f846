package operate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/auth"
	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/internal/wholefile"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type tokenCmd struct {
	Issue  tokenIssueCmd  `cmd:"" help:"Make a token for the tenant."`
	Revoke tokenRevokeCmd `cmd:"" help:"Revoke a token immediately and permanently."`
	List   tokenListCmd   `cmd:"" help:"List the tokens in force."`
}

type tokenIssueCmd struct {
	ID      string   `arg:"" help:"ID of the grant: 1 to 63 of a-z, 0-9, dot, _ and -. An ID cannot be used again."`
	Role    string   `help:"appender, reader, approver, auditor or admin." required:"" enum:"appender,reader,approver,auditor,admin"`
	Kind    []string `help:"For appenders: a kind that the token can append. Default: all kinds of the role except finding, inventory and verification-report. May be repeated." placeholder:"KIND"`
	Expires string   `help:"Expiry of the token: a duration such as 90d or 12h, a date, a time in RFC 3339, or 'never'." default:"90d"`
	Reason  string   `help:"Why; recorded."`
	Output  string   `short:"o" help:"File for the token, made with mode 0600. Default: standard output." placeholder:"FILE" type:"path"`
	JSON    bool     `help:"Print JSON."`
	remote.Flags
}

func (tokenIssueCmd) Help() string {
	return `Requires the credentials of an administrator of the tenant. The token is printed only once: the ledger keeps its SHA-256. The grant is an entry of the
tenant's stream.

Exit code: 0 issued; 1 refused, for example because the ID was used before; 2 no answer.

Examples:
  muniment token issue ci --role appender --kind attestation --expires 90d -o ci.token
  muniment token issue audit-2027 --role auditor --expires 2027-03-31 --reason "yearly audit"`
}

func (c *tokenIssueCmd) Run(a *term.App) error {
	expires, err := remote.ParseExpiry(c.Expires, time.Now())
	if err != nil {
		return err
	}
	role, err := auth.ParseRole(c.Role)
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	g := &munimentv1.Grant{Id: c.ID, Role: role, Kinds: c.Kind}
	if !expires.IsZero() {
		g.Expires = timestamppb.New(expires)
	}
	// The token is stored first, so that one that could not be stored is never
	// in force, and its ID stays free.
	token, hash := muniment.NewToken(client.Tenant)
	if err := c.store(a, token, g); err != nil {
		return err
	}
	res, err := client.Admin.IssueToken(a.Ctx, connect.NewRequest(&munimentv1.IssueTokenRequest{Tenant: client.Tenant, Grant: g, Reason: c.Reason, TokenSha256: hash[:]}))
	if err != nil {
		return c.discard(a, remote.Refusal(err))
	}
	index := res.Msg.Appended.GetIndex()
	switch {
	case c.JSON && c.Output != "":
		o := grantJSON(g)
		o.File, o.Index = c.Output, &index
		return term.WriteJSON(a.Stdout, o)
	case c.JSON:
		fmt.Fprintf(a.Stdout, `,"index":%d}`+"\n", index)
	}
	fmt.Fprintf(a.Stderr, "issued token %s with role %s, %s; recorded as entry %d\n", c.ID, c.Role, remote.Until(g.Expires), index)
	return nil
}

// store writes the token to its destination. With --json it writes the
// beginning of an object, which Run or discard completes.
func (c *tokenIssueCmd) store(a *term.App, token string, g *munimentv1.Grant) error {
	switch {
	case c.Output != "":
		err := a.CreateOutput(c.Output, func(f *os.File) error {
			_, err := f.WriteString(token + "\n")
			return err
		})
		if errors.Is(err, wholefile.ErrExists) {
			return fmt.Errorf("--output: %s exists and is not overwritten: choose another file", c.Output)
		} else if err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		return nil
	case c.JSON:
		o := grantJSON(g)
		o.Token = token
		line, err := json.Marshal(o)
		if err != nil {
			return err
		}
		_, err = a.Stdout.Write(bytes.TrimSuffix(line, []byte("}")))
		return err
	}
	_, err := fmt.Fprintln(a.Stdout, token)
	return err
}

// discard handles a stored token that was not issued. Without an answer from
// the server the token may be in force, so its file is kept.
func (c *tokenIssueCmd) discard(a *term.App, err error) error {
	if c.Output == "" && c.JSON {
		text, jerr := json.Marshal(remote.ErrorText(err))
		if jerr != nil {
			return errors.Join(err, jerr)
		}
		code := ""
		if c := remote.Code(err); c != "" {
			code = `,"code":"` + c + `"`
		}
		fmt.Fprintf(a.Stdout, `,"error":%s%s}`+"\n", text, code)
	}
	switch {
	case !remote.NotApplied(err):
		return fmt.Errorf("%w\nthe token may be in force: check with muniment token list, and revoke it with muniment token revoke %s", err, c.ID)
	case c.Output != "":
		return errors.Join(err, os.Remove(c.Output))
	}
	return fmt.Errorf("%w\nthe printed token is not in force", err)
}

type grantObject struct {
	ID      string   `json:"id,omitempty"`
	Role    string   `json:"role"`
	Kinds   []string `json:"kinds,omitempty"`
	Expires string   `json:"expires,omitempty"`
	Token   string   `json:"token,omitempty"`
	File    string   `json:"file,omitempty"`
	Index   *uint64  `json:"index,omitempty"`
}

func grantJSON(g *munimentv1.Grant) grantObject {
	o := grantObject{ID: g.Id, Role: auth.RoleName(g.Role), Kinds: g.Kinds}
	if g.Expires != nil {
		o.Expires = g.Expires.AsTime().Format(time.RFC3339)
	}
	return o
}

type tokenRevokeCmd struct {
	ID     string `arg:"" help:"ID of the grant."`
	Reason string `help:"Why; recorded."`
	JSON   bool   `help:"Print JSON."`
	remote.Flags
}

func (tokenRevokeCmd) Help() string {
	return `Tokens in the server's configuration can also be revoked. The revocation is an entry of the tenant's stream.

Exit code: 0 revoked; 1 no such token is in force; 2 no answer.

Example:
  muniment token revoke ci --reason "laptop lost"`
}

func (c *tokenRevokeCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.Admin.RevokeToken(a.Ctx, connect.NewRequest(&munimentv1.RevokeTokenRequest{Tenant: client.Tenant, Id: c.ID, Reason: c.Reason}))
	if err != nil {
		return remote.Refusal(err)
	}
	index := res.Msg.Appended.GetIndex()
	if c.JSON {
		return term.WriteJSON(a.Stdout, struct {
			ID    string `json:"id"`
			Index uint64 `json:"index"`
		}{c.ID, index})
	}
	fmt.Fprintf(a.Stdout, "revoked the token %s; recorded as entry %d\n", term.Quoted(c.ID), index)
	return nil
}

type tokenListCmd struct {
	JSON bool `help:"Print one JSON object for each token."`
	remote.Flags
}

func (tokenListCmd) Help() string {
	return `Lists the grants, including those in the server's configuration. The tokens themselves cannot be shown.

Exit code: 0 listed; 1 refused; 2 no answer.

Example:
  muniment token list`
}

func (c *tokenListCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.Admin.ListTokens(a.Ctx, connect.NewRequest(&munimentv1.ListTokensRequest{Tenant: client.Tenant}))
	if err != nil {
		return remote.Refusal(err)
	}
	for _, g := range res.Msg.Grants {
		if c.JSON {
			if err := term.WriteJSON(a.Stdout, grantJSON(g)); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(a.Stdout, "%-24s %-9s %-28s %s\n", term.Quoted(g.Id), auth.RoleName(g.Role), remote.Until(g.Expires), cmp.Or(strings.Join(g.Kinds, " "), "all kinds of the role"))
	}
	return nil
}

type whoamiCmd struct {
	JSON bool `help:"Print JSON."`
	remote.Flags
}

func (whoamiCmd) Help() string {
	return `Exit code: 0 the credentials are valid; 1 they are not; 2 no answer.

Examples:
  muniment whoami --token-file acme.token
  muniment whoami --identity-token auto --tenant acme`
}

func (c *whoamiCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.Identity.WhoAmI(a.Ctx, connect.NewRequest(&munimentv1.WhoAmIRequest{}))
	if connect.CodeOf(err) == connect.CodeUnauthenticated && err != nil {
		return term.ExitWith(term.ExitNo, err)
	}
	if err != nil {
		return err
	}
	m := res.Msg
	o := grantJSON(&munimentv1.Grant{Role: m.Role, Kinds: m.Kinds, Expires: m.Expires})
	if c.JSON {
		return term.WriteJSON(a.Stdout, struct {
			Tenant   string `json:"tenant"`
			Identity string `json:"identity"`
			Replica  bool   `json:"replica,omitempty"`
			grantObject
		}{m.Tenant, m.Identity, m.Replica, o})
	}
	fmt.Fprintf(a.Stdout, "tenant    %s\nidentity  %s\nrole      %s\nkinds     %s\nexpires   %s\n", term.Quoted(m.Tenant), term.Quoted(m.Identity), o.Role,
		cmp.Or(strings.Join(o.Kinds, " "), "all of the role"+notNamed(m.Role)), cmp.Or(o.Expires, "never"))
	if m.Replica {
		fmt.Fprintln(a.Stdout, "server    a replica, which records nothing")
	}
	return nil
}

// notNamed returns a phrase about the kinds that credentials of the role
// without kinds exclude, or "".
func notNamed(role munimentv1.Role) string {
	if role != munimentv1.Role_ROLE_APPENDER {
		return ""
	}
	var names []string
	for _, k := range kinds.All() {
		if k.NamedAppender {
			names = append(names, k.Name)
		}
	}
	return " except " + strings.Join(names, ", ") + ", which the grant must name"
}
