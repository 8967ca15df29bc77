// Package yjs owns the bytes of Yjs: updates, state vectors, awareness, protocol messages, and the document that updates
// make. Bytes in, bytes out: no clock, no network, no log, and no goroutine. What it says is what npm yjs 13.6, y-protocols
// 1.0 and lib0 0.2 say; testdata holds their answers, and tests ask them again.
//
// # What an update is
//
// A Yjs document is a set of items. Each client numbers the units it writes from 0: the unit's clock. A unit is one UTF-16
// code unit of text, one array element, one mark, one nested type. So (client, clock), an [ID], names a unit for ever, and an
// item is a run of them.
//
// An item says what it holds and where it was put: after which unit (its origin) and before which (its right origin). An item
// without neighbours names its parent instead: a root type by its name, or the item that holds a nested type, and the key if
// it is a map's value. Two items that were put in the same place at once are ordered by rules that all replicas share
// ([Document]). Nothing is ever moved or taken out of this order. To delete is to add ids to the delete set.
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
// Numbers are lib0's varUint (see varint.go), info bytes and contents are listed at [Struct], the whole of V1 at [Reader], V2 at
// [ToV2]'s file, messages at [Message]'s.
//
// Besides items an update may hold GC, runs of which only the length is left, and Skips, clocks that it says nothing of.
// Skips come from merging updates with a gap between them.
//
// A state vector says for each client the next clock expected: all before it is known. It does not speak of deletes, so a
// difference always carries the whole delete set.
//
// # What holds
//
//   - Updates are a semilattice: applying or merging them in any order, grouping and number gives the same document. All
//     functions that rewrite updates keep that: [Merge], [Join], [Compact], [Diff], [Split], [State.Ready].
//   - What can't be used yet is kept, never dropped: gaps and items that wait for others survive a merge.
//   - Output is canonical: clients from high to low, each once; deletes sorted and joined. Input may be in any order.
//   - Whatever the input, nothing panics, and memory stays within a fixed multiple of it. Counts are checked against the
//     bytes left before anything is taken for them. Errors are [*Error] and name the offset.
//   - Contents are copied as bytes, never decoded and encoded again. The only ones that are parsed are embeds and marks on
//     their way between V1 and V2.
//
// # Two degrees of strictness
//
// [Reader], and all that rewrites, takes what Yjs takes. [Update.Parse] is for what strangers send, before it enters a log
// that can't forget: it also refuses what Yjs decodes and then breaks on, and holds limits. Three things can't be judged by
// the update alone. [State.Ready] says whether what it refers to is there, and splits it. [State.Admit] holds the document to
// the work that it may be for others, which many small updates do by turns as well as one. [State.Planted] says whether the
// document has something else at the ids of the update.
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
// A log of keystrokes, merged, is as many structs as keystrokes, and a browser takes seconds over it. [Join] undoes splits:
// typed runs become one struct, and nothing is lost. [Compact] also drops the content of what is deleted, as clients do:
// the same document, but not its past. Both are functions of the set of updates, so two servers get the same from the same
// log.
//
// # The document
//
// [Document] puts the items of updates in their places, and so can say what they show: text, deltas, JSON, markup. It can be
// edited in a client's name ([Document.Edit]), and knows its past: a state at a Yjs snapshot ([Document.At]), the edit that
// leads back to an earlier state ([Document.Restore]), who wrote what ([Document.Runs]) and what changed since
// ([Document.TextDiff]). Merging, storing and forwarding updates needs none of it.
//
// Where clients wrote at one place at the same time, each item is compared with all that came between its neighbours. That
// is a handful, unless somebody makes it many: n items against n others take n² steps, here as in Yjs.
//
// # Where this differs from Yjs, on purpose
//
//   - A gap at the very start of an update's first section counts as unknown in [VectorOf]. Yjs counts it as known, and a
//     peer that is told so keeps to itself what we lack.
//   - The same client twice in an update, or clients in ascending order, are put right. Yjs forgets structs or writes a
//     client twice.
//   - Delete ranges of length 0 are left out of merges, and refused from strangers: Yjs throws when it has to park one.
//   - JSON is copied as it came. Yjs writes it anew, which is the same for all that clients produce.
//   - V2 that expands beyond reason is refused; see [FromV2].
//   - A document keeps waiting structs by client, so it uses what it can. Yjs parks them together, and may wait for what it
//     has.
//
// Where Yjs itself loses something, this package follows: text that is cut between the halves of a surrogate pair gets
// U+FFFD on both sides, in whichever replica makes the cut.
package yjs
