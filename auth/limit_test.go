package auth

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestFourthRefusalInAMinuteIsTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewRefusals()
		for i, want := range []bool{false, false, false, true, true} {
			if got := f.Refused("192.0.2.1", "t"); got != want {
				t.Errorf("refusal %d: got %v, want %v", i+1, got, want)
			}
			time.Sleep(2 * time.Second)
		}
		if f.Refused("192.0.2.2", "t") || f.Refused("192.0.2.1", "u") {
			t.Error("another address or token is counted with it")
		}
		time.Sleep(refusalWindow)
		if f.Refused("192.0.2.1", "t") {
			t.Error("a minute later: still too many")
		}
		// One in 25 s never is.
		for range 10 {
			time.Sleep(25 * time.Second)
			if f.Refused("192.0.2.3", "t") {
				t.Error("one in 25 s: too many")
			}
		}
		// A host cannot get away within its own network of IPv6.
		for i := range 4 {
			if got := f.Refused(fmt.Sprintf("2001:db8:1:2::%d", i), "t"); got != (i == 3) {
				t.Errorf("IPv6 address %d: got %v", i, got)
			}
		}
	})
}

func TestLimitsHoldABoundedNumberOfStrangers(t *testing.T) {
	f, r := NewRefusals(), NewRate(1, 1)
	for i := range 3 * maxRefusalKeys {
		ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		f.Refused(ip, "t")
		r.Allow(ip)
	}
	if n := f.seen.len(); n > maxRefusalKeys {
		t.Errorf("got %d pairs, want at most %d", n, maxRefusalKeys)
	}
	if n := r.buckets.len(); n > maxRefusalKeys {
		t.Errorf("got %d buckets, want at most %d", n, maxRefusalKeys)
	}
}

func TestRateLetsABurstThroughAndThenItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(20, 100)
		count := func(key string) (n int) {
			for range 500 {
				if ok, _ := r.Allow(key); ok {
					n++
				}
			}
			return n
		}
		if n := count("a"); n != 100 {
			t.Errorf("got %d at once, want 100", n)
		}
		if ok, wait := r.Allow("a"); ok || wait <= 0 || wait > 50*time.Millisecond {
			t.Errorf("got %v and a wait of %v, want at most 50 ms", ok, wait)
		}
		time.Sleep(time.Second)
		if n := count("a"); n != 20 {
			t.Errorf("got %d after a second, want 20", n)
		}
		if n := count("b"); n != 100 {
			t.Errorf("another key: got %d, want 100", n)
		}
		time.Sleep(time.Hour)
		if n := count("a"); n != 100 {
			t.Errorf("got %d after an hour, want 100", n)
		}
	})
}

func TestSlotsAreGivenBackOnce(t *testing.T) {
	s := NewSlots(2, 3)
	g1, ok1 := s.Take("a")
	_, ok2 := s.Take("a")
	_, ok3 := s.Take("a")
	g4, ok4 := s.Take("b")
	_, ok5 := s.Take("c")
	if !ok1 || !ok2 || ok3 || !ok4 || ok5 {
		t.Errorf("got %v %v %v %v %v, want two for a, one for b, none for c", ok1, ok2, ok3, ok4, ok5)
	}
	g1()
	g1()
	g4()
	if s.Len() != 1 || len(s.held) != 1 {
		t.Errorf("got %d taken by %d keys, want 1 by 1", s.Len(), len(s.held))
	}
}
