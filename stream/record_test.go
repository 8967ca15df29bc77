package stream

import "testing"

func TestSumsAreReadAsTheyAreWritten(t *testing.T) {
	s := Sum{CRC: 0x00ab00cd, Writer: 0x0102030405060708, N: 12345}
	if got, want := s.String(), "00ab00cd-0102030405060708-12345"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, ok := parseSum(s.String()); !ok || got != s {
		t.Errorf("read back as %v, %v", got, ok)
	}
	for _, bad := range []string{"", "00ab00cd-0102030405060708-", "00ab00cd-0102030405060708-0", "00ab00cd-0000000000000000-1",
		"00ab00cd-0102030405060708--1", "00ab00cd_0102030405060708-1", "x0ab00cd-0102030405060708-1", "00ab00cd-010203040506070-11"} {
		if got, ok := parseSum(bad); ok {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
	// "123456789" is the check value of CRC-32C.
	if got := Checksum([]byte("123456789")); got != "e3069283" {
		t.Errorf("checksum is %s, want e3069283", got)
	}
}
