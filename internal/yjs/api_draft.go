package yjs

// DRAFT of the contract between rooms. The owner of internal/yjs replaces this file by real ones and keeps these names.


// Limits bound what a stranger's update may hold; zero fields mean the default.
type Limits struct {
	Structs      int // structs in one update, default 500,000
	DeleteRanges int // default 500,000
	Clients      int // client ids in one update, default 10,000
	Roots        int // new root names in one update, default 1,000
	SubDocs      int // default 100
	Depth        int // nesting of any values and JSON, default 256
}

// Range is a run of clocks of one client: [Clock, Clock+Len).
type Range struct{ Clock, Len uint64 }



// Update is one parsed and wholly checked V1 update. It keeps slices into its bytes. Reusable: Parse resets it.
type Update struct{ Bytes []byte }

// Parse checks b whole (yjs-wire §11, limits) and keeps what State needs. Errors are *Error with offset and cause; over a
// limit errors.Is(err, ErrLimit).
func (u *Update) Parse(b []byte, lim Limits) error { panic("draft") }

// Empty: no structs and no deletes.
func (u *Update) Empty() bool { panic("draft") }

// State is what a document holds, as id ranges: structs and deletes. The zero value is empty. Not safe for concurrent use.
type State struct{}

func (s *State) Add(u *Update)                      { panic("draft") }
func (s *State) Contains(u *Update) bool            { panic("draft") } // structs and deletes both known: nothing new
func (s *State) Ready(u *Update) (Readiness, error) { panic("draft") }
func (s *State) Vector() StateVector                { panic("draft") } // contiguous from 0
func (s *State) AppendVector(dst []byte) []byte     { panic("draft") }
func (s *State) Clone() *State                      { panic("draft") }
func (s *State) Reset()                             { panic("draft") }

// Readiness splits an update by what a state can take now. The usual case, all ready, allocates nothing: Ready is u.Bytes itself.
type Readiness struct {
	Ready   []byte // V1 update to append now; nil: nothing of it is ready
	Rest    []byte // V1 update that must wait; nil: nothing
	Missing []ID   // what Rest waits for
}

func Merge(updates ...[]byte) ([]byte, error)           { panic("draft") } // yjs-wire §5
func Compact(updates ...[]byte) ([]byte, error)         { panic("draft") } // merge + join + drop deleted content, §6
func Join(updates ...[]byte) ([]byte, error)            { panic("draft") } // merge + lossless join
func Diff(update []byte, v StateVector) ([]byte, error) { panic("draft") } // §7
func Split(update []byte, max int) ([][]byte, error)    { panic("draft") } // valid updates ≤ max bytes, causal order; ErrUnsplittable
func ToV2(update []byte) ([]byte, error)                { panic("draft") }
func FromV2(update []byte, lim Limits) ([]byte, error)  { panic("draft") }
func Validate(update []byte, lim Limits) error          { panic("draft") }

// Merger folds updates as they arrive. Bytes may be called at any time and again after more Adds.
type Merger struct{}

func (m *Merger) Add(update []byte) error  { panic("draft") }
func (m *Merger) Merge() ([]byte, error)   { panic("draft") }
func (m *Merger) Compact() ([]byte, error) { panic("draft") }

// Message types (outer), client-protocols §1. One set of numbers for the y-websocket family and Hocuspocus.
const (
	MsgSync               = 0
	MsgAwareness          = 1
	MsgAuth               = 2
	MsgQueryAwareness     = 3
	MsgSyncReply          = 4
	MsgStateless          = 5
	MsgBroadcastStateless = 6
	MsgClose              = 7
	MsgSyncStatus         = 8
	MsgPing               = 9
	MsgPong               = 10
	MsgSaved              = 102
)
const (
	SyncStep1  = 0
	SyncStep2  = 1
	SyncUpdate = 2
)

// AppendSync appends one y-websocket sync frame: 00 step varBytes(payload). More frame helpers: the owner's.
func AppendSync(dst []byte, step byte, payload []byte) []byte { panic("draft") }

// AwarenessEntry is one client's presence. State is JSON as it came, aliasing the input; nil means null (gone).
type AwarenessEntry struct {
	Client, Clock uint64
	State         []byte
}

// ReadAwareness decodes an awareness update (varUint n, entries), appending to dst; whole input must be consumed.
func ReadAwareness(dst []AwarenessEntry, b []byte) ([]AwarenessEntry, error) { panic("draft") }
func AppendAwareness(dst []byte, entries []AwarenessEntry) []byte            { panic("draft") }
