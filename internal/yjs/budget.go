package yjs

import "errors"

// ErrOutput: the output, or the work to produce it, exceeds its [Budget]. A few bytes of input can cause that: XML markup
// repeats a mark around every piece of text that has it.
var ErrOutput = errors.New("yjs: written out, this is larger than allowed")

// Budget bounds the cost of reading from a document: JSON, text, markup, deltas and diffs. A Budget serves one call at a
// time. A nil Budget bounds nothing.
type Budget struct {
	Bytes int          // of output; beyond it the call returns ErrOutput; 0: unlimited
	Work  int          // bytes and items visited; beyond it the call returns ErrOutput; 0: unlimited
	Check func() error // if not nil, called every 64 Ki of work; its error ends the call and is returned

	work, next int
}

const budgetStep = 64 << 10

// spend adds work to the total. output is the current size of the output.
func (b *Budget) spend(work, output int) error {
	if b == nil {
		return nil
	}
	if b.work += work; b.Bytes > 0 && output > b.Bytes || b.Work > 0 && b.work > b.Work {
		return ErrOutput
	}
	if b.Check == nil || b.work < b.next {
		return nil
	}
	b.next = b.work + budgetStep
	return b.Check()
}
