package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader is the header of Sign's signature on requests that yjet posts to other services.
const SignatureHeader = "Yjet-Signature"

// Sign returns "t=<Unix seconds>,v1=<hex>", where v1 is the HMAC-SHA256 under secret of "<t>.<body>". The signature covers the
// time, so that an intercepted request cannot be replayed later.
func Sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(signature(secret, t, body))
}

// CheckSignature returns nil when header is Sign's signature of body and its time is at most within away from now.
func CheckSignature(secret []byte, header string, body []byte, within time.Duration) error {
	t, v1, ok := strings.Cut(header, ",v1=")
	t, ok2 := strings.CutPrefix(t, "t=")
	sec, err := strconv.ParseInt(t, 10, 64)
	sum, err2 := hex.DecodeString(v1)
	if !ok || !ok2 || err != nil || err2 != nil {
		return fmt.Errorf("auth: %s: want t=<seconds>,v1=<hex>", SignatureHeader)
	}
	if !hmac.Equal(sum, signature(secret, t, body)) {
		return fmt.Errorf("auth: %s: not made with this secret, or of another body", SignatureHeader)
	}
	if d := time.Since(time.Unix(sec, 0)).Abs(); d > within {
		return errors.New("auth: " + SignatureHeader + ": too old or from the future")
	}
	return nil
}

func signature(secret []byte, t string, body []byte) []byte {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(t))
	m.Write([]byte("."))
	m.Write(body)
	return m.Sum(nil)
}
