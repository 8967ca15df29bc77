package e2e

import (
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// Y-Sweet's server SDK, unmodified, against a server without login and one with: what an app calls from its backend.
func TestYSweetSDKIsServed(t *testing.T) {
	t.Parallel()
	d := newDriver(t)
	dev, closed := startDev(t), startJWT(t)
	for _, c := range []struct {
		name, url string
	}{
		{"open", "ys://" + dev.host},
		{"below a path", "ys://" + pathProxy(t, dev.host, "/ysweet")},
		{"login", "ys://" + mint(t, jwt.MapClaims{"sub": "backend"}) + "@" + closed.host},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := d.as(t)
			call := func(v any, method string, args ...any) {
				t.Helper()
				if err := d.call("sdk", M{"url": c.url, "method": method, "args": append([]any{}, args...)}, v); err != nil {
					t.Fatal(err)
				}
			}
			type bytes struct {
				Bytes []byte `json:"bytes"`
			}
			var store struct{ OK bool }
			if call(&store, "checkStore"); !store.OK {
				t.Error("checkStore: not ok")
			}
			var made struct{ DocID string }
			if call(&made, "createDoc", "plan"); made.DocID != "plan" {
				t.Errorf("createDoc: got %q, want plan", made.DocID)
			}
			var state bytes
			if call(&state, "getDocAsUpdate", "plan"); len(state.Bytes) == 0 {
				t.Error("a document without edits: got nothing, want an empty update")
			}
			update := []byte{1, 1, 7, 0, 4, 1, 1, 't', 2, 'h', 'i', 0} // "hi" into the text t
			call(nil, "updateDoc", "plan", bytes{update})
			call(&state, "getDocAsUpdate", "plan")
			if !strings.Contains(string(state.Bytes), "hi") {
				t.Errorf("after updateDoc: got %q", state.Bytes)
			}
			if call(&made, "createDocWithContent", bytes{update}); made.DocID == "" || made.DocID == "plan" {
				t.Errorf("createDocWithContent: got %q, want a new name", made.DocID)
			}
			var token map[string]any
			if call(&token, "getOrCreateDocAndToken", "plan"); !strings.HasSuffix(token["baseUrl"].(string), "/d/plan") {
				t.Errorf("client token: got %v", token)
			}
			call(&state, "connection", token, "getAsUpdate")
			if !strings.Contains(string(state.Bytes), "hi") {
				t.Errorf("DocConnection: got %q", state.Bytes)
			}
			call(nil, "connection", token, "updateDoc", bytes{[]byte{1, 1, 8, 0, 4, 1, 1, 't', 3, 'y', 'o', 'u', 0}})
			call(&state, "connection", token, "getAsUpdate")
			if !strings.Contains(string(state.Bytes), "you") {
				t.Errorf("DocConnection.updateDoc: got %q", state.Bytes)
			}
			call(&token, "getClientToken", "plan", M{"authorization": "read-only"})
			if token["authorization"] != "read-only" {
				t.Errorf("client token: got %v, want read-only", token)
			}
			if c.name != "login" {
				return
			}
			err := d.call("sdk", M{"method": "connection", "args": []any{token, "updateDoc", bytes{update}}}, nil)
			if err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("an update with a read-only token: got %v, want 403", err)
			}
			err = d.call("sdk", M{"url": "ys://" + closed.host, "method": "getClientToken", "args": []any{"plan"}}, nil)
			if err == nil || !strings.Contains(err.Error(), "NoAuthProvided") {
				t.Errorf("without a token: got %v, want NoAuthProvided", err)
			}
		})
	}
}
