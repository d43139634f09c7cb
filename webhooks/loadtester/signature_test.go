package loadtester

import (
	"errors"
	"testing"
	"time"
)

func TestSignature(t *testing.T) {
	key, body, now := []byte("a key\n"), []byte(`{"name":"podinfo","namespace":"test"}`), time.Unix(1767225600, 0)
	const good = "t=1767225600,v1=4993ad52917c58870761848af6a390a8c3e17749d152c7a8527e7d1135817970" // of another implementation
	if got := Sign(key, now, body); got != good {
		t.Errorf("signed as %q, want %q", got, good)
	}
	for name, tc := range map[string]struct {
		key    string
		header string
		body   string
		after  time.Duration
		want   error
	}{
		"right":                  {header: good},
		"with a field to come":   {header: good + ", v2=abc"},
		"five minutes later":     {header: good, after: 5 * time.Minute},
		"five minutes before":    {header: good, after: -5 * time.Minute},
		"too late":               {header: good, after: 5*time.Minute + time.Second, want: errOld},
		"too early":              {header: good, after: -5*time.Minute - time.Second, want: errOld},
		"no signature":           {want: errNotSigned},
		"another key":            {header: good, key: "a key", want: errSignature},
		"another body":           {header: good, body: "{}", want: errSignature},
		"another time":           {header: "t=1767225601" + good[len("t=1767225600"):], want: errSignature},
		"no time":                {header: good[len("t=1767225600,"):], want: errSignature},
		"no hexadecimal":         {header: "t=1767225600,v1=xyz", want: errSignature},
		"an empty one":           {header: "t=1767225600,v1=", want: errSignature},
		"not a signature at all": {header: "Bearer abc", want: errSignature},
	} {
		t.Run(name, func(t *testing.T) {
			k, b := key, body
			if tc.key != "" {
				k = []byte(tc.key)
			}
			if tc.body != "" {
				b = []byte(tc.body)
			}
			if err := verify(k, tc.header, b, now.Add(tc.after)); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}
