package yjs

import (
	"errors"
	"fmt"
)

// Causes of an [Error]. After ErrLimit the sender may try a smaller update. Every other cause means that the input is
// invalid.
var (
	// ErrLimit: well formed, but more than the limits allow.
	ErrLimit = errors.New("over a limit")
	// ErrMalformed: the input is invalid, whatever the limits.
	ErrMalformed = errors.New("malformed")
	// ErrUnsplittable: one content that cannot be split (a binary, an embed) is larger than the parts requested.
	ErrUnsplittable = errors.New("yjs: a value that cannot be split is larger than the requested parts")
	// ErrTooLarge: more than 4 GiB of updates in one merge.
	ErrTooLarge = errors.New("yjs: more than 4 GiB of updates in one merge")
)

// Error gives the place and the reason of invalid input.
type Error struct {
	Offset int    // byte offset in the input; the start of the number, string or struct that is wrong
	Reason string // one of the fixed texts below; never contains input
	Limit  bool   // errors.Is(err, ErrLimit)
	Bound  Bound  // the bound that [State.Admit] found exceeded; NoBound: the error is of another kind
}

func (e *Error) Error() string {
	return fmt.Sprintf("yjs: offset %d: %s", e.Offset, e.Reason)
}

// Is makes errors.Is work with ErrLimit and ErrMalformed.
func (e *Error) Is(target error) bool {
	if e.Limit {
		return target == ErrLimit
	}
	return target == ErrMalformed
}

// Reasons, for people and tests. No code depends on them.
const (
	reasonTruncated  = "unexpected end"
	reasonOverflow   = "number out of range"
	reasonCount      = "count larger than the bytes left"
	reasonUTF8       = "invalid UTF-8"
	reasonJSON       = "invalid JSON"
	reasonRef        = "unknown content number"
	reasonType       = "unknown type number"
	reasonTag        = "unknown value tag"
	reasonSkipFlags  = "Skip with flag bits"
	reasonTrailing   = "bytes after the end"
	reasonZeroStruct = "struct of length 0"
	reasonZeroDelete = "delete range of length 0"
	reasonSelf       = "item refers to its own client at or after its own clock"
	reasonRange      = "client or clock beyond 2^53-1"
	reasonDepth      = "values nested too deep"
	reasonNesting    = "types nested too deep"
	reasonStructs    = "too many structs"
	reasonRanges     = "too many delete ranges"
	reasonClients    = "too many clients"
	reasonRoots      = "too many root names"
	reasonSubDocs    = "too many sub-documents"
	reasonCrowd      = "too many items at one position"
	reasonV2Feature  = "unknown feature byte"
	reasonV2Column   = "column ends too early"
	reasonV2Size     = "expands to too many bytes"
	reasonOptions    = "bad options of a sub-document"
	reasonBigint     = "bigint in a value that V1 writes as JSON"
	reasonFrame      = "unknown message"
	reasonValue      = "splits the value of a key"
)
