package rpc

import (
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

func filterOf(m *munimentv1.Filter) (ledger.Filter, error) {
	if m == nil {
		return ledger.Filter{}, nil
	}
	f := ledger.Filter{Kind: m.Kind, Subject: m.Subject, PredicateType: m.PredicateType, Signer: m.Signer,
		Submitter: m.Submitter, Control: m.Control, Attribute: m.Attribute, Material: m.Material}
	if f.Kind != "" && !slices.Contains(ingest.Kinds(), f.Kind) {
		return ledger.Filter{}, rpcerr.Field(connect.CodeInvalidArgument, "filter.kind", "%q is not a kind: use one of %s", f.Kind, strings.Join(ingest.Kinds(), ", "))
	}
	for _, d := range []struct {
		name string
		at   *string
	}{{"filter.subject", &f.Subject}, {"filter.material", &f.Material}} {
		if *d.at == "" {
			continue
		}
		digest, err := entry.ParseDigest(*d.at)
		if err != nil {
			return ledger.Filter{}, rpcerr.Field(connect.CodeInvalidArgument, d.name, "%s", err)
		}
		*d.at = digest.String()
	}
	for _, t := range []struct {
		name string
		from *timestamppb.Timestamp
		to   *time.Time
	}{{"filter.from", m.From, &f.From}, {"filter.to", m.To, &f.To}} {
		if t.from == nil {
			continue
		}
		if err := t.from.CheckValid(); err != nil {
			return ledger.Filter{}, rpcerr.Field(connect.CodeInvalidArgument, t.name, "not a valid time")
		}
		*t.to = t.from.AsTime()
	}
	if !f.From.IsZero() && !f.To.IsZero() && f.To.Before(f.From) {
		return ledger.Filter{}, rpcerr.Field(connect.CodeInvalidArgument, "filter.to", "before filter.from")
	}
	return f, nil
}

func entryMessage(l *ledger.Ledger, e *ledger.Entry) *munimentv1.Entry {
	leaf := l.LeafHashOf(&e.Skeleton)
	m := &munimentv1.Entry{Index: e.Index, Seq: e.Skeleton.Seq, Time: timestamppb.New(time.UnixMilli(int64(e.Skeleton.Time))), LeafHash: leaf[:]}
	h := e.Header
	if h == nil {
		return m
	}
	m.Header, m.Kind, m.MediaType, m.PredicateType, m.Submitter = e.Opening.Content, h.Kind, h.MediaType, h.PredicateType, h.Submitter
	m.IdempotencyKey, m.AdmissionPolicy, m.Verification, m.PayloadSize = h.IdempotencyKey, h.AdmissionPolicy, h.Verification.Result, h.Payload.Size
	m.VerificationReason, m.VerificationFormat, m.TrustedRoot = h.Verification.Reason, h.Verification.Format, h.Verification.TrustedRoot
	m.Subjects, m.Materials, m.Controls, m.Attributes = subjectMessages(h.Subjects), subjectMessages(h.Materials), h.Controls, h.Attributes
	if a := h.Admission; a != nil {
		m.Admission = &munimentv1.Admission{Result: a.Result, Rule: a.Rule, Reason: a.Reason}
	}
	if x := h.External; x != nil {
		m.External = &munimentv1.External{Digest: x.Digest, Size: x.Size, Location: x.Location, MediaType: x.MediaType}
	}
	for _, s := range h.Signers {
		m.Signers = append(m.Signers, &munimentv1.Signer{Identity: s.Identity, Issuer: s.Issuer, KeyId: s.KeyID})
	}
	return m
}

func subjectMessages(all []entry.Subject) []*munimentv1.Subject {
	var out []*munimentv1.Subject
	for _, s := range all {
		out = append(out, &munimentv1.Subject{Name: s.Name, Digest: s.Digest})
	}
	return out
}
