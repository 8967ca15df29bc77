package e2e

import (
	"strings"
	"testing"
	"time"
)

// Some applications put the user's picture into the presence state. It reaches the peers, on another server too; one that is
// above --max-presence hides its user until it is smaller, and closes no socket.
func TestPicturesInPresenceReachThePeers(t *testing.T) {
	t.Parallel()
	host, guest := startPair(t)
	d := newDriver(t)
	everybody := []string{"ann", "bob", "eve"}
	d.open(host, "ann", "yws31", "pictures")
	d.open(host, "bob", "hp4", "pictures")
	d.open(guest, "eve", "yws31", "pictures")
	picture := func(client string, kib int) {
		d.do("setUser", M{"client": client, "user": M{"name": client, "avatar": "data:image/png;base64," + strings.Repeat("A", kib<<10)}})
	}
	seen := func(by, of string, kib int) bool {
		for _, s := range ask[[]struct {
			State struct{ User struct{ Name, Avatar string } }
		}](d, "states", M{"client": by}) {
			if u := s.State.User; u.Name == of && len(u.Avatar) > kib<<10 {
				return true
			}
		}
		return false
	}
	for _, c := range everybody {
		d.do("hasNames", M{"client": c, "want": everybody})
	}
	for _, kib := range []int{20, 60} {
		for _, c := range everybody {
			picture(c, kib)
		}
		for _, by := range everybody {
			for _, of := range everybody {
				deadline := time.Now().Add(10 * time.Second)
				for !seen(by, of, kib) {
					if time.Now().After(deadline) {
						t.Fatalf("%s does not see the picture of %s, %d KiB", by, of, kib)
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
		}
	}
	picture("ann", 70)
	for _, c := range []string{"bob", "eve"} {
		d.do("hasNames", M{"client": c, "want": []string{"bob", "eve"}})
	}
	picture("ann", 1)
	for _, c := range everybody {
		d.do("hasNames", M{"client": c, "want": everybody})
		if s := d.state(c); len(s.Opens) != 1 {
			t.Errorf("%s opened %d sockets, want the first to stay", c, len(s.Opens))
		}
	}
}
