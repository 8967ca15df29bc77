package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// errRefused is an answer of JetStream that may be another one later: no leader, too many requests, a batch that fell apart.
var errRefused = errors.New("stream: refused for now")

// apiError is how JetStream says no.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// as puts the error among ours: what the caller may do about it decides.
func (e *apiError) as() error {
	switch e.ErrCode {
	case 10071, 10164: // wrong last sequence
		return fmt.Errorf("%w: %w", ErrConflict, e)
	case 10054: // message size exceeds maximum allowed
		return fmt.Errorf("%w: %w", ErrTooLarge, e)
	case 10077, // store failed, or a limit of the stream reached
		10023, 10028, 10047, 10002, // insufficient resources: server, memory, storage, account
		10039, 10076, // JetStream not enabled (a server with a broken store turns it off)
		10109, // stream is sealed
		10110: // roll-up not permitted
		return fmt.Errorf("%w: %w", ErrFault, e)
	}
	return fmt.Errorf("%w: %w", errRefused, e)
}

// parseAck reads what a stream answers to a publish: {"stream":…,"seq":n} with "batch" and "count" after an atomic batch, or
// an error. count is 0 after a single message.
func parseAck(m *nats.Msg) (seq Seq, count int, err error) {
	if len(m.Data) == 0 {
		if get(m.Header, "Status") == "503" {
			return 0, 0, nats.ErrNoResponders
		}
		return 0, 0, fmt.Errorf("%w: empty acknowledgement, status %q", errRefused, get(m.Header, "Status"))
	}
	// The usual answer is read by hand: there is one per record.
	if bytes.HasPrefix(m.Data, []byte(`{"stream":"`)) && !bytes.Contains(m.Data, []byte(`"error"`)) {
		if n, ok := number(m.Data, `"seq":`); ok && n > 0 {
			c, _ := number(m.Data, `"count":`)
			return Seq(n), int(c), nil
		}
	}
	var a struct {
		Seq   uint64    `json:"seq"`
		Count int       `json:"count"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return 0, 0, fmt.Errorf("%w: acknowledgement %q", errRefused, m.Data)
	}
	if a.Error != nil {
		return 0, 0, a.Error.as()
	}
	if a.Seq == 0 {
		return 0, 0, fmt.Errorf("%w: acknowledgement %q", errRefused, m.Data)
	}
	return Seq(a.Seq), a.Count, nil
}

func number(b []byte, key string) (n uint64, ok bool) {
	i := bytes.Index(b, []byte(key))
	if i < 0 {
		return 0, false
	}
	for _, c := range b[i+len(key):] {
		if c < '0' || c > '9' {
			break
		}
		n, ok = n*10+uint64(c-'0'), true
	}
	return n, ok
}
