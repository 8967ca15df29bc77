// Package bucket keeps what lies beside the log: snapshots and packed history (Blobs), small facts by key (Meta), who is in a
// document (Presence), and announcements to all servers (Control). Each is a type over one jet.Client and safe for concurrent use.
package bucket

import (
	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
)

// gone reports whether a message is the marker of a key that was deleted or has expired.
func gone(h nats.Header) bool {
	return jet.Last(h, "KV-Operation") != "" || jet.Last(h, "Nats-Marker-Reason") != ""
}
