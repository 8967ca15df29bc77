package ingest

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"yjet/internal/yjs"
)

// matches reports whether an If-None-Match lists a tag, or any. Proxies that compress make a tag weak on its way out, and it
// comes back so.
func matches(fields []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(fields, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// formOf reads the requested form: ?format= before Accept.
func formOf(r *http.Request) (string, error) {
	if f := r.URL.Query().Get("format"); f != "" {
		if !slices.Contains([]string{"update", "update-v2", "json", "text", "vector"}, f) {
			return "", errors.New("format is update, update-v2, json, text or vector")
		}
		return f, nil
	}
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" {
		return "update", nil
	}
	// The one that is liked best; of equals the first.
	best, liked := "", 0.0
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		like := 1.0
		if q, ok := params["q"]; ok {
			if like, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		form := ""
		switch kind {
		case "application/octet-stream", "application/vnd.yjs.update", "*/*", "application/*":
			form = "update"
		case "application/vnd.yjs.update.v2":
			form = "update-v2"
		case "application/json":
			form = "json"
		case "text/plain", "text/*":
			form = "text"
		}
		if form != "" && like > liked {
			best, liked = form, like
		}
	}
	if best != "" {
		return best, nil
	}
	return "", errors.New("this route answers application/octet-stream, application/vnd.yjs.update.v2, application/json or text/plain")
}

// kindsOf reads ?type=name:kind, as often as it comes.
func kindsOf(list []string) (map[string]yjs.Kind, []string, error) {
	kinds := map[string]yjs.Kind{}
	var names []string
	for _, v := range list {
		name, kind := v, yjs.KindAuto
		if i := strings.LastIndexByte(v, ':'); i >= 0 {
			k, ok := yjs.ParseKind(v[i+1:])
			if !ok {
				return nil, nil, errors.New("type " + quote(v) + ": the kind is map, array, text or xml")
			}
			name, kind = v[:i], k
		}
		kinds[name] = kind
		names = append(names, name)
	}
	return kinds, names, nil
}

const (
	renderBytes = 64 << 20 // of an answer: more than a document may have. Without it a few bytes could ask for an answer without end
	renderWork  = 1 << 30  // bytes and items gone over, some seconds
)

// render writes a state in a form. The error has a cause.
func render(ctx context.Context, update []byte, form string, kinds map[string]yjs.Kind, names []string) (body []byte, contentType string, err error) {
	switch form {
	case "update":
		return update, "application/octet-stream", nil
	case "update-v2":
		v2, err := yjs.ToV2(update)
		if err != nil {
			err = because(causeRender, err)
		}
		return v2, "application/vnd.yjs.update.v2", err
	case "vector":
		v, err := yjs.VectorOf(update)
		if err != nil {
			return nil, "", because(causeInternal, err)
		}
		return v.Append(nil), "application/octet-stream", nil
	}
	d := yjs.NewDocument(yjs.DocumentOptions{})
	if err := d.Apply(update); err != nil {
		return nil, "", because(causeInternal, err)
	}
	budget := &yjs.Budget{Bytes: renderBytes, Work: renderWork, Check: ctx.Err}
	if form == "text" {
		contentType = "text/plain; charset=utf-8"
		var ok bool
		if body, ok, err = d.Text(names[0], kinds[names[0]], budget); err == nil && !ok && len(d.Roots()) > 0 { // before its first edit a document has no type yet
			err = causeNoType
		}
	} else {
		contentType = "application/json; charset=utf-8"
		body, err = d.JSON(kinds, budget)
		body = append(body, '\n')
	}
	return body, contentType, err
}
