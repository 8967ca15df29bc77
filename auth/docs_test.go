package auth

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// blocks are the code blocks of a kind in the page on rights.
func blocks(t *testing.T, kind string) (list []string) {
	t.Helper()
	page, err := os.ReadFile("../docs/auth.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```"+kind+"\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		list = append(list, m[1])
	}
	return list
}

func TestExamplesOfThePageAreTaken(t *testing.T) {
	rules := 0
	for _, text := range blocks(t, "json") {
		if strings.Contains(text, `"rules"`) {
			list, err := parseRules([]byte(text))
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			rules += len(list)
			continue
		}
		if strings.Contains(text, `"msg":"refused"`) {
			continue // TestRefusalInThePageIsWhatTheLogSays
		}
		var c jwt.MapClaims
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		list, err := readObject([]byte(text), nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		docs, there := readDocsClaim(&claimSet{[]byte(text), list}, []string{"app_metadata", "docs"})
		if !there || docs.mode("team-7/a/b") != ReadWrite || docs.mode("handbook/a") != Read || docs.mode("handbook/a/b") != None {
			t.Errorf("%s: got %v", text, docs)
		}
	}
	if rules != 3 {
		t.Errorf("got %d rules in the page, want 3", rules)
	}
}

func TestRefusalInThePageIsWhatTheLogSays(t *testing.T) {
	a, _ := newTest(t, Options{Secret: testSecret, Issuer: "https://id.example", Audience: "collab"})
	_, err := a.Grant(t.Context(), Request{Doc: "notes", Token: hmacKey(testSecret).token("https://id.example", claims{"aud": "other"})})
	var b bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, at slog.Attr) slog.Attr {
		if at.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return at
	}}))
	log.Info("refused", append([]any{"path", "/notes", "reason", Reason(err)}, LogAttrs(err)...)...)
	if list := blocks(t, "json"); !slices.Contains(list, b.String()) {
		t.Errorf("the log says %s, which is not in the page", b.String())
	}
}

func TestPagesCheckOfSignaturesAgrees(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no node")
		}
		t.Skip("NO NODE: the page's check of signatures was not tried")
	}
	body := `{"document":"é","claims":{}}`
	secret := "callback-secret-0123456789"
	now := time.Now()
	script := blocks(t, "js")[0]
	for _, c := range []struct {
		header, body string
	}{
		{Sign([]byte(secret), now, []byte(body)), body},
		{Sign([]byte(secret), now, []byte(body)), body + " "},
		{Sign([]byte("another secret"), now, []byte(body)), body},
		{Sign([]byte(secret), now.Add(-time.Hour), []byte(body)), body},
		{"t=1,v1=00", body},
	} {
		args, _ := json.Marshal([]string{c.header, c.body, secret})
		script += "\nconsole.log(signedByYjet(..." + string(args) + "))"
	}
	script += "\nconsole.log(signedByYjet(undefined, '', 'x'))"
	cmd := exec.Command(node, "--input-type=module", "-e", script)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); strings.Join(got, " ") != "true false false false false false" {
		t.Errorf("got %v, want the first alone to be true", got)
	}
}
