package ingest

import (
	"net/url"
	"slices"
	"strings"

	"yjet/stream"
)

// A place is the meaning of a path for a socket.
type place int

const (
	anyPlace    place = iota // y-websocket with the room as path, or Hocuspocus: the first message tells
	partyPlace               // /parties/{party}/{room…}, /party/{room…}
	prefixPlace              // any path with _pk: PartyKit's clients with their option prefix or basePath
	sweetPlace               // /d/{doc}/ws/{doc}
)

// A route is where a request goes.
type route struct {
	place    place
	path     string   // normalised, unescaped: for the log
	segments []string // unescaped
	room     string   // document name in its canonical form; as asked for, where it is none
	reserved bool     // the path belongs to HTTP: no room of a y-websocket
	textSafe bool     // the client is known to take text frames
	json     bool     // it asks for them
	yps      bool     // it is y-partyserver's provider
}

// normalise splits the escaped path: repeated slashes are one, a trailing one is
// none, and each segment is unescaped by itself. It must stand before any mux,
// whose redirect to the clean path would end a WebSocket handshake.
func normalise(escaped string) ([]string, error) {
	var segments []string
	for part := range strings.SplitSeq(escaped, "/") {
		if part == "" {
			continue
		}
		segment, err := url.PathUnescape(part)
		if err != nil {
			return nil, causeMalformed
		}
		segments = append(segments, segment)
	}
	return segments, nil
}

// routeOf reads a path as the rules of client-protocols §3 say.
func routeOf(escaped string, query url.Values) (route, error) {
	segments, err := normalise(escaped)
	if err != nil {
		return route{}, err
	}
	r := route{segments: segments, room: strings.Join(segments, "/")}
	r.path = "/" + r.room
	n := len(segments)
	partykit := query.Has("_pk")
	room, sweet := "", false
	if n >= 4 {
		room, sweet = sweetDoc(segments)
	}
	switch {
	case partykit && (n == 2 && segments[0] == "parties" || n == 1 && segments[0] == "party"):
		r.place, r.room = partyPlace, "" // PartyKit's client without a room; to others that path is a room
	case n >= 3 && segments[0] == "parties":
		r.place, r.room = partyPlace, strings.Join(segments[2:], "/")
		if segments[1] != "main" {
			r.room = segments[1] + "/" + r.room
		}
	case n >= 2 && segments[0] == "party":
		r.place, r.room = partyPlace, strings.Join(segments[1:], "/")
	case sweet:
		r.place, r.room = sweetPlace, room
	case n >= 1:
		if r.reserved = reserved(segments); !r.reserved && partykit {
			r.place = prefixPlace
		}
	}
	if doc, err := docOf(r.room); err == nil {
		r.room = string(doc)
	}
	r.json, r.yps = query.Has("json"), isNanoID(query.Get("_pk"))
	r.textSafe = r.json || (r.place == partyPlace || r.place == prefixPlace) && partykit
	return r, nil
}

// isNanoID reports whether a connection's id is of the form that y-partyserver gives it. y-partykit and plain partysocket give a
// UUID.
func isNanoID(id string) bool {
	return len(id) == 10 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '_' && r != '-'
	})
}

// sweetDoc reads /d/{doc}/ws/{doc}. The name stands there twice, once from the URL of the client's token and once appended by the
// client, each with its own escapes and slashes. ok reports whether the path is one; its name may be no document's.
func sweetDoc(segments []string) (room string, ok bool) {
	if segments[0] != "d" {
		return "", false
	}
	for i := 2; i < len(segments)-1; i++ {
		if segments[i] != "ws" {
			continue
		}
		room := strings.Join(segments[1:i], "/")
		if slices.Equal(parts(room), parts(strings.Join(segments[i+1:], "/"))) {
			return room, true
		}
	}
	return "", false
}

// parts are the segments of a name that are not empty.
func parts(room string) []string {
	return strings.FieldsFunc(room, func(r rune) bool { return r == '/' })
}

// reserved reports whether a path is one of HTTP's names.
func reserved(segments []string) bool {
	switch segments[0] {
	case "health", "healthz", "readyz", "metrics":
		return len(segments) == 1
	case "api", "assets":
		return true
	}
	return false
}

// docOf returns the document that a name stands for, however it spells its slashes. Every door asks it, before it asks for rights.
func docOf(room string) (stream.Doc, error) {
	if room == "" {
		return "", causeRoomRequired
	}
	doc, err := stream.ParseDoc(room)
	if err != nil {
		return "", causeName
	}
	return doc, nil
}
