package verify

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Name is the name of this SDK in evidence.
const Name = "muniment-go"

const maxDetail = 2048 // bytes

// Evidence returns the payload of an entry of the kind verification-report,
// with which a report can be recorded in a ledger (docs/spec/verify.md, section
// 7). The time and the version of the program are the caller's.
func (r *Report) Evidence(f *File, at time.Time, version string) ([]byte, error) {
	type artifact struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	}
	out := struct {
		Verdict    Verdict    `json:"verdict"`
		ReasonCode string     `json:"reasonCode"`
		Version    string     `json:"version"`
		Verifier   string     `json:"verifier"`
		VerifiedAt string     `json:"verifiedAt"`
		Index      string     `json:"index,omitempty"`
		Detail     string     `json:"detail,omitempty"`
		Subjects   []artifact `json:"subjects,omitempty"`
	}{Verdict: r.Verdict, ReasonCode: r.Code, Version: version, Verifier: Name, VerifiedAt: at.UTC().Format(time.RFC3339), Detail: r.detail()}
	if r.Verdict == Verified {
		out.ReasonCode = string(Verified)
	}
	switch {
	case r.Receipt != nil:
		out.Index = strconv.FormatUint(r.Receipt.Proven.Index, 10)
	case r.Export != nil && r.Export.Proven.Entry != nil:
		out.Index = strconv.FormatUint(r.Export.Proven.Entry.Index, 10)
	}
	if digest, err := f.SHA256(); err == nil {
		out.Subjects = []artifact{{visible(path.Base(filepath.ToSlash(f.name))), map[string]string{"sha256": hexOf(digest)}}}
	}
	return json.Marshal(out)
}

// detail returns kind, step, message and warnings.
func (r *Report) detail() string {
	s := string(r.Kind)
	if s == "" {
		s = "unknown kind"
	}
	if r.Verdict != Verified {
		s += fmt.Sprintf(": step %d: %s", r.Step, visible(r.Message))
	} else if len(r.Warnings) > 0 {
		s += ": warnings: " + strings.Join(r.Warnings, ", ")
	}
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "")
	}
	return s
}
