package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"yjet/snapshot"
	"yjet/stream"
)

// badMoment: a moment that cannot be read.
type badMoment string

// futureMoment: a moment that has not come. Answering with the present would pass off today's state as that of another time.
type futureMoment string

func (v futureMoment) Error() string { return "moment " + quote(string(v)) + " is in the future" }

// clockSlack is how far ahead of this server's clock a client's may be.
const clockSlack = time.Minute

func (v badMoment) Error() string {
	return "moment " + quote(string(v)) + ": want a sequence, an RFC 3339 time such as 2026-01-31T12:00:00Z, an age such as 10m, or the name of a version"
}

// moment reads a moment; text in none of the usual forms is the name of a version.
func (a *api) moment(ctx context.Context, doc stream.Doc, v string) (snapshot.Moment, error) {
	now := time.Now()
	m, err := snapshot.ParseMoment(v, now)
	if err == nil && m.Time.After(now.Add(clockSlack)) {
		return m, futureMoment(v)
	}
	if err == nil {
		return m, nil
	}
	version, verr := a.o.Snapshots.Version(ctx, doc, v)
	switch {
	case verr == nil:
		return snapshot.Moment{Seq: version.Seq}, nil
	case errors.Is(verr, snapshot.ErrNotFound), errors.Is(verr, snapshot.ErrVersionName):
		return m, badMoment(v)
	}
	return m, verr
}

// begin reads ?from=: a sequence is the first that is wanted, a time the last that is not. The second result says from where on.
func (a *api) begin(ctx context.Context, doc stream.Doc, v string) (m snapshot.Moment, all bool, err error) {
	if v == "" || v == "0" || v == "1" {
		return snapshot.Moment{}, true, nil
	}
	if m, err = a.moment(ctx, doc, v); err != nil {
		return m, false, err
	}
	if m.Seq > 0 {
		m.Seq--
	}
	return m, m.Now(), nil
}

// moment is one in a body: a text, or a sequence as a number.
type moment string

func (m *moment) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*m = moment(text)
		return nil
	}
	var n uint64
	if err := json.Unmarshal(b, &n); err != nil {
		return errors.New("a moment is a sequence or a text")
	}
	*m = moment(strconv.FormatUint(n, 10))
	return nil
}
