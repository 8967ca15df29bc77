package ingest

import (
	"net/http"
	"testing"
)

// A stranger's page may have its own name resolve to 127.0.0.1. Without logins no answer goes out under such a name.
func TestWithoutLoginsOnlyThisMachinesNamesAreAnswered(t *testing.T) {
	w := start(t)
	for _, path := range []string{"/", "/room", "/health", "/healthz", "/inspect", "/api/docs"} {
		for host, ok := range map[string]bool{"localhost:1999": true, "127.0.0.1:1999": true, "[::1]:1999": true, "evil.example": false, "127.0.0.1.evil.example": false} {
			req, err := http.NewRequest("GET", w.http.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if refused := resp.StatusCode == http.StatusForbidden; refused == ok {
				t.Errorf("GET %s as %s: got %d, want it answered: %v", path, host, resp.StatusCode, ok)
			}
		}
	}
	// With logins a server answers under any name: proxies and certificates decide about those.
	w = start(t, logins)
	req, _ := http.NewRequest("GET", w.http.URL+"/health", nil)
	req.Host = "sync.example.com"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("with logins: got %d, want 200", resp.StatusCode)
	}
}
