package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/yjs"
)

// load is rooms full of clients, some of which write at a steady rate.
type load struct {
	url, token, room        string
	rooms, clients, writers int     // clients and writers of each room
	rate                    float64 // frames a second of each writer
	duration                time.Duration
	step                    func(*typist) []byte // makes a writer's next frame and moves its clock on
	begun                   chan<- struct{}      // not nil: closed when the writers begin
	stop                    <-chan struct{}      // not nil: the writers end when it is closed
}

// letterFrame types one letter; cursorFrame moves the cursor.
func letterFrame(t *typist) []byte { return yjs.AppendSync(nil, yjs.SyncUpdate, t.next()) }

func cursorFrame(t *typist) []byte {
	t.clock++
	state := fmt.Appendf(nil, `{"cursor":%d,"user":{"name":"bench"}}`, t.clock)
	update := yjs.AppendAwareness(nil, []yjs.AwarenessEntry{{Client: t.client, Clock: t.clock, State: state}})
	return yjs.AppendVarBytes([]byte{yjs.MsgAwareness}, update)
}

// writer is one writing client: when it sent each clock. Readers look the times up.
type writer struct {
	*typist
	ws   *wsClient
	sent []atomic.Int64 // by clock, Unix nanoseconds
}

// run opens every socket, writes for the duration, waits for the deliveries still under way, and returns how long deliveries took.
func (l load) run(ctx context.Context) (benchResult, error) {
	perWriter := int(l.rate*l.duration.Seconds()) + 2
	var mu sync.Mutex
	var took []time.Duration
	var readers, typing sync.WaitGroup
	var all []*wsClient
	defer func() {
		for _, ws := range all {
			ws.close()
		}
		readers.Wait()
	}()
	var expected, delivered atomic.Int64
	begin := make(chan struct{})
	for r := range l.rooms {
		room := fmt.Sprintf("%s-%d", l.room, r)
		writers := map[uint64]*writer{}
		var list []*wsClient
		for i := range l.clients {
			ws, err := dialRoom(ctx, l.url, room, l.token)
			if err != nil {
				return benchResult{}, fmt.Errorf("client %d: %w", len(all), err)
			}
			all, list = append(all, ws), append(list, ws)
			if err := ws.open(); err != nil {
				return benchResult{}, err
			}
			if i < l.writers {
				w := &writer{typist: newTypist(), ws: ws, sent: make([]atomic.Int64, perWriter+1)}
				writers[w.client] = w
			}
		}
		for _, ws := range list {
			readers.Go(func() {
				mine := ws.receive(writers, &delivered)
				mu.Lock()
				took = append(took, mine...)
				mu.Unlock()
			})
		}
		phase := 0
		for _, w := range writers {
			// Writers of a room are spread over one interval, or all would send at one moment.
			offset := time.Duration(float64(time.Second) / l.rate * float64(phase) / float64(len(writers)))
			phase++
			typing.Go(func() {
				<-begin
				time.Sleep(offset)
				expected.Add(int64(w.write(ctx, l, perWriter-2)) * int64(l.clients))
			})
		}
	}
	began := time.Now()
	close(begin)
	if l.begun != nil {
		close(l.begun)
	}
	typing.Wait()
	wall := time.Since(began)
	for end := time.Now().Add(10 * time.Second); delivered.Load() < expected.Load() && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
	for _, ws := range all {
		ws.conn.Close()
	}
	readers.Wait()
	r := summarize(took, wall)
	r.Clients = len(all)
	r.Sent = int(expected.Load()) / l.clients
	r.Missing = int(expected.Load()) - r.Deliveries
	return r, ctx.Err()
}

// write sends n frames at the load's rate and returns how many it sent.
func (w *writer) write(ctx context.Context, l load, n int) int {
	tick := time.NewTicker(time.Duration(float64(time.Second) / l.rate))
	defer tick.Stop()
	for i := range n {
		clock := w.clock
		frame := l.step(w.typist)
		if clock == w.clock-1 && frame[0] == yjs.MsgAwareness {
			clock = w.clock // an awareness clock names the frame it is in
		}
		w.sent[clock].Store(time.Now().UnixNano())
		if w.ws.send(frame) != nil {
			return i
		}
		select {
		case <-tick.C:
		case <-l.stop:
			return i + 1
		case <-ctx.Done():
			return i + 1
		}
	}
	return n
}

// receive reads until the socket closes and returns how long each delivered clock took.
func (c *wsClient) receive(writers map[uint64]*writer, delivered *atomic.Int64) (took []time.Duration) {
	note := func(client, clock uint64) {
		w := writers[client]
		if w == nil || clock >= uint64(len(w.sent)) {
			return
		}
		if sent := w.sent[clock].Load(); sent > 0 {
			took = append(took, time.Duration(time.Now().UnixNano()-sent))
			delivered.Add(1)
		}
	}
	var entries []yjs.AwarenessEntry
	for {
		_, frame, err := c.conn.ReadMessage()
		if err != nil {
			return took
		}
		if len(frame) < 2 {
			continue
		}
		switch frame[0] {
		case yjs.MsgSync:
			if frame[1] == yjs.SyncStep1 {
				continue
			}
			if update, _, err := yjs.ReadVarBytes(frame[2:]); err == nil {
				eachClock(update, note)
			}
		case yjs.MsgAwareness:
			payload, _, err := yjs.ReadVarBytes(frame[1:])
			if err != nil {
				continue
			}
			if entries, err = yjs.ReadAwareness(entries[:0], payload); err == nil {
				for _, e := range entries {
					note(e.Client, e.Clock)
				}
			}
		}
	}
}

// eachClock calls f for every clock that a well-formed update carries.
func eachClock(update []byte, f func(client, clock uint64)) {
	r := yjs.NewReader(update)
	for s := (yjs.Struct{}); r.Next(&s); {
		for i := range s.Len {
			f(s.Client, s.Clock+i)
		}
	}
}

// open waits until the connection has the document.
func (c *wsClient) open() error {
	_, err := c.sync()
	return err
}

// bare is the least that a broadcast server can do: gorilla/websocket, rooms, every message to everybody. Figures are compared with it.
type bare struct {
	url    string
	server *http.Server
	mu     sync.Mutex
	rooms  map[string]*bareRoom
}

type bareRoom struct {
	mu    sync.Mutex
	conns map[*websocket.Conn]struct{}
}

func startBare() (*bare, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &bare{url: "http://" + l.Addr().String(), rooms: map[string]*bareRoom{}}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: 5 * time.Second}
	go b.server.Serve(l)
	return b, nil
}

func (b *bare) stop() { b.server.Close() }

func (b *bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := (&websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	b.mu.Lock()
	room := b.rooms[r.URL.Path]
	if room == nil {
		room = &bareRoom{conns: map[*websocket.Conn]struct{}{}}
		b.rooms[r.URL.Path] = room
	}
	b.mu.Unlock()
	room.mu.Lock()
	room.conns[conn] = struct{}{}
	room.mu.Unlock()
	defer func() {
		room.mu.Lock()
		delete(room.conns, conn)
		room.mu.Unlock()
	}()
	emptyStep2 := yjs.AppendSync(nil, yjs.SyncStep2, []byte{0, 0})
	for {
		_, frame, err := conn.ReadMessage()
		if err != nil {
			return
		}
		room.mu.Lock()
		if len(frame) > 1 && frame[0] == yjs.MsgSync && frame[1] == yjs.SyncStep1 {
			conn.WriteMessage(websocket.BinaryMessage, emptyStep2)
		} else {
			for c := range room.conns {
				c.WriteMessage(websocket.BinaryMessage, frame)
			}
		}
		room.mu.Unlock()
	}
}
