// Package snapshot compacts documents. A snapshot replaces the beginning of a log; the records that it replaces are kept as
// packed history; any past state is rebuilt from the two. The package reads and writes the streams YSNAP_NN and YHIST_NN
// through package stream and decides how far the log may be trimmed.
//
// Invariants:
//
//   - Replay from zero = snapshot + history + tail, for every document at every moment. A fold is proven before it is
//     stored (it contains every struct and delete of its input), read back before anything is trimmed, and named by one
//     message, the head, which is written against the revision that was read. Any server may fold any document; of two
//     that race one wins and the other removes its attempt.
//   - A crash between any two steps leaves more data, never less. The sweep removes blobs that no head names.
//   - The log is trimmed below N only, where N is the last sequence that the fold covers: record N stays.
//   - Damage is never ignored: every read compares checksums and the writers' counters, and every start compares the logs
//     with the heads that servers wrote down.
//
// # The head
//
// The head of a document is the one message on ysnap.NN.head.<doc> (NN the shard, <doc> the path of the name). Headers:
//
//	Yjet-Upto   N, the sequence of the last record that the state covers
//	Yjet-Sum    crc32c (Castagnoli) of the payload, 8 hex digits
//	Yjet-Epoch  the number of times that the shard's stream was found shorter than before, plus 1
//	Yjet-Parts  n, only when the state is in n chunks
//	Yjet-Info   the JSON below, only when the state is in the payload
//	Yjet-Doc    the document's name, only when its path is hashed
//
// Without Yjet-Parts the payload is the state itself, a Yjs V1 update: merged, neighbours joined, deleted content dropped.
// With Yjet-Parts the payload is the JSON, and the state is the concatenation of the chunks that it lists. The state is
// inline up to 512 KiB, unless the JSON is longer than 8 KiB.
//
//	{
//	  "v": 1,                       format; a reader must refuse a higher one
//	  "attempt": "K7QZ2MXA",        of the fold that wrote the head, 8 characters of base32
//	  "bytes": 276982,              of the state
//	  "sum": "1a2b3c4d",            crc32c of the state
//	  "parts": [                    the chunks, in order; absent when inline
//	    {"subject": "ysnap.00.part.K7QZ2MXA.0.notes", "bytes": 524288, "sum": "…"}, …],
//	  "time": 1767225600000,        of record N, milliseconds since 1970
//	  "first": 1767220000000,       of the first record
//	  "records": 5012,              ever folded, dropped history included
//	  "updates": 6120,              likewise; a record can be several updates of one connection
//	  "history": [                  segments, in order, none overlapping; the records after "horizon", through N
//	    {"subject": "yhist.00.12.9120.K7QZ2MXA.notes", "bytes": 20480, "sum": "…",
//	     "from": 12, "to": 9120,    sequences of its first and last record
//	     "records": 5012, "updates": 6120, "raw": 143360,   bytes of the updates before packing
//	     "start": …, "end": …}, …], times of its records
//	  "horizon": 0,                 records through it are no longer kept one by one (0: all are)
//	  "horizonTime": …,
//	  "folds": [                    other states of the document, deleted content still in them: one at the horizon,
//	    {"upto": 400, "time": …, "bytes": …, "sum": "…", "parts": […]}, …],     one for each named version
//	  "writers": {"<16 hex>": {"n": 31, "t": …}},  last counter (Yjet-Sum) of each writer seen in the last 24 h
//	  "holes": [{"seq": 77, "what": "…"}],         records that are known to be lost
//	  "quarantined": 0              records that do not decode: kept in the history, in no state
//	}
//
// To rebuild a document: take the state of the head, then apply the records of the log (ydoc.NN.<doc>) after N. To rebuild
// it from its records alone: the fold at the horizon if there is one, then all segments, then the log after N. The log
// still holds record N, and may hold earlier ones after a crash.
//
// A segment's format is in segment.go.
//
// # Moments
//
// "At n" is this document's state after its last record with a sequence of at most n. "At t" is its state before the first
// record made later than t, times being cut to milliseconds.
//
// # Goroutines
//
// At most two workers that fold the documents queued by Hint, one timer per document that fell quiet, and one per erased
// document until its second check. Where Options.SweepEvery is set, also the sweep and the keeper of heads. Close ends
// and awaits all of them.
package snapshot
