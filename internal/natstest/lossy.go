package natstest

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Lossy stands between clients and one node and loses a share of the messages that the node sends them, as core NATS may: those
// of subjects that begin with a prefix. Everything else passes unchanged.
type Lossy struct {
	Lost atomic.Int64 // messages lost so far

	l      net.Listener
	to     string // address of the node
	prefix string
	share  float64

	mu    sync.Mutex
	conns map[net.Conn]bool // nil once closed
	wg    sync.WaitGroup
}

// StartLossy listens on loopback until the test ends. share is from 0 to 1. The node must have a listener.
func StartLossy(t testing.TB, node *Server, prefix string, share float64) *Lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Lossy{l: l, to: node.Addr(), prefix: prefix, share: share, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// URL is where clients connect. They must not follow the addresses that the node advertises (nats.IgnoreDiscoveredServers).
func (p *Lossy) URL() string { return "nats://" + p.l.Addr().String() }

func (p *Lossy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		node, err := net.Dial("tcp", p.to)
		if err != nil { // stopped: the client tries again, or another node
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.conns == nil {
			p.mu.Unlock()
			client.Close()
			node.Close()
			return
		}
		p.conns[client], p.conns[node] = true, true
		p.mu.Unlock()
		both := func(f func()) {
			p.wg.Go(func() {
				f()
				client.Close()
				node.Close()
				p.mu.Lock()
				delete(p.conns, client)
				delete(p.conns, node)
				p.mu.Unlock()
			})
		}
		both(func() { io.Copy(node, client) })
		both(func() { p.fromNode(client, node) })
	}
}

func (p *Lossy) close() {
	p.l.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// fromNode copies what the node sends: lines, of which "MSG subject sid [reply] bytes" and "HMSG subject sid [reply] header total" have a
// payload behind them.
func (p *Lossy) fromNode(client io.Writer, node io.Reader) {
	r := bufio.NewReaderSize(node, 64<<10)
	w := bufio.NewWriterSize(client, 64<<10)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		to := io.Writer(w)
		payload := int64(0)
		if f := strings.Fields(line); len(f) >= 4 && (f[0] == "MSG" || f[0] == "HMSG") {
			n, err := strconv.ParseInt(f[len(f)-1], 10, 64)
			if err != nil {
				return
			}
			payload = n + 2 // and the line's end
			if strings.HasPrefix(f[1], p.prefix) && rand.Float64() < p.share {
				p.Lost.Add(1)
				to = io.Discard
			}
		}
		if _, err := io.WriteString(to, line); err != nil {
			return
		}
		if _, err := io.CopyN(to, r, payload); err != nil {
			return
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return
			}
		}
	}
}
