package webhooks

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestNewCall(t *testing.T) {
	for name, tc := range map[string]struct {
		hook     v1beta1.CanaryWebhook
		want     Call
		wantKind Kind
		wantText string
	}{
		"plain": {
			hook: v1beta1.CanaryWebhook{Name: "load", URL: "http://tester.test/"},
			want: Call{Hook: "load", URL: "http://tester.test/", Timeout: 10 * time.Second, Key: "k"},
		},
		"everything": {
			hook: v1beta1.CanaryWebhook{
				Name: "gate", URL: "https://gate.test/", Timeout: "3m", Retries: 2, DisableTLS: true, Headers: map[string]string{"X-Team": "shop"},
			},
			want: Call{
				Hook: "gate", URL: "https://gate.test/", Timeout: 3 * time.Minute, Retries: 2, Insecure: true,
				Headers: map[string]string{"X-Team": "shop"}, Key: "k",
			},
		},
		"timeout": {
			hook: v1beta1.CanaryWebhook{URL: "http://a/", Timeout: "soon"}, wantKind: KindInvalid, wantText: "timeout",
		},
		"password in a URL that is none": {
			hook: v1beta1.CanaryWebhook{URL: "http://user:se/cret@host/"}, wantKind: KindRefusedURL, wantText: "url cannot be read",
		},
		"header name": {
			hook: v1beta1.CanaryWebhook{URL: "http://a/", Headers: map[string]string{"a b": ""}}, wantKind: KindInvalid, wantText: "headers",
		},
		"empty header name": {
			hook: v1beta1.CanaryWebhook{URL: "http://a/", Headers: map[string]string{"": ""}}, wantKind: KindInvalid, wantText: "headers",
		},
		"header of the connection": {
			hook: v1beta1.CanaryWebhook{URL: "http://a/", Headers: map[string]string{"hOsT": "b"}}, wantKind: KindInvalid, wantText: "hOsT",
		},
		"header of ours": {
			hook: v1beta1.CanaryWebhook{URL: "http://a/", Headers: map[string]string{"sluice-signature": "b"}}, wantKind: KindInvalid, wantText: "sluice-signature",
		},
		"header with a line break": {
			hook: v1beta1.CanaryWebhook{URL: "http://a/", Headers: map[string]string{"X-A": "b\r\nHost: c"}}, wantKind: KindInvalid, wantText: "X-A",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := NewCall(&tc.hook, Payload{}, Credentials{}, "k")
			if tc.wantKind != "" {
				if KindOf(err) != tc.wantKind || !strings.Contains(err.Error(), tc.wantText) {
					t.Errorf("error is %v of kind %q; want %q with %q", err, KindOf(err), tc.wantKind, tc.wantText)
				}
				if !IsMistake(err) || strings.Contains(err.Error(), "cret") {
					t.Errorf("error is no mistake, or shows a password: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(Credentials{}, tlsMaterial{})); d != "" {
				t.Errorf("call (-want +got):\n%s", d)
			}
		})
	}
}

func TestIdempotencyKey(t *testing.T) {
	got := IdempotencyKey("0b9d", "s1-a", "2", "send to Slack/Größe\n")
	if want := "0b9d/s1-a/2/send%20to%20Slack%2FGr%C3%B6%C3%9Fe%0A"; got != want {
		t.Errorf("key is %q, want %q", got, want)
	}
}

// The digest was made with another implementation of HMAC.
func TestSign(t *testing.T) {
	got := Sign([]byte("key"), time.Unix(1767225600, 999), []byte(`{"name":"podinfo"}`))
	if want := "t=1767225600,v1=8a9dbee6a5200a269ee6475100b43a74f8a58c17ffe923c266ad78e47b7c3ce3"; got != want {
		t.Errorf("signature is %q, want %q", got, want)
	}
}

func TestClean(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		limit int
		want  string
	}{
		"plain":           {"gate closed", 99, "gate closed"},
		"lines":           {"\n a\r\n\tb  \n", 99, "a b"},
		"terminal":        {"\x1b[31mred\x1b[0m\x07", 99, "[31mred [0m"},
		"null":            {"a\x00b", 99, "a b"},
		"invalid":         {"a\xff\xfeb", 99, "ab"},
		"right to left":   {"a\u202eb\u200b", 99, "ab"},
		"other languages": {"größer 门", 99, "größer 门"},
		"too long":        {"0123456789 123456", 10, "0123456789…"},
		"long rune":       {"012345678äö", 10, "012345678…"},
		"just enough":     {"0123456789", 10, "0123456789"},
		"empty":           {"", 10, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := clean(tc.text, tc.limit); got != tc.want {
				t.Errorf("clean(%q) = %q, want %q", tc.text, got, tc.want)
			}
		})
	}
}

func TestCleanTakesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		limit := rapid.IntRange(0, 50).Draw(t, "limit")
		got := clean(text, limit)
		if !utf8.ValidString(got) || len(got) > limit+len("…") || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("clean(%q, %d) = %q", text, limit, got)
		}
	})
}

func TestCredentialsAreNotShown(t *testing.T) {
	credentials, err := ParseSecret(map[string][]byte{HMACKey: []byte("s3cret"), AuthorizationKey: []byte("Bearer s3cret\n")})
	if err != nil {
		t.Fatal(err)
	}
	call := Call{Hook: "h", Credentials: credentials}
	encoded, err := json.Marshal(call)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(call), fmt.Sprintf("%+v", call), fmt.Sprintf("%#v", call), fmt.Sprint(credentials.MarshalLog()), string(encoded),
	} {
		if strings.Contains(shown, "s3cret") || strings.Contains(shown, "115 51") {
			t.Errorf("shows the secret: %s", shown)
		}
	}
}

func TestRedact(t *testing.T) {
	credentials, err := ParseSecret(map[string][]byte{HMACKey: []byte("k3y5"), AuthorizationKey: []byte("Bearer t0ken")})
	if err != nil {
		t.Fatal(err)
	}
	got := credentials.redact("you sent Bearer t0ken; t0ken signed with k3y5 is no Bearer for us")
	if want := "you sent [redacted]; [redacted] signed with [redacted] is no Bearer for us"; got != want {
		t.Errorf("redacted to %q, want %q", got, want)
	}
}

// What is shown of an answer has no credentials, however an endpoint writes them so that they come out of the cleaning.
func TestShown(t *testing.T) {
	credentials, err := ParseSecret(map[string][]byte{HMACKey: []byte("k3y5\n"), AuthorizationKey: []byte("Bearer t0ken-of-ours")})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse("https://user:passw0rd@hooks.test/")
	if err != nil {
		t.Fatal(err)
	}
	call := &prepared{Call: &Call{Credentials: credentials}, url: u}
	for name, tc := range map[string]struct{ answer, want string }{
		"nothing of them":          {"all is well", "all is well"},
		"as they are":              {"Bearer t0ken-of-ours", "[redacted]"},
		"invalid UTF-8 in between": {"t0ken-\x90of-ours", "[redacted]"},
		"what is not seen":         {"t0ken\u200b-of\u202e-ours, passw\u20600rd", "[redacted], [redacted]"},
		"a key without its line":   {"signed with k3y5 you say", "signed with [redacted] you say"},
		"at the end of a long one": {strings.Repeat("x", maxText-8) + "t0ken-of-ours", strings.Repeat("x", maxText-8) + "[redacte…"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := call.shown(tc.answer); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
