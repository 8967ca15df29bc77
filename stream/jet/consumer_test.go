package jet

import (
	"testing"
	"time"
)

func TestDeliveryOf(t *testing.T) {
	at := time.Unix(1_700_000_000, 123456789).UTC()
	for reply, want := range map[string]delivery{
		"$JS.ACK.YDOC_00.c.1.812.3.1700000000123456789.7":               {812, 3, at},
		"$JS.ACK.hub.Acc0unt.YDOC_00.c.1.812.3.1700000000123456789.7":   {812, 3, at},
		"$JS.ACK.hub.Acc0unt.YDOC_00.c.1.812.3.1700000000123456789.7.r": {812, 3, at},
	} {
		if got, ok := deliveryOf(reply); !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", reply, got, ok, want)
		}
	}
	for _, reply := range []string{"", "_INBOX.x.1", "$JS.ACK.YDOC_00.c.1.812.3.7", "$JS.ACK.YDOC_00.c.1.0.3.1700000000123456789.7",
		"$JS.ACK.YDOC_00.c.1.x.3.1700000000123456789.7", "$JS.ACK.YDOC_00.c.1.812.-3.1700000000123456789.7", "$JS.ACK.YDOC_00.c.1.812.3..7"} {
		if got, ok := deliveryOf(reply); ok {
			t.Errorf("%s was read as %+v", reply, got)
		}
	}
}
