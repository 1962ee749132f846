package term

import "muniment.dev/muniment/internal/safetext"

// Count returns a number with its noun, such as "1 entry" or "2 entries".
func Count[N ~int | ~int64 | ~uint32 | ~uint64](n N, noun string) string {
	return safetext.Count(n, noun)
}
