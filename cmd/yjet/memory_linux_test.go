package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"yjet/internal/testlog"
	"yjet/internal/yjs"
)

// TestMemoryLimitRefusesDocumentsInsteadOfDying opens more documents than fit under a memory limit: those beyond are refused, those
// open go on, and the process stays below.
func TestMemoryLimitRefusesDocumentsInsteadOfDying(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "yjet")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	const limit, size, docs = 200 << 20, 2 << 20, 60
	cmd := exec.Command(bin, append(devArgs(t.TempDir()), "--durability", "process")...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%d", limit))
	var logs testlog.Buffer
	cmd.Stderr = &logs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "yjet ready on ")
	if !ok {
		t.Fatalf("no ready line but %q, %v\n%s", line, err, logs.String())
	}

	open, refused := 0, 0
	var first *websocket.Conn
	text := strings.Repeat("x", size)
	for i := 0; i < docs && refused < 3; i++ {
		d := &killDoc{name: fmt.Sprint("memory", i), client: uint64(i + 1)}
		c, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/"+d.name, nil)
		if err != nil {
			if resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
				t.Fatalf("document %d: %v, %v", i, err, resp)
			}
			refused++
			continue
		}
		defer c.Close()
		if err := edit(c, d, text); websocket.IsCloseError(err, 1013) {
			refused++
			continue
		} else if err != nil {
			t.Fatalf("document %d: %v\n%s", i, err, logs.String())
		}
		open++
		if first == nil {
			first = c
		}
		if i == 0 {
			d.acked += size
		}
	}
	t.Logf("%d open, %d refused, %d MiB resident", open, refused, resident(t, cmd.Process.Pid)>>20)
	if open < 10 || refused == 0 {
		t.Errorf("%d documents of %d MiB are open and %d refused under a limit of %d MiB", open, size>>20, refused, limit>>20)
	}
	if r := resident(t, cmd.Process.Pid); r > limit*3/2 {
		t.Errorf("%d MiB resident, the limit is %d", r>>20, limit>>20)
	}
	if err := edit(first, &killDoc{client: 1, acked: size}, "still here"); err != nil {
		t.Errorf("a document that is open: %v", err)
	}
}

// edit sends a step 1 and an insertion, and waits for the insertion's echo.
func edit(c *websocket.Conn, d *killDoc, text string) error {
	u := d.insertion(text)
	b := append(yjs.AppendUvarint([]byte{yjs.MsgSync, yjs.SyncUpdate}, uint64(len(u))), u...)
	if err := c.WriteMessage(websocket.BinaryMessage, []byte{0, 0, 1, 0}); err != nil {
		return err
	}
	if err := c.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		_, m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if bytes.Equal(m, b) {
			return nil
		}
	}
}

func resident(t *testing.T, pid int) (n int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err == nil {
		var all int64
		_, err = fmt.Sscan(string(b), &all, &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n * int64(os.Getpagesize())
}
