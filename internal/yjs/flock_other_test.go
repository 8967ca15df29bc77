//go:build !unix

package yjs

import "os"

// lockFile does nothing here: packages are installed by one test at a time.
func lockFile(*os.File) error { return nil }
