package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/yjs"
)

// wsClient is one y-websocket connection made from here, for `check` and `bench`.
type wsClient struct {
	conn *websocket.Conn
}

// dialRoom opens base/room as y-websocket does. base is http(s) or ws(s).
func dialRoom(ctx context.Context, base, room, token string) (*wsClient, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, usagef("--url: %w", err)
	}
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	u = u.JoinPath(room)
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	d := websocket.Dialer{HandshakeTimeout: 10 * time.Second, ReadBufferSize: 4096, WriteBufferSize: 1024}
	conn, resp, err := d.DialContext(ctx, u.String(), header)
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("%s answered %s", u.Redacted(), resp.Status)
		}
		return nil, err
	}
	return &wsClient{conn}, nil
}

// sync sends an empty state vector and returns the server's step 2: everything the document holds.
func (c *wsClient) sync() ([]byte, error) {
	if err := c.send(yjs.AppendSync(nil, yjs.SyncStep1, []byte{0})); err != nil {
		return nil, err
	}
	for {
		step, payload, err := c.readSync()
		if err != nil {
			return nil, err
		}
		if step == yjs.SyncStep2 {
			return payload, nil
		}
	}
}

func (c *wsClient) send(frame []byte) error {
	return c.conn.WriteMessage(websocket.BinaryMessage, frame)
}

// readSync reads frames up to the next sync message and returns its step and payload; a refusal is an error.
func (c *wsClient) readSync() (step byte, payload []byte, err error) {
	for {
		kind, frame, err := c.conn.ReadMessage()
		if err != nil {
			return 0, nil, err
		}
		if kind != websocket.BinaryMessage || len(frame) < 2 {
			continue
		}
		switch frame[0] {
		case yjs.MsgSync:
			payload, _, err := yjs.ReadVarBytes(frame[2:])
			return frame[1], payload, err
		case yjs.MsgAuth:
			reason, _, err := yjs.ReadVarString(frame[2:])
			if err != nil {
				return 0, nil, err
			}
			return 0, nil, errors.New("refused: " + string(reason))
		}
	}
}

func (c *wsClient) close() {
	c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
	c.conn.Close()
}

// typist makes the updates of one Yjs client that types single letters at the end of a root text.
type typist struct {
	client uint64
	clock  uint64
	root   string
}

func newTypist() *typist { return &typist{client: uint64(rand.Uint32()), root: "text"} }

// next is the update of the next letter, a V1 update of one item (yjs-protocol: one section, one string struct, no deletes).
func (t *typist) next() []byte {
	b := append(make([]byte, 0, 32), 1, 1)
	b = yjs.AppendUvarint(b, t.client)
	b = yjs.AppendUvarint(b, t.clock)
	if t.clock == 0 {
		b = append(b, 0x04, 1) // a string whose parent is a root
		b = yjs.AppendVarString(b, t.root)
	} else {
		b = append(b, 0x84) // a string with an origin: our letter before
		b = yjs.AppendUvarint(b, t.client)
		b = yjs.AppendUvarint(b, t.clock-1)
	}
	b = yjs.AppendVarString(b, string(rune('a'+t.clock%26)))
	t.clock++
	return append(b, 0)
}
