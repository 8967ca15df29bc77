package yjs

import "errors"

// ErrOutput: what is to be written is larger, or more work, than its [Budget] allows. A few bytes can ask for that: a mark is
// written out around every piece of text that it holds for.
var ErrOutput = errors.New("yjs: written out, this is larger than allowed")

// Budget bounds what reading a document out may cost: JSON, text, markup, deltas and differences. One serves one call at a
// time. A nil one bounds nothing.
type Budget struct {
	Bytes int          // of output, above which the error is ErrOutput; 0: as many as it takes
	Work  int          // bytes and items gone over, likewise; 0: as much as it takes
	Check func() error // if not nil, asked every 64 Ki of work; its error ends the call and is returned

	work, next int
}

const budgetStep = 64 << 10

// spend counts work, and is told how many bytes of output there are.
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
