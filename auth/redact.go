package auth

import (
	"fmt"
	"log/slog"
	"regexp"
)

// Redacted replaces a token.
const Redacted = "REDACTED"

var (
	// In a query, a form, or a list of settings.
	secretParameter = regexp.MustCompile(`(?i)\b(token|access_token|refresh_token|id_token|yauth|jwt|apikey|api_key|secret|password)(=|%3d)[^&\s"'#;,<>]+`)
	// In a header.
	bearer = regexp.MustCompile(`(?i)\bbearer([ .]|%20|\+)+[A-Za-z0-9._~+/=-]+`)
	// Anywhere: every JWT begins with "eyJ", the start of a JSON object in base64url.
	bareToken = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]*){0,2}|\bsb_(secret|publishable)_[A-Za-z0-9_-]+`)
)

// Redact replaces tokens and secrets in a text that may contain a URL, a header or an error of a library.
func Redact(s string) string {
	s = secretParameter.ReplaceAllString(s, "${1}${2}"+Redacted)
	s = bearer.ReplaceAllString(s, "bearer "+Redacted)
	return bareToken.ReplaceAllString(s, Redacted)
}

// RedactAttr is a slog.HandlerOptions.ReplaceAttr that redacts every logged value. It is the last safeguard: callers redact too.
func RedactAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(Redact(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			a.Value = slog.StringValue(Redact(v.Error()))
		case fmt.Stringer:
			a.Value = slog.StringValue(Redact(v.String()))
		}
	}
	return a
}
