// Package stream keeps every document as a log of opaque updates in NATS JetStream and delivers the live feed of stored records. It
// also stores presence, the bytes of snapshots and small facts. It is the only package, with those below it, that uses NATS types.
//
// What must hold:
//
//   - Append reports success only after the record is stored; in the durable mode, on disk. A Tail delivers a record only after that,
//     too: tails hold back records that the live feed brings earlier (holdback.go).
//   - At most one commit per document is under way. No later record of the document is sent until that commit is stored or given up,
//     so record k+1 is never in a log that lacks the record k it may need.
//   - A Tail delivers the records of one document in sequence order, each once, with no gap between stored and live records. Records
//     that the live feed loses are noticed (by order, by acknowledgements, by comparing heads) and read from the log.
//   - A hole in the log is never silent: records carry a checksum and a writer's count, and Checker reads them. A stream that
//     ends lower than it did is reported, and never gives a sequence twice (end.go). A damaged message is not an absent one.
//   - Names and header values from clients never reach a subject or a header line unescaped.
//
// The rooms below: name has the names of documents, subjects, streams and headers; jet talks to JetStream; bucket keeps snapshots,
// small facts and presence beside the log. A record's headers are in record.go, the streams in layout.go.
//
// Goroutines: a Log starts one committer per shard, a few that deliver the live feed, one keeper that compares heads,
// one that checks that all streams exist, and with an external server one that watches the connection. Repairs of gaps run in at most
// eight more, which end when nothing is left to repair. One probes the store while it reports errors, another after a failed append.
// Close ends and awaits them all. A Writer, a Tail or a document has none of its own.
//
// The package does not know the meaning of an update.
package stream
