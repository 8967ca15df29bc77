// Package bucket stores the data beside the log: snapshots and packed history (Blobs), small facts by key (Meta), the clients of a
// document (Presence) and the answers to edits (Edits). It also sends announcements to all servers (Control). Each type uses one
// jet.Client and is safe for concurrent use.
package bucket

import (
	"github.com/nats-io/nats.go"

	"yjet/stream/jet"
)

// gone reports whether a message is the marker of a key that was deleted or has expired.
func gone(h nats.Header) bool {
	return jet.Last(h, "KV-Operation") != "" || jet.Last(h, "Nats-Marker-Reason") != ""
}
