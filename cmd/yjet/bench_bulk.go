package main

import (
	"context"
	"fmt"
	"time"

	"yjet/internal/yjs"
)

// benchBulk has one client send n one-letter updates as fast as the server reads them, as an import script or an offline day without
// merging does, while a pair types in another room. The result counts the updates until a reader has them all; its times are the pair's.
func benchBulk(ctx context.Context, l load, n int) (benchResult, error) {
	writer, err := dialRoom(ctx, l.url, l.room, l.token)
	if err != nil {
		return benchResult{}, err
	}
	defer writer.close()
	reader, err := dialRoom(ctx, l.url, l.room, l.token)
	if err != nil {
		return benchResult{}, err
	}
	defer reader.close()
	for _, ws := range []*wsClient{writer, reader} {
		if err := ws.open(); err != nil {
			return benchResult{}, err
		}
	}
	bulk, stop := make(chan struct{}), make(chan struct{})
	pair := load{url: l.url, token: l.token, room: l.room + "-pair", rooms: 1, clients: 2, writers: 1, rate: 50,
		duration: bulkWait + time.Second, step: letterFrame, begun: bulk, stop: stop}
	var typed benchResult
	var typedErr error
	pairDone := make(chan struct{})
	go func() {
		defer close(pairDone)
		typed, typedErr = pair.run(ctx)
	}()
	select {
	case <-bulk: // the pair types
	case <-pairDone:
		return benchResult{}, typedErr
	}
	began := time.Now()
	letters := newTypist()
	sent := make(chan error, 1)
	go func() {
		for range n {
			if err := writer.send(yjs.AppendSync(nil, yjs.SyncUpdate, letters.next())); err != nil {
				sent <- fmt.Errorf("the server ended the connection that sends in bulk: %w", err)
				return
			}
		}
		sent <- nil
	}()
	go func() { // its own updates come back
		for {
			if _, _, err := writer.conn.ReadMessage(); err != nil {
				return
			}
		}
	}()
	got, err := reader.letters(letters.client, n, began.Add(bulkWait))
	took := time.Since(began)
	close(stop)
	<-pairDone
	writer.conn.Close() // a sender that is held up ends
	if sendErr := <-sent; sendErr != nil && got < n {
		err = sendErr
	}
	if err == nil {
		err = typedErr
	}
	r := typed
	r.Scenario, r.Clients, r.Sent, r.Deliveries, r.Missing, r.PerSecond = "bulk", 4, n, got, n-got+typed.Missing, float64(got)/took.Seconds()
	return r, err
}

// bulkWait is the longest that the load of bulk may take.
const bulkWait = time.Minute

// letters reads until n letters of a client have come or it is too late, and returns how many have.
func (c *wsClient) letters(client uint64, n int, until time.Time) (int, error) {
	if err := c.conn.SetReadDeadline(until); err != nil {
		return 0, err
	}
	got := 0
	for got < n {
		step, update, err := c.readSync()
		if err != nil {
			return got, fmt.Errorf("the reader has %d of %d updates: %w", got, n, err)
		}
		if step == yjs.SyncStep1 {
			continue
		}
		eachClock(update, func(id, clock uint64) {
			if id == client {
				got = max(got, int(clock)+1)
			}
		})
	}
	return got, nil
}
