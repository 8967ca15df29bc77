package name

import (
	"strings"
	"testing"
)

// A program may set headers of its own on a custom message: any field but those by which NATS and the servers steer.
func TestHeaderFieldsOfNATSAndOfTheServersAreNotForOthers(t *testing.T) {
	for field, want := range map[string]bool{
		"Kind": true, "X-App_1": true, "a": true, strings.Repeat("x", 64): true, "Yjet-User": true, "NatsX": true,
		"": false, strings.Repeat("x", 65): false,
		"Nats-Msg-Id": false, "nats-rollup": false, "NATS-TTL": false, "Yjet-Node": false, "yjet-NODE": false,
		"a b": false, "a:b": false, "a\r\nb": false, "é": false, "a.b": false, "\x00": false, "a/b": false,
	} {
		if got := ValidHeader(field); got != want {
			t.Errorf("field %q: allowed %v, want %v", field, got, want)
		}
	}
}

// Values are written as operators read them, and what other programs write comes back as it is.
func TestHeaderValuesAreEscapedOnlyWhereTheyMustBe(t *testing.T) {
	for value, want := range map[string]string{
		"ada": "ada", "Ada Lovelace": "Ada Lovelace", "né 🙂": "né 🙂", "": "",
		"100%": "100%25", " a ": "%20a%20", "  a": "%20 a", " ": "%20", "a\r\nb": "a%0D%0Ab", "\x7f\x00": "%7F%00",
	} {
		if got := EscapeHeader(value); got != want || UnescapeHeader(got) != value {
			t.Errorf("%q: written %q, want %q; read back %q", value, got, want, UnescapeHeader(got))
		}
	}
	for value, want := range map[string]string{"50% off": "50% off", "%": "%", "%4": "%4", "%zz": "%zz", "%4a": "%4a", "%41%": "A%", "a%20": "a "} {
		if got := UnescapeHeader(value); got != want {
			t.Errorf("%q of another program: read %q, want %q", value, got, want)
		}
	}
}
