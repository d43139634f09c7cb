package loadtester

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

// SignatureHeader holds the signature of a call: "t=T,v1=S", where T is the time in seconds since 1970 and S the
// HMAC-SHA256 of "T.BODY" in hexadecimal. It is the scheme of the operator's hooks.
const SignatureHeader = "Sluice-Signature"

// signatureAge is how far off the time of a signature may be.
const signatureAge = 5 * time.Minute

var (
	errNotSigned = errors.New("the call has no signature")
	errSignature = errors.New("the call's signature is not right")
	errOld       = errors.New("the call's signature is of another time")
)

// Sign is the value of SignatureHeader for a body that is sent at that time.
func Sign(key []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return fmt.Sprintf("t=%s,v1=%s", t, hex.EncodeToString(signatureOf(key, t, body)))
}

func signatureOf(key []byte, t string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// verify tells whether a header signs a body with that key, not longer than five minutes ago.
func verify(key []byte, header string, body []byte, now time.Time) error {
	if header == "" {
		return errNotSigned
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		fields[name] = value
	}
	seconds, err := strconv.ParseInt(fields["t"], 10, 64)
	if err != nil {
		return errSignature
	}
	got, err := hex.DecodeString(fields["v1"])
	if err != nil || !hmac.Equal(signatureOf(key, fields["t"], body), got) {
		return errSignature
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > signatureAge {
		return errOld
	}
	return nil
}
