package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A setting has four places, and the strongest that has it wins. Each kind of value is tried in all four.
func TestEveryKindOfSettingObeysTheOrderOfItsPlaces(t *testing.T) {
	for _, c := range []struct {
		flag, env               string
		byFlag, byEnv, byFile   string
		read                    func(c config) string
		wantFlag, wantEnv, file string
		none                    string
	}{
		{"history", "YJET_HISTORY", "3d", "2d", "1d", func(c config) string { return c.history }, "3d", "2d", "1d", "all"},
		{"shards", "YJET_SHARDS", "3", "2", "1", func(c config) string { return fmt.Sprint(c.shards) }, "3", "2", "1", "0"},
		{"compact-after", "YJET_COMPACT_AFTER", "3s", "2s", "1s", func(c config) string { return c.compactAfter.String() }, "3s", "2s", "1s", (30 * time.Second).String()},
		{"pprof", "YJET_PPROF", "false", "true", "true", func(c config) string { return fmt.Sprint(c.pprof) }, "false", "true", "true", "false"},
		{"jwt-secret", "YJET_JWT_SECRET", "c", "b", "a", func(c config) string { return c.auth.jwtSecret }, "c", "b", "a", ""},
		{"max-document", "YJET_MAX_DOCUMENT", "3", "2", "1", func(c config) string { return fmt.Sprint(c.limits.Document) }, "3", "2", "1", fmt.Sprint(50 << 20)},
	} {
		file := writeFile(t, "yjet.conf", c.flag+": "+c.byFile+"\n")
		for _, place := range []struct {
			name    string
			args    []string
			environ []string
			want    string
		}{
			{"flag", []string{"--config", file, "--" + c.flag + "=" + c.byFlag}, []string{c.env + "=" + c.byEnv}, c.wantFlag},
			{"environment", []string{"--config", file}, []string{c.env + "=" + c.byEnv}, c.wantEnv},
			{"file", []string{"--config", file}, nil, c.file},
			{"file, named by the environment", nil, []string{"YJET_CONFIG=" + file}, c.file},
			{"an empty variable says nothing", []string{"--config", file}, []string{c.env + "="}, c.file},
			{"default", nil, nil, c.none},
		} {
			got, _, err := loadConfig(t, place.args, place.environ...)
			if err != nil || c.read(got) != place.want {
				t.Errorf("--%s by %s: got %q, %v, want %q", c.flag, place.name, c.read(got), err, place.want)
			}
		}
	}
}

func TestMistakesInFilesNameTheirLine(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		says string
	}{
		{"no colon", []string{"--config", writeFile(t, "a.conf", "# first\nhistory 90d\n")}, "a.conf:2"},
		{"no equals sign", []string{"--env-file", writeFile(t, ".env", "A=1\nB\n")}, ".env:2"},
		{"a number that is none", []string{"--config", writeFile(t, "b.conf", "shards: many\n")}, "b.conf: shards"},
		{"no such file", []string{"--config", "/does/not/exist"}, "--config"},
		{"no such secret", []string{"--jwt-secret-file", "/does/not/exist"}, "jwt-secret-file"},
	} {
		_, _, err := loadConfig(t, c.args)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want something with %q", c.name, err, c.says)
		}
	}
}
