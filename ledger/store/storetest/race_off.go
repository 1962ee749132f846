//go:build !race

package storetest

// RaceDetector says that the race detector is on.
const RaceDetector = false
