package loadtester

import (
	"strings"
	"testing"
)

func TestOutput(t *testing.T) {
	const limit = 20
	for name, tc := range map[string]struct {
		pieces []string
		want   string
	}{
		"little":                {pieces: []string{"abc\n", "def"}, want: "abc\ndef"},
		"as much as is kept":    {pieces: []string{"0123456789", "ABCDEFGHIJ"}, want: "0123456789ABCDEFGHIJ"},
		"one more":              {pieces: []string{"0123456789", "ABCDEFGHIJK"}, want: "0123456789\n... 1 bytes left out ...\nBCDEFGHIJK"},
		"in one large piece":    {pieces: []string{"0123456789" + strings.Repeat("x", 100) + "ABCDEFGHIJ"}, want: "0123456789\n... 100 bytes left out ...\nABCDEFGHIJ"},
		"in many small ones":    {pieces: strings.Split("0123456789"+strings.Repeat("x", 100)+"ABCDEFGHIJ", ""), want: "0123456789\n... 100 bytes left out ...\nABCDEFGHIJ"},
		"large after small":     {pieces: []string{"0123456789", "aaa", strings.Repeat("x", 97) + "ABCDEFGHIJ"}, want: "0123456789\n... 100 bytes left out ...\nABCDEFGHIJ"},
		"control characters":    {pieces: []string{"a\x1b[1mb\x00\tc\r\n"}, want: "a[1mb\tc"},
		"what is not seen":      {pieces: []string{"a\u202eb\u200b\xffc"}, want: "abc"},
		"other scripts as well": {pieces: []string{"■ naïve"}, want: "■ naïve"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &output{limit: limit}
			for _, piece := range tc.pieces {
				if n, err := o.Write([]byte(piece)); n != len(piece) || err != nil {
					t.Fatalf("wrote %d bytes of %d: %v", n, len(piece), err)
				}
				if kept := len(o.head) + len(o.tail); kept > 2*limit {
					t.Fatalf("%d bytes are kept", kept)
				}
			}
			if got := o.String(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCut(t *testing.T) {
	for text, want := range map[string]string{"abcd": "abcd", "abcde": "…bcde", "a■bc": "…bc"} {
		if got := cut(text, 4); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
