//go:build race

package yjs

// raceEnabled: the race detector makes everything ten times slower, and finds nothing in a package without goroutines.
const raceEnabled = true
