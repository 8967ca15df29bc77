package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"yjet/stream"
	"yjet/stream/name"
)

// Version is a named moment. Its state is stored as a fold, so it outlives the history around it.
type Version struct {
	Name    string     `json:"name"`
	Seq     stream.Seq `json:"seq"`
	Time    time.Time  `json:"time"` // of the moment
	User    string     `json:"user,omitempty"`
	Created time.Time  `json:"created"`
}

// ErrExists: the document has a version of that name.
var ErrExists = errors.New("snapshot: a version of that name exists")

// ErrVersions: the document has as many versions as Options.MaxVersions allows.
var ErrVersions = errors.New("snapshot: too many versions")

// ErrVersionName: a version's name is 1 to 100 bytes of UTF-8 without control characters.
var ErrVersionName = errors.New("snapshot: bad version name: want 1 to 100 bytes of text")

// The key of a version is version.<name>.<doc>, the name being one token; versionsOf is the filter of all versions of a document.
func versionsOf(doc stream.Doc) string { return "version.*." + doc.Path() }

func versionKey(doc stream.Doc, version string) (string, error) {
	if version == "" || len(version) > 100 || !utf8.ValidString(version) || strings.ContainsFunc(version, unicode.IsControl) {
		return "", ErrVersionName
	}
	return "version." + name.Token(version) + "." + doc.Path(), nil
}

// versionList reads the names of moments; they are keys of ymeta.
type versionList struct {
	*core
}

// Versions lists the named moments of doc, newest moment first.
func (s *versionList) Versions(ctx context.Context, doc stream.Doc) ([]Version, error) {
	entries, err := s.log.Meta().List(ctx, versionsOf(doc))
	if err != nil {
		return nil, err
	}
	list := make([]Version, 0, len(entries))
	for _, e := range entries {
		var v Version
		if err := json.Unmarshal(e.Value, &v); err != nil {
			s.lg.Warn("version entry does not decode", "key", e.Key, "err", err)
			continue
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b Version) int {
		if a.Seq != b.Seq {
			return int(b.Seq) - int(a.Seq)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list, nil
}

// Version returns the version of that name. ErrNotFound: there is none.
func (s *versionList) Version(ctx context.Context, doc stream.Doc, name string) (Version, error) {
	key, err := versionKey(doc, name)
	if err != nil {
		return Version{}, err
	}
	e, ok, err := s.log.Meta().Get(ctx, key)
	if err != nil {
		return Version{}, err
	}
	if !ok {
		return Version{}, fmt.Errorf("%w: version %q of %q", ErrNotFound, name, doc)
	}
	var v Version
	return v, json.Unmarshal(e.Value, &v)
}

// versions names moments and keeps their states.
type versions struct {
	*core
	*blobs
	*history
	*versionList
	*compactor
}

// PutVersion names a moment of doc. It stores the name before the fold, so that another server that finds the fold in the head also finds
// the name and keeps the fold.
func (s *versions) PutVersion(ctx context.Context, doc stream.Doc, name string, m Moment, user string) (Version, error) {
	key, err := versionKey(doc, name)
	if err != nil {
		return Version{}, err
	}
	st, err := s.At(ctx, doc, m)
	if err != nil {
		return Version{}, err
	}
	if st.Seq == 0 {
		return Version{}, fmt.Errorf("%w: %q had no record at that moment", ErrNotFound, doc)
	}
	if err := s.mayName(ctx, doc, name); err != nil {
		return Version{}, err
	}
	v := Version{Name: name, Seq: st.Seq, Time: st.Time.UTC(), User: user, Created: time.Now().UTC().Truncate(time.Millisecond)}
	js, err := json.Marshal(v)
	if err != nil {
		return Version{}, err
	}
	var fresh uint64
	if _, err := s.log.Meta().Put(ctx, key, js, &fresh); errors.Is(err, stream.ErrConflict) {
		return Version{}, fmt.Errorf("%w: %q", ErrExists, name)
	} else if err != nil {
		return Version{}, err
	}
	if err := s.pin(ctx, doc, st); err != nil {
		return Version{}, errors.Join(err, s.log.Meta().Delete(context.WithoutCancel(ctx), key))
	}
	return v, nil
}

// mayName refuses a new name beyond Options.MaxVersions; concurrent calls may each pass. An existing name passes: PutVersion has its own
// error for it.
func (s *versions) mayName(ctx context.Context, doc stream.Doc, name string) error {
	list, err := s.Versions(ctx, doc)
	if err != nil {
		return err
	}
	if len(list) < s.opt.MaxVersions || slices.ContainsFunc(list, func(v Version) bool { return v.Name == name }) {
		return nil
	}
	return fmt.Errorf("%w: %q has %d", ErrVersions, doc, len(list))
}

// DeleteVersion removes the name; the fold is removed when the head is next replaced.
func (s *versions) DeleteVersion(ctx context.Context, doc stream.Doc, name string) error {
	if _, err := s.Version(ctx, doc, name); err != nil {
		return err
	}
	key, err := versionKey(doc, name)
	if err != nil {
		return err
	}
	return s.log.Meta().Delete(ctx, key)
}

// pin adds the state to the head's list of folds.
func (s *versions) pin(ctx context.Context, doc stream.Doc, st State) error {
	for range 5 {
		h, _, err := s.snapHead(ctx, doc)
		if err != nil {
			return err
		}
		if h == nil || h.upto < st.Seq {
			// The moment is still in the log; fold first, so that a head can list it.
			if _, err := s.Fold(ctx, doc); err != nil {
				return err
			}
			continue
		}
		if h.fold(st.Seq) != nil {
			return nil
		}
		_, err = s.amend(ctx, doc, h, func(c *compaction) (bool, error) {
			return true, c.addFold(ctx, st.Seq, st.Time.UnixMilli(), st.Update)
		})
		if !errors.Is(err, ErrRaced) {
			return err
		}
	}
	return ErrRaced
}

// versionSeqs are the sequences that versions of doc stand for.
func (s *versionList) versionSeqs(ctx context.Context, doc stream.Doc) (map[stream.Seq]bool, error) {
	list, err := s.Versions(ctx, doc)
	if err != nil {
		return nil, err
	}
	seqs := make(map[stream.Seq]bool, len(list))
	for _, v := range list {
		seqs[v.Seq] = true
	}
	return seqs, nil
}
