package yjs

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// dialect is one reader of frames with a message of each type that it knows.
type dialect struct {
	name     string
	read     func([]byte) (Message, []byte, error)
	messages []dialectMessage
}

type dialectMessage struct {
	name  string
	bytes []byte
	want  Message
	last  bool // it takes the whole rest of the frame, so nothing can follow
	short bool // less of it is a message as well
}

func dialects() []dialect {
	sv, up := []byte{1, 7, 3}, update([]Struct{text(7, 0, "héllo")})
	aware := AppendAwareness(nil, []AwarenessEntry{{Client: 7, Clock: 1, State: []byte(`{"name":"Ada"}`)}})
	websocket := []dialectMessage{
		{"step 1", AppendSync(nil, SyncStep1, sv), Message{Type: MsgSync, Step: SyncStep1, Payload: sv}, false, false},
		{"step 2", AppendSync(nil, SyncStep2, up), Message{Type: MsgSync, Step: SyncStep2, Payload: up}, false, false},
		{"update", AppendSync(nil, SyncUpdate, up), Message{Type: MsgSync, Step: SyncUpdate, Payload: up}, false, false},
		{"awareness", AppendVarBytes([]byte{MsgAwareness}, aware), Message{Type: MsgAwareness, Payload: aware}, false, false},
		{"denied", AppendDenied(nil, "nö"), Message{Type: MsgAuth, Payload: []byte("nö")}, false, false},
		{"query", []byte{MsgQueryAwareness}, Message{Type: MsgQueryAwareness}, false, false},
		{"saved", AppendSaved(nil, []byte{9, 9}), Message{Type: MsgSaved, Payload: []byte{9, 9}}, false, false},
		{"unknown", []byte{42, 1, 2}, Message{Type: 42, Payload: []byte{1, 2}}, true, true},
	}
	address := []byte("notes\x00session")
	with := func(b []byte) []byte { return append(AppendAddress(nil, address), b...) }
	hocuspocus := []dialectMessage{
		{"step 1", with(AppendSync(nil, SyncStep1, sv)), Message{Address: address, Type: MsgSync, Step: SyncStep1, Payload: sv}, false, false},
		{"update", with(AppendSync(nil, SyncUpdate, up)), Message{Address: address, Type: MsgSync, Step: SyncUpdate, Payload: up}, false, false},
		{"reply", with(append([]byte{MsgSyncReply, SyncStep2}, AppendVarBytes(nil, up)...)), Message{Address: address, Type: MsgSyncReply, Step: SyncStep2, Payload: up}, false, false},
		{"awareness", with(AppendVarBytes([]byte{MsgAwareness}, aware)), Message{Address: address, Type: MsgAwareness, Payload: aware}, false, false},
		{"denied", with(AppendAuthDenied(nil, "nö")), Message{Address: address, Type: MsgAuth, Step: AuthDenied, Payload: []byte("nö")}, false, true},
		{"let in", with(AppendAuthOK(nil, true)), Message{Address: address, Type: MsgAuth, Step: AuthOK, Payload: []byte("readonly")}, false, true},
		{"token and version", with(AppendVarString(AppendVarString([]byte{MsgAuth, AuthToken}, "tok"), "4.0.0")), Message{Address: address, Type: MsgAuth, Step: AuthToken, Payload: []byte("tok"), Version: []byte("4.0.0")}, false, true},
		{"stateless", with(AppendStateless(nil, "hi")), Message{Address: address, Type: MsgStateless, Payload: []byte("hi")}, false, false},
		{"close", with(AppendClose(nil, "bye")), Message{Address: address, Type: MsgClose, Payload: []byte("bye")}, false, true},
		{"status", with(AppendSyncStatus(nil, true)), Message{Address: address, Type: MsgSyncStatus, Step: 1}, false, false},
		{"unknown", with([]byte{99, 1, 2}), Message{Address: address, Type: 99, Payload: []byte{1, 2}}, true, true},
	}
	return []dialect{{"y-websocket", ReadMessage, websocket}, {"Hocuspocus", ReadHocuspocus, hocuspocus}}
}

func TestEveryPairOfMessagesIsReadFromOneFrameInEveryDialect(t *testing.T) {
	for _, d := range dialects() {
		for _, a := range d.messages {
			for _, b := range d.messages {
				if a.last {
					continue
				}
				what := d.name + ", " + a.name + " and " + b.name
				frame := slices.Concat(a.bytes, b.bytes)
				first, rest, err := d.read(frame)
				if err != nil || !reflect.DeepEqual(first, a.want) || !bytes.Equal(rest, b.bytes) {
					t.Errorf("%s: got %+v, rest %x, %v", what, first, rest, err)
					continue
				}
				second, rest, err := d.read(rest)
				if err != nil || !reflect.DeepEqual(second, b.want) || rest != nil {
					t.Errorf("%s: second: got %+v, rest %x, %v", what, second, rest, err)
				}
			}
		}
	}
}

func TestAllMessagesOfADialectAreReadFromOneFrame(t *testing.T) {
	for _, d := range dialects() {
		var frame []byte
		var want []Message
		for range 20 {
			for _, m := range d.messages {
				if !m.last {
					frame = append(frame, m.bytes...)
					want = append(want, m.want)
				}
			}
		}
		var got []Message
		for rest := frame; rest != nil; {
			var m Message
			var err error
			if m, rest, err = d.read(rest); err != nil {
				t.Fatalf("%s, message %d: %v", d.name, len(got), err)
			}
			got = append(got, m)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d messages of %d are not as they were written", d.name, len(got), len(want))
		}
	}
}

func TestAMessageCutAtAnyByteIsRefusedOrAShorterMessage(t *testing.T) {
	for _, d := range dialects() {
		for _, m := range d.messages {
			for k := range m.bytes {
				got, rest, err := d.read(m.bytes[:k])
				switch {
				case err != nil:
					var e *Error
					if !errors.As(err, &e) || e.Offset < 0 || e.Offset > k || e.Limit {
						t.Errorf("%s, %s cut at %d: got %#v", d.name, m.name, k, err)
					}
					if rest != nil || got.Payload != nil || got.Type != 0 {
						t.Errorf("%s, %s cut at %d: an error came with %+v and rest %x", d.name, m.name, k, got, rest)
					}
				case !m.short:
					t.Errorf("%s, %s cut at %d of %d: got %+v, want a refusal", d.name, m.name, k, len(m.bytes), got)
				case got.Type != m.want.Type:
					t.Errorf("%s, %s cut at %d: became type %d", d.name, m.name, k, got.Type)
				}
			}
		}
	}
}

// What stands before the cut is read as if nothing had been cut.
func TestACutInTheSecondMessageLeavesTheFirst(t *testing.T) {
	for _, d := range dialects() {
		first := d.messages[0]
		for _, m := range d.messages {
			for k := 1; k < len(m.bytes); k++ {
				got, rest, err := d.read(slices.Concat(first.bytes, m.bytes[:k]))
				if err != nil || !reflect.DeepEqual(got, first.want) || !bytes.Equal(rest, m.bytes[:k]) {
					t.Errorf("%s, %s cut at %d: the first is %+v, rest %x, %v", d.name, m.name, k, got, rest, err)
				}
			}
		}
	}
}

func TestAPayloadThatClaimsMoreThanThereIsIsRefusedWithoutAllocating(t *testing.T) {
	for _, n := range []uint64{4, 127, 128, 1 << 14, 1 << 31, 1 << 32, MaxSafe, MaxSafe + 1, 1<<56 - 1} {
		claim := append(AppendUvarint(nil, n), 1, 2, 3)
		for _, d := range dialects() {
			for _, head := range [][]byte{{MsgSync, SyncStep1}, {MsgSync, SyncUpdate}, {MsgAwareness}, {MsgAuth, 0}} {
				frame := slices.Concat(head, claim)
				if d.name == "Hocuspocus" {
					frame = append(AppendAddress(nil, []byte("d")), frame...)
				}
				if m, _, err := d.read(frame); !errors.Is(err, ErrMalformed) {
					t.Errorf("%s: %d bytes claimed by %x: got %+v, %v", d.name, n, head, m, err)
				}
				if got := testing.AllocsPerRun(5, func() { d.read(frame) }); got > 2 {
					t.Errorf("%s: %d bytes claimed by %x: %v allocations", d.name, n, head, got)
				}
			}
		}
		if _, _, err := ReadHocuspocus(claim); !errors.Is(err, ErrMalformed) {
			t.Errorf("an address that claims %d bytes: got %v", n, err)
		}
	}
}

func TestTextInMessagesMustBeUTF8InEveryDialect(t *testing.T) {
	bad := AppendVarBytes(nil, []byte("a\xff"))
	at := AppendAddress(nil, []byte("d"))
	for name, c := range map[string]struct {
		read  func([]byte) (Message, []byte, error)
		frame []byte
	}{
		"denied":              {ReadMessage, slices.Concat([]byte{MsgAuth, 0}, bad)},
		"an address":          {ReadHocuspocus, slices.Concat(bad, []byte{MsgQueryAwareness})},
		"a token":             {ReadHocuspocus, slices.Concat(at, []byte{MsgAuth, AuthToken}, bad)},
		"a version":           {ReadHocuspocus, slices.Concat(at, []byte{MsgAuth, AuthToken, 1, 't'}, bad)},
		"a stateless message": {ReadHocuspocus, slices.Concat(at, []byte{MsgStateless}, bad)},
		"a broadcast":         {ReadHocuspocus, slices.Concat(at, []byte{MsgBroadcastStateless}, bad)},
		"a reason to close":   {ReadHocuspocus, slices.Concat(at, []byte{MsgClose}, bad)},
	} {
		m, _, err := c.read(c.frame)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Reason != reasonUTF8 {
			t.Errorf("%s: got %+v, %v, want %s", name, m, err, reasonUTF8)
		}
	}
}

func TestAwarenessIsReadWholeOrNotAtAll(t *testing.T) {
	entries := []AwarenessEntry{
		{Client: 0, Clock: 0, State: []byte(`{}`)},
		{Client: 127, Clock: 128, State: []byte(`{"cursor":{"anchor":1}}`), Depth: 2},
		{Client: MaxSafe, Clock: MaxSafe},
		{Client: 1<<32 - 1, Clock: 1, State: []byte(`"é😀"`)},
	}
	whole := AppendAwareness(nil, entries)
	got, err := ReadAwareness(nil, whole)
	if err != nil || !reflect.DeepEqual(got, entries) {
		t.Errorf("got %+v, %v, want %+v", got, err, entries)
	}
	for k := range whole {
		if got, err := ReadAwareness(nil, whole[:k]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d of %d: got %+v, %v", k, len(whole), got, err)
		}
	}
	for name, b := range map[string][]byte{
		"a byte behind":          append(slices.Clone(whole), 0),
		"a client beyond 2^53-1": AppendAwareness(nil, []AwarenessEntry{{Client: MaxSafe + 1, Clock: 1}}),
		"no JSON":                AppendAwareness(nil, []AwarenessEntry{{Client: 1, State: []byte("{")}}),
		"JSON and more":          AppendAwareness(nil, []AwarenessEntry{{Client: 1, State: []byte("{}{}")}}),
		"an empty state":         AppendAwareness(nil, []AwarenessEntry{{Client: 1, State: []byte{}}}),
		"no UTF-8":               AppendAwareness(nil, []AwarenessEntry{{Client: 1, State: []byte("\"\xff\"")}}),
		"more than there are":    append([]byte{9}, whole[1:]...),
		"fewer than there are":   append([]byte{1}, whole[1:]...),
	} {
		if got, err := ReadAwareness(nil, b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// varintBorders are the numbers at which a varUint grows by a byte, with their neighbours.
func varintBorders() (list []uint64) {
	list = append(list, 0, 1)
	for bits := 7; bits <= 49; bits += 7 {
		list = append(list, 1<<bits-1, 1<<bits, 1<<bits+1)
	}
	return append(list, 1<<31-1, 1<<31, 1<<32-1, 1<<32, MaxSafe-1, MaxSafe)
}

func TestNumbersAtEveryBorderOfTheirLength(t *testing.T) {
	for _, n := range varintBorders() {
		b := AppendUvarint(nil, n)
		if len(b) != uvarintLen(n) {
			t.Errorf("%d: %d bytes, want %d", n, len(b), uvarintLen(n))
		}
		// Beside the end of the input, and with room for the reader that takes eight bytes at once.
		for _, tail := range [][]byte{nil, {0xff}, bytes.Repeat([]byte{0xff}, 20), make([]byte, 20)} {
			in := slices.Concat(b, tail)
			got, rest, err := ReadUvarint(in)
			if err != nil || got != n || !bytes.Equal(rest, tail) {
				t.Errorf("%d before %d bytes: got %d, rest %x, %v", n, len(tail), got, rest, err)
			}
		}
		for k := range b {
			if got, rest, err := ReadUvarint(b[:k]); !errors.Is(err, ErrMalformed) || got != 0 || rest != nil {
				t.Errorf("%d cut at %d: got %d, rest %x, %v", n, k, got, rest, err)
			}
		}
		// Longer forms than needed are read.
		for pad := 1; pad <= 3; pad++ {
			long := slices.Clone(b)
			long[len(long)-1] |= 0x80
			long = append(append(long, bytes.Repeat([]byte{0x80}, pad-1)...), 0)
			if got, rest, err := ReadUvarint(long); err != nil || got != n || len(rest) != 0 {
				t.Errorf("%d with %d needless bytes: got %d, rest %x, %v", n, pad, got, rest, err)
			}
		}
	}
	for _, n := range []uint64{MaxSafe + 1, 1 << 54, 1<<56 - 1, 1 << 56, 1 << 60, 1<<63 - 1, 1<<64 - 1} {
		if got, _, err := ReadUvarint(AppendUvarint(nil, n)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d: got %d, %v, want an error", n, got, err)
		}
	}
}

func TestSignedNumbersAtEveryBorderOfTheirLength(t *testing.T) {
	for _, n := range append(varintBorders(), 63, 64, 65, 1<<13-1, 1<<13) {
		for _, neg := range []bool{false, true} {
			b := appendVarint(nil, n, neg)
			for _, tail := range [][]byte{nil, bytes.Repeat([]byte{0xff}, 10)} {
				c := cursor{b: slices.Concat(b, tail)}
				mag, sign := c.int()
				if c.err != nil || mag != n || sign != neg || c.left() != len(tail) {
					t.Errorf("%d, negative %v: got %d %v, %d left, %v", n, neg, mag, sign, c.left(), c.err)
				}
			}
			for k := range b {
				c := cursor{b: b[:k]}
				if c.int(); c.err == nil {
					t.Errorf("%d, negative %v, cut at %d: got no error", n, neg, k)
				}
			}
		}
	}
}

func TestTwoNumbersArePassedAsTheyAreRead(t *testing.T) {
	for _, a := range varintBorders() {
		for _, b := range varintBorders() {
			in := AppendUvarint(AppendUvarint(nil, a), b)
			for _, tail := range []int{0, 1, 7, 20} {
				c := cursor{b: append(slices.Clone(in), make([]byte, tail)...)}
				c.skipID()
				if c.err != nil || c.off != len(in) || c.overlong {
					t.Fatalf("%d and %d before %d bytes: at %d of %d, overlong %v, %v", a, b, tail, c.off, len(in), c.overlong, c.err)
				}
			}
		}
	}
}

func TestBytesAndStringsAtEveryBorderOfTheirLength(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 129, 1<<14 - 1, 1 << 14, 1<<14 + 1} {
		p := bytes.Repeat([]byte("x"), n)
		b := AppendVarBytes(nil, p)
		for name, read := range map[string]func([]byte) ([]byte, []byte, error){"bytes": ReadVarBytes, "string": ReadVarString} {
			got, rest, err := read(append(slices.Clone(b), 7))
			if err != nil || !bytes.Equal(got, p) || !bytes.Equal(rest, []byte{7}) {
				t.Errorf("%s of %d: got %d bytes, rest %x, %v", name, n, len(got), rest, err)
			}
			for _, k := range []int{0, len(b) - n - 1, len(b) - n, len(b) - 1} {
				if k < 0 || k >= len(b) {
					continue
				}
				if got, rest, err := read(b[:k]); !errors.Is(err, ErrMalformed) || got != nil || rest != nil {
					t.Errorf("%s of %d cut at %d: got %s", name, n, k, fmt.Sprint(len(got), rest, err))
				}
			}
		}
	}
}
