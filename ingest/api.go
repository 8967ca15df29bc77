package ingest

import "net/http"

// serveAPI answers /api; segments are those behind it, unescaped.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, segments []string) {
	writeError(w, http.StatusNotFound, "not-found", "no such route")
}
