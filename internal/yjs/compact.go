package yjs

// Join and Compact are Merge with rewrites that Yjs does only in a loaded document.
//
// Join undoes splits: b follows a in clock, both are text or both are deleted, b's origin is the last id of a, and they have
// the same right origin or none. Every replica splits such a run where it needs to, so joining is correct even if another
// client's item stands between the two. JSON and Any are not joined: they may be values of one map key, of which one was
// there before the other.
//
// Compact also replaces deleted content with its length, as a document with gc does. Ids and positions stay, so later
// updates find their neighbours. JSON and Any of which neither is deleted are joined like text: of two values of one key
// the newer deletes the older, and where a key's item holds several values, Yjs reads the last.
//
// Two things only an integrated document tells: values of a key that lost against a concurrent one are deleted though no
// update says so, and all within a deleted type becomes GC, which has neither origin nor parent. Where there may be some of
// them, Compact integrates what it has, and takes the result if it is shorter. So the result is no longer than that of
// encodeStateAsUpdate of Yjs, but for documents above maxIntegrated.

// maxIntegrated bounds the structs, after joining, of the documents that Compact integrates: a joiner may wait for it
// (BenchmarkCompactIntegrates).
const maxIntegrated = 1 << 13

// Join returns all updates as one, with runs joined. Nothing is lost.
func (m *Merger) Join() ([]byte, error) {
	var j joiner
	return m.compact(&j), nil
}

// Compact is Join without the content of deleted items: the same document, but not its past.
func (m *Merger) Compact() ([]byte, error) {
	j := joiner{drop: true}
	out := m.compact(&j)
	if !j.keyed && !j.nested || j.structs > maxIntegrated {
		return out, nil
	}
	d, err := OpenDocument(DocumentOptions{}, out)
	if err != nil {
		return out, nil // the log has it, and some readers take it: an integrated form is not worth an error
	}
	again, err := merger([][]byte{d.Encode(nil)})
	if err != nil {
		return nil, err
	}
	defer again.release()
	if integrated := again.compact(&joiner{drop: true}); len(integrated) < len(out) {
		return integrated, nil
	}
	return out, nil
}

func (m *Merger) compact(j *joiner) []byte {
	return m.write(func(e *encoder, c *clientSpans, spans []span) {
		j.e, j.open = e, false
		var dels []Range
		if d := m.delByID[c.client]; j.drop && d != nil {
			dels = d.normalise()
		}
		for i := range spans {
			st := m.decode(c.client, &spans[i])
			for len(dels) > 0 && dels[0].End() <= st.Clock {
				dels = dels[1:]
			}
			if len(dels) == 0 || dels[0].Clock >= st.End() || !st.IsItem() || st.Ref() == RefDeleted {
				j.add(&st, false, false)
				continue
			}
			dels = j.cut(st, dels)
		}
		j.flush()
	})
}

// joiner writes structs and joins each with the preceding ones where it can.
type joiner struct {
	drop bool // deleted content is replaced with its length

	structs int  // written so far
	keyed   bool // some item is the value of a key
	nested  bool // some type was deleted

	e    *encoder
	open bool
	run  Struct // structs joined so far; the content of text, JSON and Any is in text
	text []byte
}

// cut splits s at the borders of dels, all of which begin before its end, deletes the covered parts and adds every part. It
// returns the ranges that reach beyond s. Its time is linear in the content.
func (j *joiner) cut(s Struct, dels []Range) []Range {
	rest := s
	half := false // rest begins with the second half of a pair; its text begins with the whole pair
	end := s.End()
	for {
		for len(dels) > 0 && dels[0].End() <= rest.Clock {
			dels = dels[1:]
		}
		deleted := len(dels) > 0 && dels[0].Clock <= rest.Clock
		to := end
		switch {
		case deleted:
			to = min(end, dels[0].End())
		case len(dels) > 0:
			to = min(end, dels[0].Clock)
		}
		part := rest
		part.Len = to - rest.Clock
		nextHalf := false
		if s.Ref() == RefString {
			units := part.Len
			at := 0
			if half {
				units--
				at = 4
			}
			off, h := utf16Offset(rest.Content[at:], units)
			part.Content = rest.Content[at : at+off]
			rest.Content = rest.Content[at+off:]
			nextHalf = h
		} else if to < end {
			part.Keep(part.Len)
			rest.Content = rest.Content[len(part.Content):]
		}
		if deleted {
			j.nested = j.nested || part.Ref() == RefType
			part.Delete()
			j.add(&part, false, false)
		} else {
			j.add(&part, half, nextHalf)
		}
		if to == end {
			return dels
		}
		rest.Clock, rest.Len, half = to, end-to, nextHalf
		rest.Origin = ID{rest.Client, to - 1}
		rest.Info = rest.Info&^infoSub | infoOrigin
		rest.Parent, rest.Root, rest.Sub = ID{}, nil, nil
	}
}

// add writes s, joined to the open run if possible. before and after report that its text begins and ends with half of a
// surrogate pair in addition to Content.
func (j *joiner) add(s *Struct, before, after bool) {
	ref := s.Ref()
	j.keyed = j.keyed || s.HasSub()
	if j.open && s.Clock == j.run.Clock+j.run.Len && ref == j.run.Ref() &&
		(ref == RefGC || (ref == RefString || ref == RefDeleted || j.drop && (ref == RefAny || ref == RefJSON)) &&
			s.Info&infoOrigin != 0 && s.Origin == ID{s.Client, s.Clock - 1} &&
			s.Info&infoRight == j.run.Info&infoRight && s.Right == j.run.Right) {
		j.run.Len += s.Len
	} else {
		j.flush()
		j.run, j.open = *s, true
		j.text = j.text[:0]
	}
	switch ref {
	case RefAny, RefJSON:
		j.text = append(j.text, s.Content...)
	case RefString:
		if before {
			j.text = append(j.text, replacement...)
		}
		j.text = append(j.text, s.Content...)
		if after {
			j.text = append(j.text, replacement...)
		}
	}
}

func (j *joiner) flush() {
	if !j.open {
		return
	}
	switch j.run.Ref() {
	case RefString, RefAny, RefJSON:
		j.run.Content = j.text
	}
	j.e.add(&j.run)
	j.structs++
	j.open = false
}

// Join is Merge with runs joined: the same information in fewer structs. It rewrites even a single update.
func Join(updates ...[]byte) ([]byte, error) {
	m, err := merger(updates)
	if err != nil {
		return nil, err
	}
	defer m.release()
	return m.Join()
}

// Compact is Join without the content of deleted items. Its result gives the same document as its inputs, and later updates
// apply to it, but deleted content cannot be recovered from it.
func Compact(updates ...[]byte) ([]byte, error) {
	m, err := merger(updates)
	if err != nil {
		return nil, err
	}
	defer m.release()
	return m.Compact()
}
