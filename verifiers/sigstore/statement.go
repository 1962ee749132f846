package sigstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/boundedjson"
	"muniment.dev/muniment/verifiers/intoto"
)

const maxStatementDepth = 100

// statementSubjects returns the subjects of a statement by section 5 of
// docs/spec/sigstore-verification.md.
func statementSubjects(payload []byte) ([]entry.Subject, error) {
	if err := checkStatementText(payload); err != nil {
		return nil, err
	}
	var s map[string]any
	if err := json.Unmarshal(payload, &s); err != nil {
		return nil, errors.New("the payload is not a statement")
	}
	if s["_type"] != intoto.TypeV1 && s["_type"] != intoto.TypeV01 {
		return nil, errors.New("the payload is not a statement")
	}
	if predicateType, ok := s["predicateType"].(string); !ok || predicateType == "" {
		return nil, errors.New("the statement has no predicateType")
	}
	list, _ := s["subject"].([]any)
	if len(list) == 0 || len(list) > intoto.MaxSubjects {
		return nil, fmt.Errorf("the statement must have 1 to %d subjects", intoto.MaxSubjects)
	}
	var subjects []entry.Subject
	for _, v := range list {
		digest, err := subjectDigest(v)
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, entry.Subject{Digest: digest})
	}
	return subjects, nil
}

// checkStatementText checks that a payload is one JSON value without duplicate
// members, and not nested too deeply.
func checkStatementText(payload []byte) error {
	if !jsontext.Value(payload).IsValid() {
		return errors.New("the payload is not JSON")
	}
	if err := boundedjson.CheckDepth(payload, maxStatementDepth); err != nil {
		return fmt.Errorf("the payload is %w", err)
	}
	return nil
}

func subjectDigest(v any) (map[string]string, error) {
	subject, _ := v.(map[string]any)
	members, ok := subject["digest"].(map[string]any)
	if !ok {
		return nil, errors.New("a subject has no digest")
	}
	digest, folded := map[string]string{}, map[string]bool{}
	for name, value := range members {
		text, ok := value.(string)
		fold := foldASCII(name)
		if !ok || folded[fold] {
			return nil, errors.New("the digest of a subject must be an object of strings, one for each algorithm")
		}
		folded[fold], digest[name] = true, text
	}
	return digest, nil
}

func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
