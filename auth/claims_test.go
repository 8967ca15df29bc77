package auth

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

// slowObject says the same by way of the standard library's tokens. twice is true where any object gives a name twice.
func slowObject(data []byte) (m map[string]any, twice bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	var value func() bool
	value = func() bool {
		t, err := d.Token()
		if err != nil {
			return false
		}
		switch t {
		case json.Delim('{'):
			seen := map[any]bool{}
			for d.More() {
				name, err := d.Token()
				if err != nil {
					return false
				}
				twice = twice || seen[name]
				seen[name] = true
				if !value() {
					return false
				}
			}
			d.Token()
		case json.Delim('['):
			for d.More() {
				if !value() {
					return false
				}
			}
			d.Token()
		}
		return true
	}
	value()
	json.Unmarshal(data, &m)
	return m, twice
}

func FuzzClaimsAreReadAsTheStandardLibraryDoes(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":[ ] } `, `{"a":{"b":[{"c":"d\"}"}]},"e":-1.5e+9,"f":true,"g":null}`, `{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":2}}`, `[{"a":1}]`,
		`{"a":"\\"}`, `{"a":[1,[2,{"b":3}]],"c":""}`, `{"":0}`, `{"a":1,}`, `{"a" 1}`, `{"a":}`, `{"a":tru}`, `{"A":1,"a":2}`, `{"a":"\ud800"}`, `null`, `"a"`, `{`, `{"`, `{"a":[`, `{"a":"\`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := readObject(data, nil) // no panic, whatever comes
		if !json.Valid(data) || bytes.Count(data, []byte("[")) > maxDepth || bytes.Count(data, []byte("{")) > maxDepth || !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
			return
		}
		want, twice := slowObject(data)
		switch {
		case err == errTwice:
			if !twice {
				t.Fatalf("%q: a name given twice, says only one", data)
			}
		case err != nil:
			if string(data) == string(bytes.ToValidUTF8(data, nil)) {
				t.Fatalf("%q: %v", data, err)
			}
		case twice:
			t.Fatalf("%q: a name is given twice, and was not seen", data)
		default:
			got := map[string]any{}
			for _, m := range list {
				var v any
				if err := json.Unmarshal(m.raw, &v); err != nil {
					t.Fatalf("%q: value %q: %v", data, m.raw, err)
				}
				got[string(m.name)] = v
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: got %v, want %v", data, got, want)
			}
		}
	})
}
