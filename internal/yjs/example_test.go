package yjs_test

import (
	"fmt"

	"yjet/internal/yjs"
)

// The two updates of the package page.
func ExampleReader() {
	typed := []byte{1, 1, 7, 0, 4, 1, 1, 't', 2, 'h', 'i', 0}
	edited := []byte{1, 1, 7, 2, 0x84, 7, 1, 1, '!', 1, 7, 1, 0, 1}
	for _, update := range [][]byte{typed, edited} {
		r := yjs.NewReader(update)
		var s yjs.Struct
		for r.Next(&s) {
			fmt.Printf("client %d, clocks %d to %d: %q", s.Client, s.Clock, s.End()-1, s.Content)
			if s.HasOrigin() {
				fmt.Printf(" after %v", s.Origin)
			}
			fmt.Println()
		}
		var d yjs.Run
		for r.NextDelete(&d) {
			fmt.Printf("deleted: client %d, from clock %d, %d\n", d.Client, d.Clock, d.Len)
		}
		if err := r.Err(); err != nil {
			fmt.Println(err)
		}
	}
	compacted, _ := yjs.Compact(typed, edited)
	fmt.Printf("% x\n", compacted)
	// Output:
	// client 7, clocks 0 to 1: "hi"
	// client 7, clocks 2 to 2: "!" after {7 1}
	// deleted: client 7, from clock 0, 1
	// 01 02 07 00 01 01 01 74 01 84 07 00 02 69 21 01 07 01 00 01
}

func ExampleState_Ready() {
	var s yjs.State
	var u yjs.Update
	// The second letter comes first.
	if err := u.Parse([]byte{1, 1, 7, 2, 0x84, 7, 1, 1, '!', 0}, yjs.Limits{}); err != nil {
		fmt.Println(err)
	}
	r, _ := s.Ready(&u)
	fmt.Println(r.Ready == nil, r.Missing)
	if err := u.Parse([]byte{1, 1, 7, 0, 4, 1, 1, 't', 2, 'h', 'i', 0}, yjs.Limits{}); err != nil {
		fmt.Println(err)
	}
	s.Add(&u)
	if err := u.Parse(r.Rest, yjs.Limits{}); err != nil {
		fmt.Println(err)
	}
	r, _ = s.Ready(&u)
	fmt.Println(r.Rest == nil)
	// Output:
	// true [{7 0}]
	// true
}
