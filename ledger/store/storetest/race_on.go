//go:build race

package storetest

// RaceDetector reports whether the race detector is on. Then engines are many
// times slower (Pebble keeps a stack trace of each iterator), and tests of what
// doesn't depend on it do less.
const RaceDetector = true
