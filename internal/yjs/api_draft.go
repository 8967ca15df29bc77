package yjs

// DRAFT of the contract between rooms. The owner of internal/yjs replaces this file by real ones and keeps these names.

func Merge(updates ...[]byte) ([]byte, error)           { panic("draft") } // yjs-wire §5
func Compact(updates ...[]byte) ([]byte, error)         { panic("draft") } // merge + join + drop deleted content, §6
func Join(updates ...[]byte) ([]byte, error)            { panic("draft") } // merge + lossless join
func Diff(update []byte, v StateVector) ([]byte, error) { panic("draft") } // §7
func Split(update []byte, max int) ([][]byte, error)    { panic("draft") } // valid updates ≤ max bytes, causal order; ErrUnsplittable
func ToV2(update []byte) ([]byte, error)                { panic("draft") }
func FromV2(update []byte, lim Limits) ([]byte, error)  { panic("draft") }

// Merger folds updates as they arrive. Bytes may be called at any time and again after more Adds.
type Merger struct{}

func (m *Merger) Add(update []byte) error  { panic("draft") }
func (m *Merger) Merge() ([]byte, error)   { panic("draft") }
func (m *Merger) Compact() ([]byte, error) { panic("draft") }
