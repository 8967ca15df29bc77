package yjet

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The house has floors: what each room may import of ours, and the one thing it must never see. A new room goes into this table.
var floors = map[string]struct {
	may   []string
	never []string
	why   string
}{
	"yjet":                    {nil, nil, "the root only embeds nats.conf"},
	"yjet/internal/yjs":       {nil, []string{"context", "log/slog", "net", "net/http", "time", "github.com/nats-io/nats.go"}, "the codec is pure: bytes in, bytes out"},
	"yjet/internal/patch":     {[]string{"yjet/internal/yjs"}, []string{"context", "log/slog", "net", "net/http", "time", "github.com/nats-io/nats.go"}, "edits are pure: JSON and a document in, an update out"},
	"yjet/internal/blockfile": {nil, []string{"log/slog", "net", "net/http", "github.com/nats-io/nats.go"}, "files of a stopped nats-server, nothing else"},
	"yjet/internal/natsd":     {[]string{"yjet", "yjet/internal/blockfile"}, []string{"net/http"}, "a nats-server inside the process; it knows no documents"},
	"yjet/internal/natstest":  {[]string{"yjet", "yjet/internal/natsd"}, nil, "a real nats-server for tests"},
	"yjet/internal/testlog":   {nil, []string{"github.com/nats-io/nats.go"}, "a log for tests to read"},
	"yjet/web":                {nil, []string{"github.com/nats-io/nats.go"}, "the built page"},
	"yjet/stream/name":        {nil, []string{"context", "log/slog", "net", "net/http", "github.com/nats-io/nats.go"}, "names are pure: text in, text out"},
	"yjet/stream/jet":         {nil, []string{"net/http", "github.com/nats-io/nats-server/v2/server", "github.com/gorilla/websocket"}, "messages and streams, no documents"},
	"yjet/stream/bucket":      {[]string{"yjet/stream/name", "yjet/stream/jet"}, []string{"net/http", "github.com/nats-io/nats-server/v2/server", "github.com/gorilla/websocket"}, "what lies beside the log"},
	"yjet/stream":             {[]string{"yjet/stream/name", "yjet/stream/jet", "yjet/stream/bucket"}, []string{"net/http", "github.com/nats-io/nats-server/v2/server", "github.com/gorilla/websocket"}, "the log does not know what a CRDT is"},
	"yjet/auth":               {nil, []string{"github.com/nats-io/nats.go", "github.com/gorilla/websocket"}, "rights know neither the log nor sockets"},
	"yjet/snapshot":           {[]string{"yjet/stream", "yjet/stream/name", "yjet/internal/yjs"}, []string{"net/http", "github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2/server", "github.com/gorilla/websocket"}, "folds know neither sessions nor NATS"},
	"yjet/ingest/outbound":    {[]string{"yjet/stream", "yjet/snapshot", "yjet/auth", "yjet/internal/yjs"}, []string{"github.com/nats-io/nats.go", "github.com/gorilla/websocket"}, "calls of other services know no sockets"},
	"yjet/ingest":             {[]string{"yjet/stream", "yjet/snapshot", "yjet/auth", "yjet/internal/yjs", "yjet/internal/patch", "yjet/ingest/outbound"}, []string{"github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2/server"}, "the door knows no NATS types"},
	"yjet/cmd/yjet":           {[]string{"yjet", "yjet/web", "yjet/stream", "yjet/snapshot", "yjet/auth", "yjet/ingest", "yjet/ingest/outbound", "yjet/internal/yjs", "yjet/internal/natsd"}, []string{"github.com/nats-io/nats-server/v2/server"}, "the roof wires"},
	"yjet/docs":               {nil, nil, "only tests, of the examples in the pages"},
	"yjet/e2e":                {nil, nil, "drives the built binary from outside"},
	"yjet/e2e/needs":          {nil, nil, "finds the programs that tests use"},
	"yjet/e2e/needs/node":     {nil, nil, "a test alone"},
	"yjet/e2e/needs/chromium": {nil, nil, "a test alone"},
	"yjet/e2e/needs/root":     {nil, nil, "a test alone"},
}

func TestImportsPointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, "yjet/examples/") {
			continue
		}
		floor, ok := floors[p.ImportPath]
		if !ok {
			t.Errorf("%s has no place in the table of floors", p.ImportPath)
			continue
		}
		seen++
		for _, i := range p.Imports {
			ours := i == "yjet" || strings.HasPrefix(i, "yjet/")
			if ours && !slices.Contains(floor.may, i) {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, floor.why)
			}
			for _, n := range floor.never {
				if i == n || strings.HasPrefix(i, n+"/") && n != "net" {
					t.Errorf("%s imports %s: %s", p.ImportPath, i, floor.why)
				}
			}
		}
	}
	if seen < 8 {
		t.Errorf("saw %d rooms of the table, want at least 8", seen)
	}
}
