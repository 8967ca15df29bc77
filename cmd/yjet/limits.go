package main

import (
	"time"

	"yjet/ingest"
)

// limitFlags declares the limits on clients. docs/operate.md has a line for each, with the reason in the refusal.
func limitFlags(s *settings, l *ingest.Limits) {
	s.IntVar(&l.Message, "max-message", 16<<20, "`bytes` of one message")
	s.IntVar(&l.FirstMessage, "max-first-message", 1<<20, "`bytes` of a connection's first message, before its rights are known")
	s.DurationVar(&l.FirstWait, "max-first-wait", 10*time.Second, "time a connection has to send its first message")
	s.IntVar(&l.Document, "max-document", 50<<20, "`bytes` of a document's encoded state above which writes are refused")
	s.IntVar(&l.Shape.Depth, "max-depth", 1_000, "nesting `levels` of a document's types")
	s.IntVar(&l.Shape.Clients, "max-clients-ever", 200_000, "clients that ever wrote to a document")
	s.IntVar(&l.Shape.RootWork, "max-root-work", 400_000_000, "a document's root names times the items directly in them")
	s.IntVar(&l.Shape.SubDocs, "max-sub-documents", 50_000, "sub-documents of a document")
	s.IntVar(&l.Shape.Conflicts, "max-conflicts", 2_000, "`milliseconds` that a stock client may take to order concurrent edits at one place")
	s.IntVar(&l.Documents, "max-documents", 10_000, "open documents of this server")
	s.IntVar(&l.Loads, "max-loads", 32, "documents that load at once; others wait")
	s.IntVar(&l.PerDocument, "max-clients-per-document", 5_000, "clients in one document on this server")
	s.IntVar(&l.Connections, "max-connections", 20_000, "sockets of this server")
	s.IntVar(&l.PerIP, "max-connections-per-ip", 200, "sockets of one address before their users are known; loopback is not limited")
	s.IntVar(&l.Requests, "max-requests-per-ip", 100, "concurrent HTTP requests of one address; loopback is not limited")
	s.IntVar(&l.HeavyQueue, "max-heavy-queue", 100, "waiting requests for histories, logs, authors, differences, moments, renderings, exports, restores, copies, new versions, edits of large documents, and lists")
	s.IntVar(&l.PerUser, "max-connections-per-user", 200, "sockets of one signed-in user")
	s.IntVar(&l.UserDocuments, "max-documents-per-user", 1_000, "open documents of one signed-in user")
	s.Float64Var(&l.NewPerIP, "max-new-connections", 20, "new sockets a `second` of one address; a few above it wait, more are refused")
	s.Float64Var(&l.NewPerIPBurst, "max-new-connections-burst", 100, "new sockets of one address at once")
	s.Float64Var(&l.NewDocuments, "max-new-documents", 120, "new documents a `minute` of one user, or of one address without logins; a few above it wait, more are refused")
	s.IntVar(&l.Versions, "max-versions", 200, "named versions of one document")
	s.Float64Var(&l.MessageRate, "max-message-rate", 1_000, "messages a `second` of one socket, updates excepted; faster senders are read later")
	s.Float64Var(&l.ByteRate, "max-byte-rate", 8<<20, "`bytes` a second of one socket; faster senders are read later")
	s.IntVar(&l.QueueHard, "max-unread", 8<<20, "unread `bytes` at which a client that does not read is closed")
	s.IntVar(&l.AwarenessState, "max-presence", 64<<10, "`bytes` of one client's presence")
	s.IntVar(&l.AwarenessBytes, "max-presence-bytes", 4<<20, "`bytes` of all presence in one document")
	s.IntVar(&l.AwarenessOwn, "max-presence-ids", 32, "presence ids of one session")
	s.IntVar(&l.AwarenessStates, "max-presence-per-document", 10_000, "presence ids in one document")
	s.IntVar(&l.HeldBytes, "max-held", 16<<20, "`bytes` of one session's updates that wait for updates they depend on")
	s.DurationVar(&l.MaxSession, "max-session", 12*time.Hour, "longest time a session continues after its token expires, with --auth-on-expiry keep")
}
