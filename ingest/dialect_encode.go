package ingest

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"yjet/internal/yjs"
	"yjet/stream"
)

// binary makes a whole WebSocket frame of the encoder's prefix, head and payload.
func (e *encoder) binary(head, payload []byte) []byte {
	n := len(e.prefix) + len(head) + len(payload)
	b := make([]byte, 0, n+10)
	b = appendHeader(b, frameBinary, n)
	b = append(b, e.prefix...)
	b = append(b, head...)
	return append(b, payload...)
}

// syncHead appends the head of a sync message: the bytes before its payload.
func syncHead(dst []byte, step byte, n int) []byte {
	return yjs.AppendUvarint(append(dst, yjs.MsgSync, step), uint64(n))
}

// sync makes the frame of a sync message.
func (e *encoder) sync(step byte, payload []byte) []byte {
	if e.json {
		if step == yjs.SyncStep1 {
			return nil
		}
		return jsonFrame("sync", map[string]any{"update": payload}, "")
	}
	var buf [12]byte
	return e.binary(syncHead(buf[:0], step, len(payload)), payload)
}

// split makes the frame of a sync message in two parts, of which the second is
// the payload itself.
func (e *encoder) split(step byte, payload []byte) (head, rest []byte) {
	if e.json || len(payload) < 4096 {
		return e.sync(step, payload), nil
	}
	var buf [12]byte
	h := syncHead(buf[:0], step, len(payload))
	head = appendHeader(make([]byte, 0, 10+len(e.prefix)+len(h)), frameBinary, len(e.prefix)+len(h)+len(payload))
	return append(append(head, e.prefix...), h...), payload
}

func (e *encoder) update(payload []byte) []byte { return e.sync(yjs.SyncUpdate, payload) }

// awareness makes the frame of an awareness update.
func (e *encoder) awareness(payload []byte) []byte {
	if e.json {
		return jsonAwareness(payload)
	}
	var buf [12]byte
	return e.binary(yjs.AppendUvarint(append(buf[:0], yjs.MsgAwareness), uint64(len(payload))), payload)
}

// keepAlive is an awareness message without entries.
func (e *encoder) keepAlive() []byte {
	if e.json {
		return nil
	}
	return e.binary([]byte{yjs.MsgAwareness, 1, 0}, nil)
}

var plainKeepAlive = plain.keepAlive()

// envelope is a JSON text frame of the party dialect.
type envelope struct {
	Type      string `json:"type"`
	Payload   any    `json:"payload"`
	UserID    string `json:"userId,omitempty"`
	Timestamp int64  `json:"timestamp"` // Unix milliseconds
}

func jsonFrame(kind string, payload any, user string) []byte {
	b, err := json.Marshal(envelope{kind, payload, user, time.Now().UnixMilli()})
	if err != nil {
		return nil
	}
	return textFrame(b)
}

func textFrame(b []byte) []byte {
	return append(appendHeader(make([]byte, 0, len(b)+10), frameText, len(b)), b...)
}

func jsonAwareness(update []byte) []byte {
	entries, err := yjs.ReadAwareness(nil, update)
	if err != nil || len(entries) == 0 {
		return nil
	}
	type state struct {
		Client uint64          `json:"clientId"`
		Clock  uint64          `json:"clock"`
		State  json.RawMessage `json:"state"`
	}
	states := make([]state, 0, len(entries))
	for _, e := range entries {
		s := state{e.Client, e.Clock, e.State}
		if e.State == nil {
			s.State = json.RawMessage("null")
		}
		states = append(states, s)
	}
	return jsonFrame("awareness", map[string]any{"states": states}, "")
}

func jsonStored(update []byte, seq stream.Seq) []byte {
	return jsonFrame("sync", map[string]any{"update": base64.StdEncoding.EncodeToString(update), "seq": seq}, "")
}
