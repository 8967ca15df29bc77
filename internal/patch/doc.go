// Package patch reads edits of a document as JSON and applies them in one transaction.
//
// It owns the words of the edits and the place of an error in them. The caller owns the document, and discards it after an
// error that says it was changed. The package starts no goroutine, and what reaches a document is left to internal/yjs.
package patch
