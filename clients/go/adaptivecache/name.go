package adaptivecache

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
)

const (
	maxTagBytes = 256
	maxTags     = 16 // of an entry
)

// Name returns the name of a key: resolver, scope and arguments, encoded so
// that different keys have different names. Scope is empty for public values,
// and otherwise comes from [Private].
func Name(resolver, scope, arguments string) string {
	return strconv.Itoa(len(resolver)) + ":" + resolver + strconv.Itoa(len(scope)) + ":" + scope + arguments
}

// Private returns the scope of values of one session. Without a session there
// is none: ok is false, and the value must not be cached.
func Private(session string) (scope string, ok bool) {
	if session == "" {
		return "", false
	}
	return "p" + session, true
}

// ResolverTag returns the tag of all entries of a resolver.
func ResolverTag(resolver string) string { return shortTag("resolver:" + resolver) }

// shortTag replaces a tag that is too long for messages by its hash.
func shortTag(tag string) string {
	if len(tag) <= maxTagBytes {
		return tag
	}
	sum := sha256.Sum256([]byte(tag))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// shortTags returns tags without empty ones and repetitions, each short enough
// for messages.
func shortTags(tags ...string) []string {
	short := make([]string, 0, len(tags))
	for _, tag := range tags {
		if tag = shortTag(tag); tag != "" && !slices.Contains(short, tag) {
			short = append(short, tag)
		}
	}
	return short
}

// mix is the finalizer of MurmurHash3.
func mix(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

// hash is FNV-1a, mixed. Each process has a seed of its own.
func hash(text string, seed uint32) uint32 {
	h := 0x811c9dc5 ^ seed
	for i := range len(text) {
		h = (h ^ uint32(text[i])) * 0x01000193
	}
	return mix(h)
}
