package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
)

// An address is where the user gave the address of a server, the certificates
// of authorities to verify it with, and the credentials.
type address struct{ url, authorities, certificate, credentials string }

var (
	serverFlag = address{"--server (or MUNIMENT_SERVER)", "give the authority's certificate with --ca (or MUNIMENT_CA)", "--client-cert and --client-key",
		"Give the tenant's token with --token-file, or in MUNIMENT_TOKEN; in a CI job, --identity-token auto."}
	followFlag = address{"--follow (or MUNIMENT_FOLLOW)", "give the authority's certificate with --follow-ca (or MUNIMENT_FOLLOW_CA)", "--follow-client-cert and --follow-client-key",
		"Give a token of the replica's tenant with --follow-token-file."}
	logURL = address{url: "the log's URL", authorities: "add the authority's certificate to this system's store, or name its file in SSL_CERT_FILE"}
)

// connectionRemedy returns the cause and remedy of a failed connection to the
// ledger, or "" for other errors.
func connectionRemedy(err error, at address) string {
	if text := tlsRemedy(err, at); text != "" {
		return text
	}
	address := at.url
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return fmt.Sprintf("There is no host %q: check its name in %s.", e.Name, address)
		}
		return fmt.Sprintf("The name %q could not be resolved: check this machine's DNS, and the name in %s.", e.Name, address)
	}
	if errors.Is(err, connectionRefused) {
		return "The host refused the connection. Is the server running, and is " + address + " its address?"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		// A TLS alert, whose type crypto/tls does not export.
		return "The server ended the TLS handshake. If it requires a client certificate, check " + at.certificate + "."
	}
	return ""
}

// tlsRemedy returns the cause and remedy of a connection that failed because of
// TLS, or "" for other errors.
func tlsRemedy(err error, at address) string {
	if errors.Is(err, muniment.ErrTLSExpected) {
		return "The port speaks TLS: use https:// in " + at.url + "."
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "The port does not speak TLS: use http:// in " + at.url + ", or the port that speaks TLS."
	}
	return certificateRemedy(err, at)
}

// certificateRemedy is tlsRemedy for the server's certificate.
func certificateRemedy(err error, at address) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "The server's certificate is signed by an unknown authority: " + at.authorities + "."
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("The server's certificate is not for %q: use a name that it contains in %s, or add this one to the certificate.", e.Host, at.url)
	}
	e, ok := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case !ok:
		return ""
	case e.Reason != x509.Expired || e.Cert == nil:
		return "The server's certificate, or that of its authority, cannot be used: replace it."
	case time.Now().Before(e.Cert.NotBefore):
		return "The server's certificate is not valid before " + e.Cert.NotBefore.UTC().Format(time.RFC3339) + ": check this machine's clock."
	}
	return "The server's certificate has expired (valid until " + e.Cert.NotAfter.UTC().Format(time.RFC3339) + "): renew it, or check this machine's clock."
}

// Reason returns the text of an error for people, in the words of commands. The
// code of a failed call is for programs: see Code.
func Reason(err error) string {
	var ce *connect.Error
	if !errors.As(err, &ce) || ce.Message() == "" {
		return plain.FileErrors(err)
	}
	return strings.Replace(plain.FileErrors(err), ce.Error(), inWords(ce.Message()), 1)
}

// Code returns the code of a failed call, such as "permission_denied", or "" if
// the error is none of a call.
func Code(err error) string {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return ""
	}
	return ce.Code().String()
}

// ErrorText returns the reason of an error, with a remedy if there is one.
func ErrorText(err error) string {
	msg := Reason(err)
	if remedy := remedy(err, msg, serverFlag); remedy != "" {
		return msg + "\n" + remedy
	}
	return msg
}

// FollowRemedy returns the remedy of a failed call of a replica to the server
// that it follows, or "" if there is none.
func FollowRemedy(err error) string { return remedy(err, Reason(err), followFlag) }

// remedy returns the remedy of a failed call with a message, or "".
func remedy(err error, msg string, at address) string {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return ""
	}
	wire := connect.IsWireError(ce)
	if !wire {
		if remedy := connectionRemedy(ce, at); remedy != "" {
			return remedy
		}
	}
	switch code := ce.Code(); {
	case code == connect.CodeUnavailable && !wire:
		return "Is the server running, and is " + at.url + " its address?"
	case code == connect.CodeUnimplemented && !wire:
		return "There is no ledger at this address: check " + at.url + "."
	case code == connect.CodeUnauthenticated && !strings.Contains(msg, "--identity-token: ") && !strings.Contains(msg, "tenant is suspended"):
		return at.credentials // the others have a remedy
	}
	return ""
}

// NotFound adds the exit code for "no" to an error of a missing entry.
func NotFound(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeNotFound, connect.CodeOutOfRange, connect.CodeFailedPrecondition:
		return term.ExitWith(term.ExitNo, err)
	}
	return err
}

// NotApplied reports whether a call that failed had no effect: the server
// refused it, or was not reached.
func NotApplied(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeAlreadyExists, connect.CodePermissionDenied, connect.CodeUnauthenticated, connect.CodeNotFound,
		connect.CodeFailedPrecondition, connect.CodeResourceExhausted, connect.CodeUnimplemented:
		return connect.IsWireError(err)
	}
	return false
}

// Refusal adds the exit code for "no" to an error of a refused call.
func Refusal(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeAlreadyExists, connect.CodePermissionDenied, connect.CodeInvalidArgument:
		return term.ExitWith(term.ExitNo, err)
	}
	return NotFound(err)
}
