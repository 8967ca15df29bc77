package yjs

// DRAFT of the contract between rooms. The owner of internal/yjs replaces this file by real ones and keeps these names.

func Split(update []byte, max int) ([][]byte, error)   { panic("draft") } // valid updates ≤ max bytes, causal order; ErrUnsplittable
func ToV2(update []byte) ([]byte, error)               { panic("draft") }
func FromV2(update []byte, lim Limits) ([]byte, error) { panic("draft") }
