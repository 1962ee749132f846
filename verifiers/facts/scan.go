package facts

import (
	"slices"
	"strconv"
	"strings"
)

// severityOf returns the severity of a scanner's word for it.
func severityOf(word string) Severity {
	switch lowerASCII(word) {
	case "critical":
		return Critical
	case "high", "important":
		return High
	case "medium", "moderate":
		return Medium
	case "low":
		return Low
	case "info", "informational", "negligible", "none":
		return Info
	}
	return Unknown
}

// Rate returns the severity of a CVSS score
// (https://www.first.org/cvss/v3.1/specification-document, section 5), or
// Unknown if it is not above 0.
func Rate(score float64) Severity {
	switch {
	case score >= 9:
		return Critical
	case score >= 7:
		return High
	case score >= 4:
		return Medium
	case score > 0:
		return Low
	}
	return Unknown
}

// addVulnerability adds a vulnerability that was read.
func (r *reader) addVulnerability(s *Scan, v *Vulnerability) {
	if v.Severity == Unknown {
		v.Severity = Rate(v.Score.Float())
	}
	v.Aliases = slices.DeleteFunc(v.Aliases, func(a string) bool { return a == v.ID })
	texts := lengths(v.ID, v.Package.PURL, v.Package.Name, v.Package.Version, v.Fixed) + lengths(v.Aliases...)
	if r.room(&s.List, len(s.Vulnerabilities), texts) {
		s.Vulnerabilities = append(s.Vulnerabilities, *v)
	}
}

// severity reads a severity in a word.
func (r *reader) severity(to *Severity) error {
	var word string
	if err := r.text(&word); err != nil {
		return optional(err)
	}
	*to = max(*to, severityOf(word))
	return nil
}

// cosignVuln reads a predicate of cosign with the report of trivy or grype
// (https://github.com/sigstore/cosign/blob/main/specs/COSIGN_VULN_ATTESTATION_SPEC.md).
func (r *reader) cosignVuln() error {
	s := &Scan{}
	report := false
	err := r.object(func(name string) error {
		switch name {
		case "scanner":
			return r.object(func(name string) error {
				switch name {
				case "version":
					return optional(r.text(&s.Scanner.Version))
				case "result":
					return r.report(s, &report)
				}
				return errUnknown
			})
		case "metadata":
			return r.scanTime(s)
		}
		return errUnknown
	})
	if err != nil {
		return err
	}
	if !report {
		r.out.problem(r.place("scanner.result"), Unsupported)
		return errBad
	}
	r.scanned(s)
	return nil
}

// scanned adds the scan to the facts.
func (r *reader) scanned(s *Scan) {
	if s.Scanner.Version == "" {
		s.Scanner.Version = r.version
	}
	r.out.Scan = s
}

func (r *reader) scanTime(s *Scan) error {
	return r.member("scanFinishedOn", func() error { return optional(r.time(&s.Time)) })
}

// report reads the report of trivy or grype, and sets found if it is one.
func (r *reader) report(s *Scan, found *bool) error {
	trivy, grype := false, false
	err := r.object(func(name string) error {
		switch name {
		case "SchemaVersion":
			trivy = true
			return r.skip()
		case "Results":
			trivy = true
			return r.array(func(int) error { return r.trivyResult(s) })
		case "matches":
			grype = true
			return r.list(&s.List, func(int) error { return r.grypeMatch(s) })
		case "descriptor":
			return r.member("version", func() error { return optional(r.text(&r.version)) })
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case trivy && grype:
		r.note(WrongValue)
		return errBad
	case trivy:
		s.Scanner.Name = "trivy"
	case grype:
		s.Scanner.Name = "grype"
	}
	*found = trivy || grype
	return nil
}

func (r *reader) trivyResult(s *Scan) error {
	return r.member("Vulnerabilities", func() error {
		return r.list(&s.List, func(int) error { return r.trivyVulnerability(s) })
	})
}

func (r *reader) trivyVulnerability(s *Scan) error {
	var v Vulnerability
	err := r.object(func(name string) error {
		switch name {
		case "VulnerabilityID":
			return r.text(&v.ID)
		case "VendorIDs":
			return r.texts(&v.Aliases)
		case "PkgName":
			return r.text(&v.Package.Name)
		case "InstalledVersion":
			return r.text(&v.Package.Version)
		case "FixedVersion":
			return optional(r.text(&v.Fixed))
		case "Severity":
			return r.severity(&v.Severity)
		case "PublishedDate":
			return optional(r.time(&v.Published))
		case "PkgIdentifier":
			return r.member("PURL", func() error { return r.purl(&v.Package.PURL) })
		case "CVSS":
			return r.members(func(string) error { return r.trivyScores(&v.Score) })
		}
		return errUnknown
	})
	return r.endVulnerability(s, &v, "VulnerabilityID", err)
}

func (r *reader) endVulnerability(s *Scan, v *Vulnerability, id string, err error) error {
	if err != nil {
		return err
	}
	if v.ID == "" {
		return r.missing(id)
	}
	r.addVulnerability(s, v)
	return nil
}

func (r *reader) trivyScores(to *Score) error {
	return r.object(func(name string) error {
		switch name {
		case "V2Score", "V3Score", "V40Score":
			return r.score(to)
		}
		return errUnknown
	})
}

func (r *reader) grypeMatch(s *Scan) error {
	var v Vulnerability
	err := r.object(func(name string) error {
		switch name {
		case "vulnerability":
			return r.grypeVulnerability(&v)
		case "relatedVulnerabilities":
			return r.aliases(&v.Aliases)
		case "artifact":
			return r.object(func(name string) error {
				switch name {
				case "name":
					return r.text(&v.Package.Name)
				case "version":
					return r.text(&v.Package.Version)
				case "purl":
					return r.purl(&v.Package.PURL)
				}
				return errUnknown
			})
		}
		return errUnknown
	})
	return r.endVulnerability(s, &v, "vulnerability.id", err)
}

// aliases reads a list of objects with an id.
func (r *reader) aliases(to *[]string) error {
	return r.array(func(int) error {
		var id string
		if err := r.id(&id); err != nil || id == "" || slices.Contains(*to, id) {
			return err
		}
		return r.short(to, id)
	})
}

func (r *reader) grypeVulnerability(v *Vulnerability) error {
	return r.object(func(name string) error {
		switch name {
		case "id":
			return r.text(&v.ID)
		case "severity":
			return r.severity(&v.Severity)
		case "cvss":
			return r.array(func(int) error {
				return r.member("metrics", func() error {
					return r.member("baseScore", func() error { return r.score(&v.Score) })
				})
			})
		case "fix":
			return r.member("versions", func() error {
				var versions []string
				err := optional(r.texts(&versions))
				v.Fixed = strings.Join(versions, ", ")
				return err
			})
		}
		return errUnknown
	})
}

// vulns reads the predicates of the attestation framework
// (https://github.com/in-toto/attestation/blob/main/spec/predicates/vuln.md),
// versions 0.1 and 0.2. They name no packages.
func (r *reader) vulns() error {
	s := &Scan{}
	uri, result := "", false
	err := r.object(func(name string) error {
		switch name {
		case "scanner":
			return r.object(func(name string) error {
				switch name {
				case "uri":
					return r.text(&uri)
				case "version":
					return optional(r.text(&s.Scanner.Version))
				case "result":
					result = r.dec.PeekKind() == '['
					return r.list(&s.List, func(int) error { return r.vulnsResult(s) })
				}
				return errUnknown
			})
		case "metadata":
			return r.scanTime(s)
		}
		return errUnknown
	})
	switch {
	case err != nil:
		return err
	case !result:
		return r.missing("scanner.result")
	case uri == "":
		return r.missing("scanner.uri")
	}
	s.Scanner.Name = scannerName(uri)
	r.scanned(s)
	return nil
}

// scannerName returns the URI of a scanner without its version.
func scannerName(uri string) string {
	p, ok := CanonicalPURL(uri)
	if !ok {
		return uri
	}
	return ParsePURL(p).Base
}

func (r *reader) vulnsResult(s *Scan) error {
	var v Vulnerability
	var nested string
	err := r.object(func(name string) error {
		switch name {
		case "id":
			return r.text(&v.ID)
		case "severity":
			return r.methods(&v)
		case "vulnerability": // of version 0.1
			return r.object(func(name string) error {
				switch name {
				case "id":
					return r.text(&nested)
				case "severity":
					return r.methods(&v)
				}
				return errUnknown
			})
		}
		return errUnknown
	})
	if nested != "" && v.ID != "" && v.ID != nested {
		v.Aliases = []string{v.ID}
	}
	if nested != "" {
		v.ID = nested
	}
	return r.endVulnerability(s, &v, "id", err)
}

// methods reads a severity by one method, or by several.
func (r *reader) methods(v *Vulnerability) error {
	one := func(int) error {
		return r.member("score", func() error {
			if r.dec.PeekKind() == '0' {
				return r.score(&v.Score)
			}
			var text string
			if err := r.text(&text); err != nil {
				return optional(err)
			}
			if n, err := strconv.ParseFloat(text, 64); isDecimal(text) && err == nil && n <= 10 {
				v.Score = max(v.Score, scoreOf(n))
			}
			v.Severity = max(v.Severity, severityOf(text))
			return nil
		})
	}
	if r.dec.PeekKind() == '[' {
		return r.array(one)
	}
	return one(0)
}

// isDecimal reports whether s is a decimal number such as 9.8.
func isDecimal(s string) bool {
	whole, fraction, dot := strings.Cut(s, ".")
	return isDigits(whole) && (!dot || isDigits(fraction))
}

func isDigits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' })
}
