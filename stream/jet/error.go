package jet

import (
	"errors"
	"fmt"
)

var (
	// ErrConflict: the last message of the subject is not the expected one.
	ErrConflict = errors.New("stream: not at the expected sequence")
	// ErrTooLarge: the message is above the server's max_payload, and nothing was stored.
	ErrTooLarge = errors.New("stream: update above the server's max_payload")
	// ErrFault: the store reported an error, which affects the whole node.
	ErrFault = errors.New("stream: the store reported an error")
	// ErrDamaged: a stored message cannot be read, or its bytes have changed.
	ErrDamaged = errors.New("stream: record damaged")
	// ErrConfig: the streams in NATS do not match the configuration. The text names the remedy.
	ErrConfig = errors.New("stream: the store does not fit the configuration")
	// ErrRefused: a temporary refusal by JetStream: no leader, too many requests, an incomplete batch.
	ErrRefused = errors.New("stream: refused for now")
	// ErrUnreadable: one of the messages of a multi_last request cannot be read; NATS returns none of the others either.
	ErrUnreadable = errors.New("stream: one of the messages cannot be read")
	// ErrTooMany: a multi_last request matches more than 1,024 subjects.
	ErrTooMany = errors.New("stream: too many subjects match")
)

// APIError is an error of JetStream's API.
type APIError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *APIError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// Codes of JetStream's API.
const (
	codeNoMessage    = 10037
	codeNoSequence   = 10043
	codeDeleteFailed = 10057
)

// as wraps the error in the one of ours that decides the caller's reaction.
func (e *APIError) as() error {
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
	return fmt.Errorf("%w: %w", ErrRefused, e)
}
