// Package ingest is the door: it takes in WebSocket connections of every Yjs
// provider and HTTP requests, and keeps one room for each document somebody has
// open.
//
// What must hold:
//
//   - An update is sent to nobody, its sender included, before the log has
//     stored it. Rooms broadcast only what their tail delivers, and
//     acknowledge only what was both stored and delivered.
//   - An update enters the log whole, checked, and after everything it depends
//     on. What brings nothing new is not appended.
//   - Nothing a connection does slows another one down: queues are bounded,
//     writes do not wait in the goroutines that deliver records.
//   - Bad input gets a close code of the table in cause.go and changes nothing.
//
// The words: a conn is one socket; a session is one visit of one document over a
// conn (Hocuspocus has many on one conn, the others have one); a room is the
// fan-out of one open document in this process; a dialect is the way a provider
// speaks.
//
// Files are named by family. conn_* is the life of a socket: upgrade, admission,
// reading, queue, close. dialect_* says how each provider speaks. session_* is one
// visit: its edits, answers, acknowledgements and rights. room_* is one document:
// room_accept.go decides what enters the log, room_commit.go appends it,
// room_tail.go takes in what the log delivers, room_send.go writes it to the
// sessions, room_presence.go keeps who is here. api_* is HTTP. cause.go lists every
// reason to end or refuse.
//
// Goroutines: one reader for each conn, which ends with it; a writer for a conn
// only while its socket does not take bytes at once; one clock for keep-alives,
// idle rooms and presence; a few that write presence and call the webhook; loads,
// folds and Hocuspocus documents being let in. A room has none. Drain ends all of
// them.
package ingest
