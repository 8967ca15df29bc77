// Package blockfile works on the message files of a nats-server that is not running: Check finds damage and corrects flipped bits, Fence
// keeps damage from filling the server's memory, Wipe overwrites deleted messages.
//
// nats-server 2.15 checks a message when it is read, but believes the lengths and sequences of a whole block (8 MB) when it loads
// one. A single flipped bit then costs far more than its message: in a sequence, it makes the server fill memory with the
// numbers in between until the process is killed, at every start anew; in a length, or where the index was lost, the rest of the
// block is cut off. Each message has a checksum of 64 bits, though, so a search through every bit of a broken message finds the
// flipped one. Other damage is left to the server and to the checks of the log.
//
// The layout is internal to the server and may change with it. A file that does not match the description here is left unchanged, and
// the tests create their files with the linked server.
//
//	block   := record*                                       streams/<stream>/msgs/<index>.blk
//	record  := length sequence time subject-length subject [header-length header] payload checksum
//
// length (4 bytes) counts the whole record, its highest bit says that there is a header; sequence and time (Unix ns) have 8 bytes,
// subject-length 2, header-length 4, checksum 8; all little endian. The highest bit of a sequence marks an erased message, the
// next one a tombstone. The checksum is HighwayHash-64 of sequence, time, subject, header and payload under the key
// SHA-256("<stream>-<index>"). It does not cover the lengths themselves, but a wrong one changes the bytes that it covers.
//
// The package starts no goroutine and does not know documents.
package blockfile
