package factory

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

var update = flag.Bool("update", false, "write the golden payloads")

var now = time.Date(2026, 3, 1, 12, 34, 56, 0, time.UTC)

// messages are what goes to each platform.
func messages() map[string]alerts.Message {
	start := alerts.Alert{
		Cluster: "eu-1", Namespace: "test", Name: "podinfo", TargetKind: "Deployment", TargetName: "podinfo",
		Severity: v1beta1.SeverityInfo, Reason: "NewRevision", Title: "New revision",
		Text:     "New revision of Deployment podinfo (app:1 -> app:2); it gets traffic when it is ready",
		Revision: "v1-5d9f", From: "app:1", To: "app:2", Phase: v1beta1.PhaseProgressing, Steps: 5,
		Started: now, Time: now, Release: "6f1c/v1-5d9f/1772368496",
	}
	rollback := start
	rollback.Severity, rollback.Reason, rollback.Title = v1beta1.SeverityError, "AnalysisFailed", "Rolled back, analysis failed"
	rollback.Text = "Rolled back app:2: failed check 3 of 3: request-success-rate: 91.2 is not >= 99; podinfo-primary serves all traffic"
	rollback.Phase, rollback.Step, rollback.Weight, rollback.FailedChecks, rollback.Threshold = v1beta1.PhaseFailed, 2, 20, 3, 3
	rollback.Started, rollback.Final = now.Add(-5*time.Minute), true
	rollback.Checks = []v1beta1.CheckStatus{{Name: "request-success-rate", Query: "sum(rate(x[1m]))", Value: "91.2", Range: ">= 99", Verdict: v1beta1.CheckFailed}}
	rollback.Links = []alerts.Link{{Name: "dashboard", URL: "https://g.example.com/d/x?app=podinfo"}, {Name: "logs", URL: "https://l.example.com/(podinfo)"}}
	hostile := start
	hostile.Release = ""
	hostile.Severity = v1beta1.SeverityWarn
	hostile.Text = "<!channel> <https://evil.example.com|click> @everyone @all <users/all> <at>all</at> **bold** _it_ `code` [a](http://b) & \"q\" \\ # | ~x~\nline"
	hostile.Checks = []v1beta1.CheckStatus{{Name: "a_b<c>", Value: "*1*", Range: "[0, 1]", Verdict: v1beta1.CheckFailed}}
	huge := hostile
	huge.Text = strings.Repeat("<_😀", 20_000)
	huge.Cluster = strings.Repeat("c", 300)
	for i := range 30 {
		huge.Checks = append(huge.Checks, v1beta1.CheckStatus{Name: fmt.Sprint("check-", i), Message: huge.Text, Verdict: v1beta1.CheckNoData})
		huge.Links = append(huge.Links, alerts.Link{Name: fmt.Sprint("link-", i), URL: fmt.Sprintf("https://example.com/%d", i)})
	}
	out := map[string]alerts.Message{}
	for name, a := range map[string]alerts.Alert{"start": start, "rollback": rollback, "hostile": hostile, "huge": huge} {
		out[name] = alerts.Compose(a)
	}
	return out
}

// request is what a receiver was sent.
type request struct {
	header http.Header
	url    *url.URL
	body   []byte
}

// send sends a message to a server that stands for a host, and gives what that was sent.
func send(t *testing.T, r alerts.Receiver, m alerts.Message) request {
	t.Helper()
	var got request
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = request{r.Header, r.URL, body}
	}))
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(r, alerts.Kit{
		Transport: func(*url.URL) http.RoundTripper { return redirected{at} },
		Clock:     clocktesting.NewFakePassiveClock(now),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return got
}

// redirected has every host be the server.
type redirected struct{ to *url.URL }

func (r redirected) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = r.to.Scheme, r.to.Host
	return http.DefaultTransport.RoundTrip(req)
}

var receivers = map[string]struct {
	receiver alerts.Receiver
	check    func(*checker, map[string]any)
}{
	"slack":             {alerts.Receiver{Type: "slack", Address: "https://hooks.slack.com/services/T/B/x", Channel: "releases"}, checkSlack},
	"rocket":            {alerts.Receiver{Type: "rocket", Address: "https://chat.example.com/hooks/a/b", Channel: "releases", Username: "bot"}, checkRocket},
	"discord":           {alerts.Receiver{Type: "discord", Address: "https://discord.com/api/webhooks/1/x/slack", Username: "bot"}, checkDiscord},
	"gchat":             {alerts.Receiver{Type: "gchat", Address: "https://chat.googleapis.com/v1/spaces/A/messages?key=k&token=t"}, checkGChat},
	"msteams":           {alerts.Receiver{Type: "msteams", Address: "https://prod-1.westeurope.logic.azure.com/workflows/x/triggers/manual/paths/invoke?sig=x"}, checkAdaptive},
	"msteams-platform":  {alerts.Receiver{Type: "msteams", Address: "https://x.environment.api.powerplatform.com/workflows/x"}, checkAdaptive},
	"msteams-connector": {alerts.Receiver{Type: "msteams", Address: "https://example.webhook.office.com/webhookb2/x"}, checkMessageCard},
	"webhook":           {alerts.Receiver{Type: "webhook", Address: "https://example.com/alerts", Token: "t0k", Key: []byte("key")}, checkWebhook},
}

// Each payload is what it was, and keeps to what the platform documents, whatever a message holds.
func TestPayloads(t *testing.T) {
	for name, tc := range receivers {
		for which, m := range messages() {
			t.Run(name+"/"+which, func(t *testing.T) {
				got := send(t, tc.receiver, m)
				var document map[string]any
				if err := json.Unmarshal(got.body, &document); err != nil {
					t.Fatalf("not JSON: %v", err)
				}
				tc.check(&checker{t: t, request: got}, document)
				if which == "huge" || strings.HasSuffix(name, "-platform") {
					return
				}
				golden(t, name+"-"+which+".json", got.body)
			})
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, pretty.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("%s (-want +got); -update accepts it\n%s", name, diff)
	}
}

func TestNew(t *testing.T) {
	_, err := New(alerts.Receiver{Type: "pager", Address: "https://example.com"}, alerts.Kit{})
	var unknown *alerts.UnknownTypeError
	if !errors.As(err, &unknown) || unknown.Type != "pager" || !slices.Equal(unknown.Known, Types()) {
		t.Errorf("error %v", err)
	}
	for _, kind := range Types() {
		_, err := New(alerts.Receiver{Type: kind, Address: "secret-but-no-url"}, alerts.Kit{})
		var refused *alerts.SendError
		if !errors.As(err, &refused) || !refused.Permanent || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", kind, err)
		}
		if _, err := New(alerts.Receiver{Type: kind, Address: "https://example.com/%zzsecret"}, alerts.Kit{}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v", kind, err)
		}
	}
}

// The API's schema and the table know the same types.
func TestTypesAreThoseOfTheAPI(t *testing.T) {
	crd, err := os.ReadFile("../../../charts/sluice/crds/flagger.app_alertproviders.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, enum, _ := strings.Cut(string(crd), "enum:\n")
	var got []string
	for line := range strings.Lines(enum) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), "- ")
		if !ok {
			break
		}
		got = append(got, value)
	}
	slices.Sort(got)
	if diff := cmp.Diff(Types(), got); diff != "" {
		t.Errorf("(-table +schema)\n%s", diff)
	}
}

// checker says where a document is not what a platform documents.
type checker struct {
	t       *testing.T
	request request
}

// text checks a text's presence and length, in characters.
func (c *checker) text(in map[string]any, key string, most int) string {
	c.t.Helper()
	s, ok := in[key].(string)
	if !ok || s == "" {
		c.t.Errorf("no %s", key)
	}
	if n := len([]rune(s)); n > most {
		c.t.Errorf("%s has %d characters, allowed are %d", key, n, most)
	}
	return s
}

func (c *checker) list(in map[string]any, key string, least, most int) []map[string]any {
	c.t.Helper()
	list, _ := in[key].([]any)
	if len(list) < least || len(list) > most {
		c.t.Errorf("%d %s, allowed are %d to %d", len(list), key, least, most)
	}
	var out []map[string]any
	for _, e := range list {
		out = append(out, e.(map[string]any))
	}
	return out
}

func (c *checker) only(in map[string]any, keys ...string) {
	c.t.Helper()
	for k := range in {
		if !slices.Contains(keys, k) {
			c.t.Errorf("undocumented field %q", k)
		}
	}
}

func (c *checker) size(most int) {
	c.t.Helper()
	if n := len(c.request.body); n > most {
		c.t.Errorf("%d bytes, allowed are %d", n, most)
	}
}

func (c *checker) lacks(parts ...string) {
	c.t.Helper()
	for _, p := range parts {
		if strings.Contains(string(c.request.body), p) {
			c.t.Errorf("%q is not escaped", p)
		}
	}
}

// https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments and .../formatting-message-text#escaping
func checkSlack(c *checker, d map[string]any) {
	c.only(d, "channel", "username", "text", "attachments", "replace_original", "delete_original")
	c.text(d, "text", 4000)
	for _, a := range c.list(d, "attachments", 1, 1) {
		if !slices.Contains([]string{"good", "warning", "danger"}, c.text(a, "color", 10)) {
			c.t.Error("colour")
		}
		c.text(a, "fallback", 4000)
		for _, f := range c.list(a, "fields", 1, 20) {
			c.text(f, "title", 100)
			c.text(f, "value", 8000)
		}
		for _, b := range c.list(a, "actions", 0, 5) {
			c.text(b, "text", 75)
			c.text(b, "url", 3000)
		}
	}
	c.lacks("<!", "<http", `\u003c!`, "mrkdwn_in")
}

// https://developer.rocket.chat/apidocs/post-message
func checkRocket(c *checker, d map[string]any) {
	c.only(d, "channel", "username", "text", "attachments")
	if channel := c.text(d, "channel", 100); channel != "#releases" {
		c.t.Errorf("channel %q", channel)
	}
	c.text(d, "text", 5000)
	for _, a := range c.list(d, "attachments", 1, 1) {
		c.only(a, "color", "title", "title_link", "text", "ts", "fields")
		c.text(a, "color", 7)
		for _, f := range c.list(a, "fields", 1, 20) {
			c.text(f, "title", 100)
			c.text(f, "value", 5000)
		}
	}
	c.lacks("@all", "@everyone", "**bold**")
}

// https://docs.discord.com/developers/resources/message#embed-object-embed-limits
func checkDiscord(c *checker, d map[string]any) {
	if got := c.request.url.String(); got != "/api/webhooks/1/x?wait=true" {
		c.t.Errorf("posted to %s", got)
	}
	c.only(d, "username", "embeds", "allowed_mentions")
	if diff := cmp.Diff(map[string]any{"parse": []any{}}, d["allowed_mentions"]); diff != "" {
		c.t.Error("somebody can be mentioned", diff)
	}
	c.text(d, "username", 80)
	total := 0
	for _, e := range c.list(d, "embeds", 1, 10) {
		c.only(e, "title", "description", "url", "timestamp", "color", "fields")
		total += utf16(c.text(e, "title", 256)) + utf16(c.text(e, "description", 4096))
		if color, ok := e["color"].(float64); !ok || color <= 0 || color > 0xFFFFFF {
			c.t.Errorf("colour %v", e["color"])
		}
		for _, f := range c.list(e, "fields", 1, 25) {
			total += utf16(c.text(f, "name", 256)) + utf16(c.text(f, "value", 1024))
		}
	}
	if total > 6000 {
		c.t.Errorf("%d characters, allowed are 6000", total)
	}
	c.lacks("**bold**", "[a](")
}

func utf16(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xFFFF {
			n++
		}
	}
	return n
}

// https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages and .../cards
func checkGChat(c *checker, d map[string]any) {
	query := c.request.url.Query()
	if query.Get("key") != "k" || query.Get("token") != "t" || query.Get("messageReplyOption") != "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD" {
		c.t.Errorf("posted with %v", query)
	}
	c.only(d, "text", "cardsV2", "thread")
	c.size(32_000)
	c.text(d, "text", 4096)
	if thread, ok := d["thread"].(map[string]any); ok {
		c.text(thread, "threadKey", 4000)
	}
	widgets := 0
	for _, with := range c.list(d, "cardsV2", 1, 1) {
		c.text(with, "cardId", 100)
		card := with["card"].(map[string]any)
		c.text(card["header"].(map[string]any), "title", 200)
		for _, s := range c.list(card, "sections", 1, 10) {
			for _, w := range c.list(s, "widgets", 1, 100) {
				widgets++
				if len(w) != 1 {
					c.t.Errorf("a widget has one kind: %v", w)
				}
			}
		}
	}
	if widgets > 100 {
		c.t.Errorf("%d widgets", widgets)
	}
	c.lacks("<users/all>", "<at>", "<https:")
}

// https://learn.microsoft.com/connectors/teams/#microsoft-teams-webhook and https://adaptivecards.io/explorer/
func checkAdaptive(c *checker, d map[string]any) {
	c.size(28 << 10)
	c.only(d, "type", "attachments")
	if d["type"] != "message" {
		c.t.Errorf("type %v", d["type"])
	}
	for _, a := range c.list(d, "attachments", 1, 1) {
		c.only(a, "contentType", "contentUrl", "content")
		if a["contentType"] != "application/vnd.microsoft.card.adaptive" {
			c.t.Errorf("content type %v", a["contentType"])
		}
		card := a["content"].(map[string]any)
		c.only(card, "$schema", "type", "version", "body", "actions", "msteams")
		if card["type"] != "AdaptiveCard" || card["version"] != "1.4" {
			c.t.Errorf("card %v %v", card["type"], card["version"])
		}
		for _, e := range c.list(card, "body", 2, 20) {
			switch e["type"] {
			case "TextBlock":
				c.text(e, "text", 10_000)
			case "FactSet":
				for _, f := range c.list(e, "facts", 1, 30) {
					c.text(f, "title", 100)
					c.text(f, "value", 10_000)
				}
			default:
				c.t.Errorf("element %v", e["type"])
			}
		}
		for _, action := range c.list(card, "actions", 0, 6) {
			if action["type"] != "Action.OpenUrl" {
				c.t.Errorf("action %v", action["type"])
			}
			c.text(action, "title", 100)
			c.text(action, "url", 2000)
		}
	}
	c.lacks("<at>", "**bold**")
}

// https://learn.microsoft.com/outlook/actionable-messages/message-card-reference
func checkMessageCard(c *checker, d map[string]any) {
	c.size(28 << 10)
	c.only(d, "@type", "@context", "summary", "themeColor", "title", "sections", "potentialAction")
	if d["@type"] != "MessageCard" || d["@context"] != "https://schema.org/extensions" {
		c.t.Errorf("%v in %v", d["@type"], d["@context"])
	}
	c.text(d, "summary", 1000)
	c.text(d, "themeColor", 6)
	for _, s := range c.list(d, "sections", 1, 10) {
		for _, f := range c.list(s, "facts", 1, 30) {
			c.text(f, "name", 100)
			c.text(f, "value", 10_000)
		}
	}
	for _, a := range c.list(d, "potentialAction", 0, 4) {
		if a["@type"] != "OpenUri" || len(c.list(a, "targets", 1, 1)) != 1 {
			c.t.Errorf("action %v", a)
		}
	}
	c.lacks("<at>", "**bold**")
}

// docs/alerts.md
func checkWebhook(c *checker, d map[string]any) {
	c.only(d, "version", "title", "text", "severity", "reason", "time", "cluster", "namespace", "name", "target", "phase", "release", "checks", "links")
	h := c.request.header
	mac := hmac.New(sha256.New, []byte("key"))
	fmt.Fprintf(mac, "%d.%s", now.Unix(), c.request.body)
	if want := fmt.Sprintf("t=%d,v1=%s", now.Unix(), hex.EncodeToString(mac.Sum(nil))); h.Get("Sluice-Signature") != want {
		c.t.Errorf("signature %q, want %q", h.Get("Sluice-Signature"), want)
	}
	if h.Get("Authorization") != "Bearer t0k" || len(h.Get("Idempotency-Key")) != 32 {
		c.t.Errorf("headers %v", h)
	}
}

// A connector of Teams says in the text that it has failed.
func TestTeamsConnectorFailsWithStatus200(t *testing.T) {
	for answer, want := range map[string]struct{ err, permanent bool }{
		"1": {}, "": {},
		"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x": {true, false},
		"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 404 with ContextId x": {true, true},
		"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 502 with ContextId x": {true, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
		s, err := New(alerts.Receiver{Type: "msteams", Address: server.URL}, alerts.Kit{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Send(t.Context(), messages()["start"])
		var failed *alerts.SendError
		if errors.As(err, &failed) != want.err || want.err && failed.Permanent != want.permanent {
			t.Errorf("%q: %v", answer, err)
		}
		server.Close()
	}
}

func TestRocketRefuses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"success":false}`) }))
	defer server.Close()
	s, err := New(alerts.Receiver{Type: "rocket", Address: server.URL}, alerts.Kit{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(t.Context(), messages()["start"]); err == nil {
		t.Error("no error")
	}
}
