package main

import (
	"fmt"
	"regexp"
	"strings"
)

// phrases lists phrases to avoid, each with its replacement. A row must have no
// false positives: omit a phrase that good prose needs.
var phrases = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{words(`says`), "a document specifies, contains, records or reports"},
	{words(`tells`), "a function returns or reports; a message states"},
	{words(`(?:is|are|was|were|be|been|being) told`), "name who passes what: receives, is given, is configured with"},
	{words(`(?:it|which|this) knows`), "a program has, holds or recognizes"},
	{words(`(?:it|which|this) wants`), "a program requires or needs"},
	{words(`(?:documents?|fields?|files?|headers?|rules?|options?|flags?|configs?|polic(?:y|ies)|keys?|tokens?|functions?|servers?|logs?) (?:say|tell|knows?|wants?)`), "a thing specifies, contains, requires or reports"},
	{words(`(?:that|which) (?:say|tell)`), "use specify, contain or report"},
	{words(`(?:let|lets|letting) in`), "use admit, accept or allow"},
	{words(`nobody`), "no one, or the role: no caller, no tenant"},
	{words(`whoever`), "name the role: the holder, the caller, the submitter"},
	{words(`what became of`), "the result of"},
	{words(`may stand(?: there)?`), "is valid, is allowed"},
	{words(`for ever`), "permanently, never deleted"},
	{words(`(?:a )?strangers?`), "untrusted input, an anonymous caller"},
	{words(`by the look of (?:it|them)`), "by its content"},
}

// declared matches a doc comment whose subject is the declared identifier.
var declared = regexp.MustCompile(`^[A-Z]?[A-Za-z0-9]+ (?:says?|tells?|knows?|wants?|is told|lets?) `)

// words returns a pattern for whole words, in any case.
func words(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:^|[^\w-])(` + strings.ReplaceAll(pattern, " ", `\s+`) + `)(?:$|[^\w-])`)
}

// quoted matches code in prose.
var quoted = regexp.MustCompile("`[^`]*`")

// checkPhrases returns the findings in a text that starts at the given line.
func checkPhrases(file string, line int, text string) []finding {
	text = quoted.ReplaceAllStringFunc(text, func(code string) string {
		return "`" + strings.Repeat("\n", strings.Count(code, "\n")) + "`"
	})
	var findings []finding
	for _, p := range phrases {
		for _, at := range p.pattern.FindAllStringSubmatchIndex(text, -1) {
			phrase := strings.Join(strings.Fields(text[at[2]:at[3]]), " ")
			findings = append(findings, finding{
				file:    file,
				line:    line + strings.Count(text[:at[2]], "\n"),
				message: fmt.Sprintf("%q: %s", phrase, p.instead),
				phrase:  true,
			})
		}
	}
	return findings
}
