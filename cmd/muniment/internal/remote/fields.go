package remote

import (
	"regexp"
	"strings"
)

// fieldWords maps the fields that errors of the API name to the flags and words
// of commands. The fields of a submission and of the header of a stream are
// listed without their message. If the word is empty, the message goes without
// it.
var fieldWords = map[string]string{
	"authorization": "",
	"header":        "",
	"submission":    "",
	"submissions":   "",
	"chunk":         "payload",
	"payload":       "payload",
	"statement":     "statement",
	"decisions":     "decision",
	"content_type":  "content type",
	"digest":        "digest",
	"size":          "size",

	"tenant":                "--tenant",
	"identity_token":        "--identity-token",
	"kind":                  "--kind",
	"media_type":            "--media-type",
	"idempotency_key":       "--idempotency-key",
	"wait":                  "--wait",
	"reason":                "--reason",
	"scope":                 "--scope",
	"since":                 "--since",
	"attest":                "--attest",
	"sign":                  "--sign",
	"previous":              "--previous",
	"gate":                  "gate",
	"query":                 "inventories",
	"query.environment":     "--environment",
	"query.scope":           "--scope",
	"query.tree_size":       "--at",
	"query.time":            "--at",
	"query.max_age_seconds": "--max-age",
	"query.types":           "--type",
	"incident":              "--incident",
	"from_index":            "--from-index",
	"witnessed":             "--witnessed",
	"tree_size":             "size of the log",
	"rules":                 "--rule",
	"rules.kind":            "--rule",
	"rules.days":            "--rule",
	"rules.scope":           "--rule",
	"dry_run":               "--dry-run",
	"page_size":             "--limit",

	"index":           "index",
	"id":              "ID",
	"policy":          "policy",
	"form":            "form of receipt",
	"include_payload": "payload",
	"order":           "order",
	"page_token":      "page token",
	"from_size":       "earlier size",
	"to_size":         "later size",
	"release":         "release",
	"token_sha256":    "token",

	"stage":                     "stage",
	"environment":               "environment",
	"time":                      "time",
	"explain":                   "explanation",
	"control_set":               "control set",
	"controls":                  "control set",
	"below_index":               "index",
	"subjects":                  "subjects",
	"subjects.type":             "subject",
	"subjects.artifact":         "subject",
	"subjects.artifact.name":    "subject",
	"subjects.artifact.digest":  "subject",
	"subjects.parts":            "platform of the subject",
	"subjects.parts.digest":     "platform of the subject",
	"subjects.parts.platform":   "platform of the subject",
	"artifacts":                 "subjects",
	"artifacts.type":            "subject",
	"artifacts.artifact":        "subject",
	"artifacts.artifact.name":   "subject",
	"artifacts.artifact.digest": "subject",
	"artifacts.parts":           "platform of the subject",
	"artifacts.parts.digest":    "platform of the subject",
	"artifacts.parts.platform":  "platform of the subject",
	"control":                   "--control",

	"grant":         "",
	"grant.id":      "ID",
	"grant.role":    "--role",
	"grant.kinds":   "--kind",
	"grant.expires": "--expires",

	"filter":                "",
	"filter.kind":           "--kind",
	"filter.subject":        "--subject",
	"filter.predicate_type": "--predicate-type",
	"filter.signer":         "--signer",
	"filter.from":           "--from",
	"filter.to":             "--to",
	"filter.submitter":      "--submitter",
	"filter.control":        "--control",
	"filter.attribute":      "--attribute",
	"filter.material":       "--material",
}

// wordOf returns the word for a field in fieldWords.
func wordOf(field string) (string, bool) {
	field = position.ReplaceAllString(field, "")
	for _, message := range []string{"submission.", "submissions.", "header."} {
		field = strings.TrimPrefix(field, message)
	}
	word, ok := fieldWords[field]
	return word, ok
}

var (
	position = regexp.MustCompile(`\[[^\]]*\]`) // of an element
	nested   = regexp.MustCompile(`\b(?:filter|grant|submission|header)\.[a-z_]+\b`)
)

// inWords returns an error message of the API in the words of commands.
func inWords(message string) string {
	if several, ok := strings.CutPrefix(message, "validation errors:\n"); ok {
		var lines []string
		for line := range strings.Lines(several) {
			lines = append(lines, inWords(strings.TrimSuffix(strings.TrimPrefix(line, " - "), "\n")))
		}
		return strings.Join(lines, "\n")
	}
	message = strings.TrimPrefix(message, "validation error: ")
	if field, rest, ok := strings.Cut(message, ": "); ok {
		if word, known := wordOf(field); known && word == "" {
			message = rest
		} else if known {
			message = word + ": " + rest
		}
	}
	return nested.ReplaceAllStringFunc(message, func(field string) string {
		if word, _ := wordOf(field); word != "" {
			return word
		}
		return field
	})
}
