package ingest

import "net/http"

// serveAPI answers /api; segments are those behind it, unescaped.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, segments []string) {
	switch {
	case len(segments) > 0 && segments[0] == "sessions":
		s.serveSessions(w, r, segments[1:])
	case len(segments) == 3 && segments[0] == "docs" && segments[2] == "token":
		s.serveTicket(w, r, segments[1])
	case len(segments) > 0 && segments[0] == "docs":
		s.serveDocs(w, r, segments[1:])
	default:
		writeError(w, http.StatusNotFound, "not-found", "no such route")
	}
}
