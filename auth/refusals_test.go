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
		refused := func(ip, token string) bool {
			many := f.Many(ip, token)
			f.Refused(ip, token)
			return many
		}
		for i, want := range []bool{false, false, false, true, true} {
			if got := refused("192.0.2.1", "t"); got != want {
				t.Errorf("refusal %d: got %v, want %v", i+1, got, want)
			}
			time.Sleep(2 * time.Second)
		}
		if refused("192.0.2.2", "t") || refused("192.0.2.1", "u") {
			t.Error("another address or token is counted with it")
		}
		time.Sleep(refusalWindow)
		if refused("192.0.2.1", "t") {
			t.Error("a minute later: still too many")
		}
		// One in 25 s never is.
		for range 10 {
			time.Sleep(25 * time.Second)
			if refused("192.0.2.3", "t") {
				t.Error("one in 25 s: too many")
			}
		}
		// A host cannot get away within its own network of IPv6.
		for i := range 4 {
			if got := refused(fmt.Sprintf("2001:db8:1:2::%d", i), "t"); got != (i == 3) {
				t.Errorf("IPv6 address %d: got %v", i, got)
			}
		}
	})
}

func TestRefusalsHoldABoundedNumberOfStrangers(t *testing.T) {
	f := NewRefusals()
	for i := range 3 * maxRefusalKeys {
		ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		f.Refused(ip, "t")
	}
	if n := f.seen.len(); n > maxRefusalKeys {
		t.Errorf("got %d pairs, want at most %d", n, maxRefusalKeys)
	}
}
