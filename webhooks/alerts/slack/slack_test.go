package slack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slacktest"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
	"github.com/sluice-delivery/sluice/webhooks/interactions"
)

const token = "xoxb-secret"

// workspace is slacktest's server, which takes a post only when it can read all of it, and what it was posted.
type workspace struct {
	*slacktest.Server
	mu     sync.Mutex
	posts  []url.Values
	answer func(post url.Values, n int) (status int, header, body string)
}

func newWorkspace(t *testing.T) *workspace {
	w := &workspace{}
	w.Server = slacktest.NewTestServer()
	go w.Start()
	t.Cleanup(w.Stop)
	return w
}

// transport carries requests to the server, and keeps what is posted. A message gets a time stamp of its own, where
// slacktest gives the same to all of a second.
func (w *workspace) transport(*url.URL) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		w.mu.Lock()
		w.posts = append(w.posts, form)
		n := len(w.posts)
		w.mu.Unlock()
		if w.answer != nil {
			if status, header, text := w.answer(form, n); status != 0 {
				rec := httptest.NewRecorder()
				if header != "" {
					rec.Header().Set("Retry-After", header)
				}
				rec.WriteHeader(status)
				fmt.Fprint(rec, text)
				return rec.Result(), nil
			}
		}
		to, err := url.Parse(w.GetAPIURL())
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
		r.URL.Path = "/" + method
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		var said map[string]any
		if err := json.NewDecoder(res.Body).Decode(&said); err != nil {
			return nil, err
		}
		said["ts"] = fmt.Sprintf("ts-%d", n)
		text, err := json.Marshal(said)
		if err != nil {
			return nil, err
		}
		res.Body = io.NopCloser(strings.NewReader(string(text)))
		return res, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *workspace) sender(t *testing.T, change ...func(*alerts.Receiver, *alerts.Kit)) alerts.Sender {
	t.Helper()
	r := alerts.Receiver{Type: "slack", Address: "https://slack.com/api/chat.postMessage", Token: token, Channel: "releases"}
	kit := alerts.Kit{Transport: w.transport}
	for _, c := range change {
		c(&r, &kit)
	}
	s, err := New(r, kit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func message(text, release string, change ...func(*alerts.Alert)) alerts.Message {
	a := alerts.Alert{Namespace: "test", Name: "podinfo", Title: text, Text: text, Release: release, Severity: v1beta1.SeverityInfo, Time: time.Unix(1, 0)}
	for _, c := range change {
		c(&a)
	}
	return alerts.Compose(a)
}

// One release is one thread.
func TestThread(t *testing.T) {
	w := newWorkspace(t)
	s := w.sender(t)
	final := func(a *alerts.Alert) { a.Final = true }
	bad := func(a *alerts.Alert) { a.Severity = v1beta1.SeverityError }
	for _, m := range []alerts.Message{
		message("start", "1"), message("gate", "1"), message("start other", "2"), message("halted", "1", bad),
		message("promoted", "1", final), message("alone", ""), message("end other", "2", final),
	} {
		if err := s.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range w.posts {
		got = append(got, strings.TrimSpace(strings.Join([]string{strings.TrimSuffix(p.Get("text"), ": test/podinfo"), p.Get("thread_ts"), p.Get("reply_broadcast")}, " ")))
	}
	want := []string{"start", "gate ts-1", "start other", "halted ts-1 true", "promoted ts-1 true", "alone", "end other ts-3 true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if p := w.posts[0]; p.Get("channel") != "releases" || p.Get("username") != "sluice" || p.Get("token") != token {
		t.Errorf("posted %v", p)
	}
	var attachments []slack.Attachment
	if err := json.Unmarshal([]byte(w.posts[0].Get("attachments")), &attachments); err != nil || len(attachments) != 1 || attachments[0].Color != "good" {
		t.Errorf("attachments %v, %v", attachments, err)
	}
}

// What a person can do about a message is below it, where presses reach the operator.
func TestButtons(t *testing.T) {
	w := newWorkspace(t)
	choices := func(a *alerts.Alert) {
		a.Choices = []alerts.Choice{{Name: "Approve", Value: "v", Question: "Open it?"}, {Name: "Abort", Value: "w", Question: "Sure?", Dangerous: true}}
	}
	for i, interactive := range []bool{true, false} {
		s := w.sender(t, func(r *alerts.Receiver, _ *alerts.Kit) { r.Interactive = interactive })
		if err := s.Send(t.Context(), message("gate", "1", choices)); err != nil {
			t.Fatal(err)
		}
		var got []slack.Attachment
		if err := json.Unmarshal([]byte(w.posts[i].Get("attachments")), &got); err != nil {
			t.Fatal(err)
		}
		if !interactive {
			if len(got) != 1 {
				t.Errorf("buttons of which nobody would know that they were pressed: %+v", got)
			}
			continue
		}
		if len(got) != 2 || len(got[1].Blocks.BlockSet) != 1 {
			t.Fatalf("got %+v", got)
		}
		block := got[1].Blocks.BlockSet[0].(*slack.ActionBlock)
		var buttons []string
		for _, e := range block.Elements.ElementSet {
			b := e.(*slack.ButtonBlockElement)
			buttons = append(buttons, strings.Join([]string{b.Text.Text, b.Value, string(b.Style), b.Confirm.Text.Text}, " "))
		}
		if diff := cmp.Diff([]string{"Approve v primary Open it?", "Abort w danger Sure?"}, buttons); diff != "" || block.BlockID != interactions.Block {
			t.Errorf("block %s (-want +got)\n%s", block.BlockID, diff)
		}
	}
}

// A Sender is made for each message; the conversations outlive it, and are those of one workspace.
func TestThreadOutlivesTheSender(t *testing.T) {
	w := newWorkspace(t)
	threads := alerts.NewThreads()
	with := func(token string) func(*alerts.Receiver, *alerts.Kit) {
		return func(r *alerts.Receiver, k *alerts.Kit) { k.Threads, r.Token = threads, token }
	}
	for _, token := range []string{"a", "a", "b"} {
		if err := w.sender(t, with(token)).Send(t.Context(), message("x", "1")); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range w.posts {
		got = append(got, p.Get("thread_ts"))
	}
	if diff := cmp.Diff([]string{"", "ts-1", ""}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A thread whose first message was deleted is begun anew.
func TestThreadIsGone(t *testing.T) {
	w := newWorkspace(t)
	s := w.sender(t)
	w.answer = func(p url.Values, _ int) (int, string, string) {
		if p.Get("thread_ts") == "ts-1" {
			return 200, "", `{"ok":false,"error":"thread_not_found"}`
		}
		return 0, "", ""
	}
	for _, text := range []string{"1", "2", "3"} {
		if err := s.Send(t.Context(), message(text, "r")); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, p := range w.posts {
		got = append(got, p.Get("thread_ts"))
	}
	if diff := cmp.Diff([]string{"", "ts-1", "", "ts-3"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBotErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		status        int
		header, body  string
		want          string
		wantPermanent bool
		wantWait      time.Duration
	}{
		"rate limited":     {status: 429, header: "30", want: "rate limit", wantWait: 30 * time.Second},
		"a bad token":      {status: 200, body: `{"ok":false,"error":"invalid_auth"}`, want: "invalid_auth", wantPermanent: true},
		"not in channel":   {status: 200, body: `{"ok":false,"error":"not_in_channel"}`, want: "not_in_channel", wantPermanent: true},
		"a passing one":    {status: 200, body: `{"ok":false,"error":"internal_error"}`, want: "internal_error"},
		"out of order":     {status: 503, want: "503"},
		"not Slack at all": {status: 404, want: "404", wantPermanent: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t)
			w.answer = func(url.Values, int) (int, string, string) { return tc.status, tc.header, tc.body }
			err := w.sender(t).Send(t.Context(), message("x", "r"))
			var failed *alerts.SendError
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), tc.want) || failed.Permanent != tc.wantPermanent || failed.RetryAfter != tc.wantWait {
				t.Errorf("error %#v", err)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), token) {
				t.Errorf("the token is in %v", err)
			}
		})
	}
}

// Like Flagger, a token belongs to the address of chat.postMessage; ours may be left out.
func TestNewTellsBotFromWebhook(t *testing.T) {
	for name, tc := range map[string]struct {
		receiver alerts.Receiver
		wantBot  bool
		wantErr  bool
	}{
		"webhook":              {alerts.Receiver{Address: "https://hooks.slack.com/services/x"}, false, false},
		"token and API":        {alerts.Receiver{Address: "https://slack.com/api/chat.postMessage", Token: token}, true, false},
		"token alone":          {alerts.Receiver{Token: token}, true, false},
		"API without token":    {alerts.Receiver{Address: "https://slack.com/api/chat.postMessage"}, false, false},
		"token beside webhook": {alerts.Receiver{Address: "https://hooks.slack.com/services/x", Token: token}, false, false},
		"neither":              {alerts.Receiver{}, false, true},
		"bot, bad proxy":       {alerts.Receiver{Token: token, Proxy: "nonsense"}, false, true},
	} {
		s, err := New(tc.receiver, alerts.Kit{})
		_, isBot := s.(*bot)
		if (err != nil) != tc.wantErr || isBot != tc.wantBot {
			t.Errorf("%s: %T, %v", name, s, err)
		}
	}
}
