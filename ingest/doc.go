// Package ingest is the door: it takes in WebSocket connections of every Yjs
// provider and HTTP requests, and keeps one room for each open document.
//
// What must hold:
//
//   - No client sees an update, its sender included, before the log has stored
//     it. Rooms broadcast only records that their tail delivers, and acknowledge
//     only updates that are both stored and delivered.
//   - An update enters the log whole, checked, and after everything it depends
//     on. An update without news is not appended.
//   - No connection slows another one down: queues are bounded, and the goroutines
//     that deliver records never wait for a socket.
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
// room_accept.go decides whether an update enters the log, room_commit.go appends
// it, room_tail.go takes in the records that the log delivers, room_send.go writes
// them to the sessions, room_presence.go judges presence. api_* is HTTP. cause.go lists every
// reason to end or refuse.
//
// Goroutines: one reader for each conn, which ends with it; a writer for a conn
// only while its socket does not take bytes at once; one clock for keep-alives,
// idle rooms and presence; a few that write presence and call the webhook; loads,
// folds and Hocuspocus documents being let in. A room has none. Drain ends all of
// them.
package ingest
