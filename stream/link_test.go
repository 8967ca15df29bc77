package stream

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"yjet/internal/natstest"
)

// halfOpen is a connection to NATS that swallows what one side sends while it is told to. bit 1: to the server, bit 2: from it. A
// connection that swallowed something does so for ever where dead is set.
type halfOpen struct {
	swallow atomic.Int32
	dead    bool
}

func (p *halfOpen) run(t testing.TB, to string) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			node, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			var gone atomic.Int32
			pump := func(to, from net.Conn, bit int32) {
				defer to.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := from.Read(b)
					if err != nil {
						return
					}
					if s := p.swallow.Load() & bit; s|gone.Load()&bit != 0 {
						if p.dead {
							gone.Or(s)
						}
						continue
					}
					to.Write(b[:n])
				}
			}
			go pump(node, client, 1)
			go pump(client, node, 2)
		}
	}()
	return "nats://" + l.Addr().String()
}

func TestHalfOpenConnectionIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dead    bool
		swallow int32
	}{
		"requests lost for a while": {false, 1},
		"answers lost for a while":  {false, 2},
		"requests lost":             {true, 1},
		"answers lost":              {true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := natstest.Start(t, natstest.Process, natstest.Listen(t))
			p := &halfOpen{dead: c.dead}
			l := openAt(t, Config{Shards: 1, Replicas: 1, Durability: "unknown"}, p.run(t, srv.Addr()), nats.IgnoreDiscoveredServers())
			other := openAt(t, Config{Replicas: 1, Durability: "unknown"}, "nats://"+srv.Addr())
			live, _ := tail(t, l, "d")
			put := func(l *Log) chan error {
				done := make(chan error, 1)
				ctx := within(t, 30*time.Second)
				l.Writer("d").Append(ctx, []Entry{{Update: []byte("x")}}, func(_ []Seq, err error) { done <- err })
				return done
			}
			p.swallow.Store(c.swallow)
			mine := put(l)
			if err := <-put(other); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			p.swallow.Store(0)
			healed := time.Now()
			if err := <-mine; err != nil {
				t.Fatal(err)
			}
			eventually(t, "both records", func() bool { return live.Seq() >= 2 })
			if took := time.Since(healed); took > 4*time.Second {
				t.Errorf("took %v after the connection healed", took)
			}
			eventually(t, "well again", func() bool { return l.Health(within(t, 5*time.Second)).Err == nil })
		})
	}
}
