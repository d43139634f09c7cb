package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// Headers of a call.
const (
	// SignatureHeader holds the signature: see Sign.
	SignatureHeader = "Sluice-Signature"
	// KeyHeader holds the idempotency key, by the name that draft-ietf-httpapi-idempotency-key-header gives it.
	KeyHeader = "Idempotency-Key"
)

// Sign returns the value of SignatureHeader for a body that is sent at that time: "t=T,v1=S", where T is the time in
// seconds since 1970 and S the HMAC-SHA256 of "T.BODY" in hexadecimal. The time is signed too, so that a receiver can
// turn away what was recorded and sent again.
func Sign(key []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return fmt.Sprintf("t=%s,v1=%s", t, hex.EncodeToString(mac.Sum(nil)))
}
