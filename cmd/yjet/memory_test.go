package main

import "testing"

func TestRuntimeGetsItsShareOfTheLimit(t *testing.T) {
	for limit, want := range map[int64]int64{64 << 20: 48 << 20, 512 << 20: 416 << 20, 10 << 30: 9 << 30} {
		if got := runtimeShare(limit); got != want {
			t.Errorf("of %d MiB: got %d MiB, want %d MiB", limit>>20, got>>20, want>>20)
		}
	}
}
