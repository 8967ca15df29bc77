// Package blockfile works on the message files of a nats-server that is not running: Check looks for damage and puts flipped bits right,
// Fence keeps damage from filling the server's memory, Wipe overwrites what was deleted.
//
// nats-server 2.15 checks a message when it is read, but believes the lengths and sequences of a whole block (8 MB) when it loads
// one. A single flipped bit then costs far more than its message: in a sequence, it makes the server fill memory with the
// numbers in between until the process is killed, at every start anew; in a length, or where the index was lost, the rest of the
// block is cut off. Each message has a checksum of 64 bits, though, so a search through every bit of a broken message finds the
// one that makes it right. What cannot be put right is left to the server and to the checks of the log above it.
//
// The layout is the server's own affair and may change with it: a file that does not look like what is described here is left alone,
// and the tests build theirs with the server that is linked in.
//
//	block   := record*                                       streams/<stream>/msgs/<index>.blk
//	record  := length sequence time subject-length subject [header-length header] payload checksum
//
// length (4 bytes) counts the whole record, its highest bit says that there is a header; sequence and time (Unix ns) have 8 bytes,
// subject-length 2, header-length 4, checksum 8; all little endian. The highest bit of a sequence marks an erased message, the
// next one a tombstone. The checksum is HighwayHash-64 of sequence, time, subject, header and payload under the key
// SHA-256("<stream>-<index>"); the lengths are not in it, but show in it where they change what is left out.
//
// The package starts no goroutine, and knows nothing of documents.
package blockfile
