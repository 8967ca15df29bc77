package auth

import (
	"net/http"
	"strings"
)

// corsHeaders and corsExposed are the headers of the HTTP API that pages of other origins may send and read.
const (
	corsHeaders = "Authorization, Content-Type, Accept, If-Match, If-None-Match, Idempotency-Key"
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	corsExposed = "ETag, Yjet-Seq, Yjet-Left-Out, Yjet-Replayed, Yjet-Warning, Yjet-Erased, Retry-After, Content-Length"
)

// CORS lets pages of the accepted origins use next, and answers their preflight requests. A page of another origin gets 403
// before next is called: a browser would hide the response but not undo the effect of the request. Tokens travel in headers;
// cookies are not used.
func (a *Auth) CORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if err := a.CheckOrigin(r); err != nil {
			h.Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(`{"error":{"code":"origin-refused","message":"` + strings.TrimPrefix(err.Error(), "auth: ") + `"}}` + "\n"))
			return
		}
		if origin != "" {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", corsExposed)
		}
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}
