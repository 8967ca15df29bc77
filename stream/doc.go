// Package stream keeps every document as a log of opaque updates in NATS JetStream, carries the live feed of what was
// stored, and holds presence, snapshots' bytes and small facts beside it. It is the only room that sees a NATS type.
//
// What must hold:
//
//   - Append reports success only after the record is stored; in the durable mode, on disk. A Tail shows a record only after
//     that, too: tails hold back what the live feed may bring earlier (holdback.go).
//   - One commit is under way per document. Nothing later of a document is sent until what came before is stored or given
//     up, so record k+1 is never in a log that lacks the record k it may need.
//   - A Tail delivers the records of one document in sequence order, each once, none left out, and does not show the join
//     between what was stored and what arrives. What the live feed loses is found (by the order, by acknowledgements, by
//     comparing heads) and read from the log.
//   - A hole in the log is never silent: records carry a checksum and a writer's count, and Checker reads them. A stream that
//     ends lower than it did is reported, and never gives a sequence twice (end.go). A damaged message is not an absent one.
//   - Names and header values from strangers never reach a subject or a header line unescaped.
//
// The rooms below: name has the names of documents, subjects, streams and headers; jet talks to JetStream; bucket keeps snapshots,
// small facts and presence beside the log. A record's headers are in record.go, the streams in layout.go.
//
// Goroutines: a Log starts one committer per shard, a few that deliver the live feed, one keeper that compares heads,
// one that looks whether all streams are there, and in front of another's server one that watches the connection;
// repairs of gaps run in at most eight more, which end when there is nothing to repair, and one probes the store while it
// reports errors, another after an append that failed. Close ends and awaits them all. A Writer, a Tail or a document has none of its own.
//
// The package does not know the meaning of an update.
package stream
