package e2e

import (
	"fmt"
	"testing"
	"time"
)

// startPair starts two yjet processes on one NATS: the first embeds it, the second is a guest.
func startPair(t testing.TB, args ...string) (host, guest *server) {
	t.Helper()
	host = startDev(t, args...)
	guest = startGuest(t, host)
	return host, guest
}

func startGuest(t testing.TB, host *server) *server {
	t.Helper()
	s := startServe(t, "--nats", host.nats, "--auth", "none")
	s.nats = host.nats
	return s
}

func TestTwoServersKeepOneDocument(t *testing.T) {
	t.Parallel()
	host, guest := startPair(t)
	d := newDriver(t)
	room := "two/servers"
	d.open(host, "a", "yws31", room)
	d.open(guest, "b", "yws31", room)
	d.open(guest, "c", "yws21", room)
	all := []string{"a", "b", "c"}
	write := func(round int) {
		t.Helper()
		for _, c := range all {
			d.do("write", M{"client": c, "prefix": fmt.Sprintf("%s%d.", c, round), "every": 5})
		}
		time.Sleep(300 * time.Millisecond)
		for _, c := range all {
			d.do("stop", M{"client": c})
		}
	}
	write(0)
	d.converge(all...)

	guest.kill()
	write(1) // b and c type into the void, a goes on
	d.do("saved", M{"client": "a"})
	guest.start()
	for _, c := range all {
		d.do("saved", M{"client": c, "timeout": 30000})
	}
	d.converge(all...)

	// The one that carries NATS dies: the guest's clients hold what they have, and all goes on when it is back.
	host.kill()
	write(2)
	host.start()
	for _, c := range all {
		d.do("saved", M{"client": c, "timeout": 60000})
	}
	want := d.converge(all...)
	sameDocument(t, "the rebuild from the log", rebuild(t, host.nats, room).Fingerprint, want)
	l := ask[ledger](d, "ledger", M{"writers": all, "readers": []string{}})
	text := ask[string](d, "text", M{"client": "a"})
	l.Echoed = l.Written
	if lost := l.lost(text); len(lost) > 0 {
		t.Errorf("%d of %d written pieces are nowhere, among them %s", len(lost), len(l.Written), lost[0])
	}
}

func TestPresenceOfAKilledServerVanishes(t *testing.T) {
	t.Parallel()
	host, guest := startPair(t)
	d := newDriver(t)
	// y-partyserver never drops anybody by itself: what it forgets, the server told it.
	d.open(host, "watcher", "yps", "presence")
	d.open(host, "watcher2", "yws31", "presence")
	d.open(guest, "victim", "yws31", "presence")
	d.do("hasNames", M{"client": "watcher", "want": []string{"watcher", "watcher2", "victim"}})
	d.do("hasNames", M{"client": "victim", "want": []string{"watcher", "watcher2", "victim"}})
	d.do("cut", M{"client": "victim"})
	guest.kill()
	for _, w := range []string{"watcher", "watcher2"} {
		d.do("hasNames", M{"client": w, "want": []string{"watcher", "watcher2"}, "timeout": 60000})
	}
}

func TestPresenceFollowsPeople(t *testing.T) {
	t.Parallel()
	host, guest := startPair(t)
	d := newDriver(t)
	room := "people"
	d.open(host, "ann", "yws31", room)
	d.open(guest, "bob", "yws31", room)
	d.open(host, "eve", "yps", room)
	everybody := []string{"ann", "bob", "eve"}
	for _, c := range everybody {
		d.do("hasNames", M{"client": c, "want": everybody})
	}

	t.Run("a late joiner sees everybody at once", func(t *testing.T) {
		for i, s := range []*server{host, guest} {
			late := fmt.Sprintf("late%d", i)
			d.open(s, late, "yws31", room)
			d.do("hasNames", M{"client": late, "want": append([]string{late}, everybody...)})
			type change struct{ Names []string }
			for _, c := range ask[[]change](d, "awarenessLog", M{"client": late}) {
				if n := len(c.Names); n > 1 && n < 4 {
					t.Errorf("%s saw %v on the way, want all at once", late, c.Names)
				}
			}
			d.do("leave", M{"client": late})
			for _, c := range everybody {
				d.do("hasNames", M{"client": c, "want": everybody, "timeout": 1000}) // a clean close, at once
			}
			d.do("destroy", M{"client": late})
		}
	})

	t.Run("a reconnect does not blink", func(t *testing.T) {
		for _, c := range everybody {
			d.do("awarenessLog", M{"client": c, "reset": true})
		}
		for range 3 {
			before := len(d.state("ann").Opens)
			d.do("drop", M{"client": "ann"})
			deadline := time.Now().Add(5 * time.Second)
			for len(d.state("ann").Opens) == before && time.Now().Before(deadline) {
				time.Sleep(20 * time.Millisecond)
			}
			d.do("synced", M{"client": "ann"})
		}
		time.Sleep(4 * time.Second) // past the grace in which a removal would come
		type change struct{ Names []string }
		for _, c := range []string{"bob", "eve"} {
			for _, seen := range ask[[]change](d, "awarenessLog", M{"client": c}) {
				if len(seen.Names) < 3 {
					t.Errorf("%s saw only %v while ann reconnected", c, seen.Names)
				}
			}
			d.do("hasNames", M{"client": c, "want": everybody})
		}
	})

	// ann has reconnected, and y-websocket shows nobody again before that one's next heartbeat; zoe has not.
	d.open(host, "zoe", "yws31", room)
	everybody = append(everybody, "zoe")
	t.Run("a lost connection vanishes after its grace", func(t *testing.T) {
		for _, c := range []string{"eve", "zoe"} {
			d.do("hasNames", M{"client": c, "want": everybody})
		}
		d.do("cut", M{"client": "bob"})
		for _, c := range []string{"eve", "zoe"} {
			d.do("hasNames", M{"client": c, "want": []string{"ann", "eve", "zoe"}, "timeout": 6000})
		}
		d.do("mend", M{"client": "bob"})
		d.do("hasNames", M{"client": "eve", "want": everybody, "timeout": 20000})
	})

	t.Run("cursors move", func(t *testing.T) {
		began := time.Now()
		for n := range 20 {
			d.do("setUser", M{"client": "ann", "user": M{"name": fmt.Sprintf("ann%d", n)}})
		}
		for _, c := range []string{"eve", "zoe"} {
			d.do("hasNames", M{"client": c, "want": []string{"ann19", "bob", "eve", "zoe"}, "timeout": 20000})
		}
		t.Logf("20 changes reached both servers in %v", time.Since(began))
	})
}
