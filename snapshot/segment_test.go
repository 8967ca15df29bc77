package snapshot

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"yjet/stream"
)

func someRecords(rnd *rand.Rand, n int) []stream.Record {
	recs := make([]stream.Record, n)
	seq, ms := stream.Seq(rnd.Uint64N(1e12)), int64(1_700_000_000_000)
	counts := map[uint64]uint64{}
	for i := range recs {
		seq += 1 + stream.Seq(rnd.IntN(3))
		ms += rnd.Int64N(1000) - 100 // clocks may go back
		r := stream.Record{Seq: seq, Time: time.UnixMilli(ms).UTC(), Merged: 1 + rnd.IntN(3), Update: make([]byte, rnd.IntN(60))}
		for k := range r.Update {
			r.Update[k] = byte(rnd.IntN(7))
		}
		r.Stored = r.Time
		if rnd.IntN(5) == 0 {
			r.Stored = r.Time.Add(time.Duration(rnd.Int64N(1e9)) * time.Millisecond)
		}
		if rnd.IntN(4) > 0 {
			r.User, r.Conn = fmt.Sprint("user ", rnd.IntN(3)), fmt.Sprint("c", rnd.IntN(5))
			w := 1 + rnd.Uint64N(3)<<60
			if rnd.IntN(9) > 0 { // now and then a repeated count
				counts[w]++
			}
			r.Sum = stream.Sum{CRC: crc32.Checksum(r.Update, castagnoli), Writer: w, N: max(counts[w], 1)}
		}
		recs[i] = r
	}
	return recs
}

func TestSegmentKeepsEverything(t *testing.T) {
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		want := someRecords(rnd, 1+rnd.IntN(100))
		b := c.pack(want)
		got, sizes, err := c.unpack(b, true)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range want {
			if !bytes.Equal(got[i].Update, want[i].Update) || sizes[i] != len(want[i].Update) {
				t.Fatalf("seed %d: update %d = %x, want %x", seed, i, got[i].Update, want[i].Update)
			}
			got[i].Update, want[i].Update = nil, nil
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("seed %d: record %d = %+v, want %+v", seed, i, got[i], want[i])
			}
		}
		if _, again, err := c.unpack(b, false); err != nil || !reflect.DeepEqual(again, sizes) {
			t.Fatalf("seed %d: sizes without bodies = %v, %v; want %v", seed, again, err, sizes)
		}
	}
}

func TestDamagedSegmentIsNeverReadAsWhole(t *testing.T) {
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	rnd := rand.New(rand.NewPCG(1, 2))
	whole := c.pack(someRecords(rnd, 50))
	want, _, err := c.unpack(whole, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []struct {
		name string
		f    func([]byte) []byte
	}{
		{"a flipped bit", func(b []byte) []byte { b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8); return b }},
		{"a cut", func(b []byte) []byte { return b[:rnd.IntN(len(b))] }},
		{"a zeroed run", func(b []byte) []byte { clear(b[rnd.IntN(len(b)-8):][:8]); return b }},
	} {
		for range 300 {
			b := damage.f(bytes.Clone(whole))
			if bytes.Equal(b, whole) {
				continue
			}
			// A bit of a frame's header may be without meaning; what is read must be an error or the truth.
			if got, _, err := c.unpack(b, true); err == nil && !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: unpacked other records without an error", damage.name)
			}
		}
	}
}

func FuzzSegment(f *testing.F) {
	c, err := newCodec()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.pack(someRecords(rand.New(rand.NewPCG(3, 4)), 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		recs, _, err := c.unpack(b, true)
		if err == nil && len(recs) == 0 {
			t.Error("no records and no error")
		}
	})
}
