// Package yjet is a Yjs collaboration server on NATS JetStream in which the log is the document.
//
// A Yjs document is the fold of the updates on one JetStream subject. Rooms, snapshots, history, presence and pages are
// derived from that log and can be rebuilt from it. What anybody sees through the server was stored first.
//
// The parts, from the bottom: internal/yjs knows the bytes of Yjs and nothing else; stream keeps the log, the live feed and
// presence in NATS; auth decides who may do what; snapshot folds the log so that opening stays fast; ingest is the door for
// browsers; cmd/yjet wires them. Imports only point down.
//
// This package holds the one file that both the binary and a stand-alone nats-server read: nats.conf.
package yjet

import _ "embed"

// NATSConf is nats.conf: one durable JetStream server, as embedded by the binary and used by tests. Whoever embeds it sets
// the store directory and the listener.
//
//go:embed nats.conf
var NATSConf string
