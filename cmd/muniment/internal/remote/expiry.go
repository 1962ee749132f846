package remote

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// ParseExpiry parses a duration such as 90d or 12h, a date or a time. It
// returns the zero time for "never".
func ParseExpiry(s string, now time.Time) (time.Time, error) {
	if s == "never" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil && n > 0 {
			return now.AddDate(0, 0, int(n)).Truncate(time.Second), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d).Truncate(time.Second), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--expires: %q is not a duration such as 90d or 12h, a date such as 2027-03-31, a time in RFC 3339, or never", s)
}

// Until describes the expiry of a token. nil is never.
func Until(t *timestamppb.Timestamp) string {
	if t == nil {
		return "does not expire"
	}
	return "expires " + t.AsTime().Format(time.RFC3339)
}
