package ingest

import (
	"net/url"
	"strings"

	"yjet/stream"
)

// A place is what a path means for a socket.
type place int

const (
	anyPlace    place = iota // y-websocket with the room as path, or Hocuspocus: the first message tells
	partyPlace               // /parties/{party}/{room…}, /party/{room…}
	prefixPlace              // any path with _pk: PartyKit's clients with their option prefix or basePath
	sweetPlace               // /d/{doc}/ws/{doc}, /doc/{doc}/ws/{doc}
)

// A route is where a request goes.
type route struct {
	place    place
	path     string   // normalised, unescaped: for the log
	segments []string // unescaped
	room     string   // document name as asked for, not yet checked
	reserved bool     // the path belongs to HTTP: no room of a y-websocket
	textSafe bool     // the client is known to take text frames
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
	switch {
	case n >= 3 && segments[0] == "parties":
		r.place, r.room = partyPlace, strings.Join(segments[2:], "/")
		if segments[1] != "main" {
			r.room = segments[1] + "/" + r.room
		}
	case n >= 2 && segments[0] == "party":
		r.place, r.room = partyPlace, strings.Join(segments[1:], "/")
	case n >= 4 && sweetDoc(segments) != "":
		r.place, r.room = sweetPlace, sweetDoc(segments)
	case n >= 1:
		if r.reserved = reserved(segments); !r.reserved && query.Has("_pk") {
			r.place = prefixPlace
		}
	}
	r.textSafe = query.Has("json") || (r.place == partyPlace || r.place == prefixPlace) && query.Has("_pk")
	return r, nil
}

// sweetDoc reads /d/{doc}/ws/{doc}: the name stands there twice, once from the
// token's URL and once appended by the client, escaped as each of them does. "" if
// the path is something else.
func sweetDoc(segments []string) string {
	if segments[0] != "d" && segments[0] != "doc" {
		return ""
	}
	for i := 2; i < len(segments)-1; i++ {
		if doc := strings.Join(segments[1:i], "/"); segments[i] == "ws" && doc == strings.Join(segments[i+1:], "/") {
			return doc
		}
	}
	return ""
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

// docOf checks a room's name.
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
