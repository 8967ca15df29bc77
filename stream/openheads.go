package stream

// OpenHeads lists the documents that have a Tail here, and how far each has come.
func (l *Log) OpenHeads() map[Doc]Seq {
	heads := make(map[Doc]Seq)
	for _, f := range l.feeds {
		f.mu.RLock()
		for sub, t := range f.subs {
			if sub == t.subs[subLive] {
				heads[t.doc] = max(heads[t.doc], t.Seq())
			}
		}
		f.mu.RUnlock()
	}
	return heads
}
