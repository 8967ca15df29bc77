// Package yjs implements the binary formats of Yjs: updates, state vectors, awareness and protocol messages, and the
// document that updates build. It works on bytes only: no clock, no network, no logging, no goroutines. It follows npm yjs
// 13.6, y-protocols 1.0 and lib0 0.2; testdata holds their outputs, and tests compare against them.
//
// # Updates
//
// A Yjs document is a set of items. Each client numbers the units it writes from 0: the unit's clock. A unit is one UTF-16
// code unit of text, one array element, one mark, one nested type. So (client, clock), an [ID], names a unit for ever, and an
// item is a run of them.
//
// An item has content and a position: the unit it was inserted after (its origin) and the unit it was inserted before (its
// right origin). An item without neighbours names its parent instead: a root type by its name, or the item that holds a
// nested type, and a key if it is a map's value. Items inserted at one position concurrently are ordered by rules that all
// replicas share ([Document]). Items are never moved or removed from this order. A deletion adds ids to the delete set.
//
// An update is any set of items and deletes:
//
//	01                  sections: one client has structs here
//	  01 07 00          1 struct, client 7, from clock 0
//	    04              info: content 4, text; no neighbours
//	      01 01 74      in a root type, named "t"
//	      02 68 69      "hi": clocks 0 and 1
//	00                  delete set: no clients
//
// and, when client 7 goes on typing and then deletes the "h":
//
//	01  01 07 02        1 struct, client 7, from clock 2
//	    84              info: 0x80, an origin; content 4
//	      07 01         after unit (7, 1), and therefore in the same type
//	      01 21         "!"
//	01  07 01 00 01     delete set: of client 7 one range, from clock 0, length 1
//
// Numbers are lib0's varUint (see varint.go). Info bytes and contents are listed at [Struct], all of V1 at [Reader], V2 in
// the file of [ToV2], messages in the file of [Message].
//
// Besides items an update may hold GC, runs reduced to their length, and Skips, clocks that the update does not cover. Skips
// come from merging updates with a gap between them.
//
// A state vector gives the next expected clock of each client: all earlier clocks are known. It does not cover deletes, so a
// diff always includes the whole delete set.
//
// # Invariants
//
//   - Updates are a semilattice: applying or merging them in any order, grouping and number gives the same document.
//     All functions that rewrite updates preserve that: [Merge], [Join], [Compact], [Diff], [Split], [State.Ready].
//   - Unusable structs are kept, never dropped: gaps and items with missing dependencies survive a merge.
//   - Output is canonical: clients from high to low, each once; deletes sorted and joined. Input may be in any order.
//   - No input causes a panic, and memory stays within a fixed multiple of the input. Counts are checked against the
//     remaining bytes before memory is allocated for them. Errors are [*Error] and give the offset.
//   - Contents are copied as bytes, never decoded and encoded again. The only exceptions are embeds and formats
//     converted between V1 and V2.
//
// # Two levels of strictness
//
// [Reader], and every function that rewrites updates, accepts the input that Yjs accepts. [Update.Parse] checks updates from
// clients before they enter a permanent log: it also enforces limits and refuses input that Yjs decodes and then fails on.
// Three checks need the document's state. [State.Ready] splits an update by whether its dependencies are present.
// [State.Admit] bounds the work that the document may cause for clients, also when many small updates add up.
// [State.Planted] reports whether the document has other content at the ids of the update.
//
// # From the socket to the log
//
//	m, rest, err := yjs.ReadMessage(frame)    // or ReadHocuspocus
//	err = update.Parse(m.Payload, limits)     // refuse: it would break others
//	_, lost := state.Planted(&update)         // its ids hold something else: never acknowledge it
//	if state.Contains(&update) { return }     // nothing new, deletes included
//	err = state.Admit(&update, shape)         // refuse: the document would be too much work for others
//	r, err := state.Ready(&update)            // r.Ready goes into the log, r.Rest waits for r.Missing
//	state.Add(&update)                        // once it is stored
//
// For a keystroke these take some hundred nanoseconds together and allocate nothing.
//
// # Sizes of one document
//
// A merged log of keystrokes has as many structs as keystrokes, and a browser needs seconds to load it. [Join] undoes
// splits: typed runs become one struct, and nothing is lost. [Compact] also drops deleted content, as clients do: the same
// document, but not its past. Both depend only on the set of updates, so two servers get the same result from the same log.
//
// # The document
//
// [Document] integrates the items of updates, so that their text, deltas, JSON and markup can be read. It can be edited in a
// client's name ([Document.Edit]). It also gives access to its past: a state at a Yjs snapshot ([Document.At]), the edit
// that leads back to an earlier state ([Document.Restore]), the authors of text ([Document.Runs]) and the changes since a
// state ([Document.TextDiff]). Merging, storing and forwarding updates needs no Document.
//
// Where clients wrote at one position concurrently, each item is compared with all items between its neighbours. That is
// usually a handful, but n items against n others take n² steps, here as in Yjs.
//
// # Deliberate differences from Yjs
//
//   - A gap at the very start of an update's first section counts as unknown in [VectorOf]. Yjs counts it as known, so
//     a peer given that vector does not send the missing structs.
//   - Repeated clients and clients in ascending order are put in order. Yjs loses structs or writes a client twice.
//   - Delete ranges of length 0 are left out of merges, and [Update.Parse] refuses them: Yjs throws when it has to
//     keep one pending.
//   - JSON is copied as received. Yjs encodes it again, which gives the same bytes for all JSON that clients produce.
//   - V2 updates that expand too much are refused; see [FromV2].
//   - A document keeps pending structs by client and applies each as soon as it can. Yjs keeps them together and may
//     wait for structs that it already has.
//
// Where Yjs itself loses information, this package does the same: text that is cut inside a surrogate pair gets U+FFFD on
// both sides, in the replica that makes the cut.
package yjs
