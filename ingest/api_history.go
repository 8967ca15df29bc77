package ingest

import "net/http"

// serveHistory answers what is behind /api/docs/{doc}/ beside presence: false where there is no such route.
func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request, name string, segments []string) bool {
	return false
}
