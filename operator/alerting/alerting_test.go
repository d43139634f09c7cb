package alerting

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// reasonsOf finds the reasons that a package declares: constants whose name begins with a prefix.
func reasonsOf(t *testing.T, folder, prefix string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s: %v", folder, err)
	}
	out := map[string]string{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, name := range spec.Names {
				if i >= len(spec.Values) || !strings.HasPrefix(name.Name, prefix) {
					continue
				}
				if literal, ok := spec.Values[i].(*ast.BasicLit); ok {
					if value, err := strconv.Unquote(literal.Value); err == nil {
						out[name.Name] = value
					}
				}
			}
			return true
		})
	}
	return out
}

// A new reason has to say what becomes of it, so that no failure is without an alert.
func TestEveryReasonHasARule(t *testing.T) {
	known := reasonsOf(t, "../release", "Reason")
	if len(known) < 30 {
		t.Fatalf("only %d reasons found", len(known))
	}
	maps.Copy(known, reasonsOf(t, "../canary", "reason"))
	for _, folder := range []string{"../autoscaling", "../world", "../services", "../targets", "../primaries", "../configs", "../routes"} {
		maps.Copy(known, reasonsOf(t, folder, "Reason"))
	}
	for name, reason := range known {
		if _, ok := rules[reason]; !ok {
			t.Errorf("pain 14: %s (%q) has no rule in reasons.go", name, reason)
		}
	}
	values := slices.Collect(maps.Values(known))
	for reason, r := range rules {
		if !slices.Contains(values, reason) {
			t.Errorf("there is no reason %q", reason)
		}
		if r.title != "" && r.severity == "" {
			t.Errorf("%s has no severity", reason)
		}
	}
}

func newCanary(change ...func(*v1beta1.Canary)) *v1beta1.Canary {
	c := &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "u1"},
		Spec: v1beta1.CanarySpec{
			TargetRef: v1beta1.TargetReference{Kind: "Deployment", Name: "web"},
			Analysis:  &v1beta1.CanaryAnalysis{StepWeights: []int32{10, 20, 30}, Threshold: 3},
		},
	}
	for _, f := range change {
		f(c)
	}
	return c
}

var (
	began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	now   = began.Add(5 * time.Minute)
)

// at is the status of a release of revision v1-b at a step.
func at(phase v1beta1.CanaryPhase, index, weight int32) v1beta1.CanaryStatus {
	s := v1beta1.CanaryStatus{Phase: phase, CanaryWeight: weight, LastAppliedSpec: "v1-b", StartedAt: &metav1.MicroTime{Time: began}}
	if index >= 0 {
		s.Step = &v1beta1.StepStatus{Index: index}
	}
	return s
}

func TestFrom(t *testing.T) {
	const id = "u1/v1-b/1772366400"
	idle := at(v1beta1.PhaseSucceeded, -1, 0)
	step2 := at(v1beta1.PhaseProgressing, 2, 20)
	failed := at(v1beta1.PhaseFailed, -1, 0)
	failed.FailedChecks = 3
	failed.Checks = []v1beta1.CheckStatus{{Name: "good", Verdict: v1beta1.CheckPassed}, {Name: "bad", Verdict: v1beta1.CheckFailed, Value: "1", Range: "< 1"}}
	other := at(v1beta1.PhaseFinalising, -1, 0)
	other.LastAppliedSpec = "v1-a"
	for name, tc := range map[string]struct {
		before, after v1beta1.CanaryStatus
		event         release.Event
		want          string // "" for no alert
		check         func(*testing.T, alerts.Alert)
	}{
		"a release begins": {idle, at(v1beta1.PhaseProgressing, 0, 0), release.Event{Reason: release.ReasonNewRevision}, "info New revision " + id, nil},
		"a step":           {step2, at(v1beta1.PhaseProgressing, 3, 30), release.Event{Reason: release.ReasonWeightRaised}, "", nil},
		"a gate waits":     {step2, at(v1beta1.PhaseWaitingPromotion, 3, 30), release.Event{Reason: release.ReasonGateClosed}, "warn Waiting at a gate " + id, nil},
		"a muted gate":     {step2, at(v1beta1.PhaseWaitingPromotion, 3, 30), release.Event{Reason: release.ReasonGateClosed, Muted: true}, "", nil},
		"pain 14: a check fails": {step2, step2, release.Event{Warning: true, Reason: release.ReasonCheckFailed}, "warn Check failed " + id, func(t *testing.T, a alerts.Alert) {
			if a.Step != 2 || a.Steps != 3 || a.Weight != 20 || a.Threshold != 3 || !a.Started.Equal(began) || !a.Time.Equal(now) {
				t.Errorf("got %+v", a)
			}
		}},
		"pain 14: the analysis fails": {step2, failed, release.Event{Warning: true, Reason: release.ReasonAnalysisFailed}, "error Rolled back, analysis failed " + id + " final", func(t *testing.T, a alerts.Alert) {
			if a.Step != 2 || a.Weight != 20 || a.FailedChecks != 3 || len(a.Checks) != 1 || a.Checks[0].Name != "bad" {
				t.Errorf("how far and why: %+v", a)
			}
		}},
		"a check has no answer yet":                           {step2, step2, release.Event{Warning: true, Reason: release.ReasonChecksUnavailable}, "warn Checks unavailable " + id, nil},
		"pain 14: checks without an answer end it":            {step2, failed, release.Event{Warning: true, Reason: release.ReasonChecksUnavailable}, "error Rolled back, checks unavailable " + id + " final", nil},
		"pain 14: the canary is never ready":                  {step2, failed, release.Event{Warning: true, Reason: release.ReasonDeadlineExceeded}, "error Rolled back, deadline exceeded " + id + " final", nil},
		"a person aborts":                                     {step2, failed, release.Event{Warning: true, Reason: release.ReasonAborted}, "warn Rolled back, aborted " + id + " final", nil},
		"pain 14: a promotion fails":                          {at(v1beta1.PhasePromoting, 0, 30), at(v1beta1.PhasePromoting, 0, 100), release.Event{Warning: true, Reason: release.ReasonPromotionHalted}, "error Promotion halted " + id, nil},
		"promoted":                                            {at(v1beta1.PhaseFinalising, -1, 0), idle, release.Event{Reason: release.ReasonPromoted}, "info Promoted " + id + " final", nil},
		"set back":                                            {step2, other, release.Event{Reason: release.ReasonReverted}, "info Called off " + id + " final", nil},
		"a mistake between releases":                          {idle, idle, release.Event{Warning: true, Reason: "InvalidSpec"}, "warn Mistake in the Canary", nil},
		"a mistake that holds up a release":                   {step2, step2, release.Event{Warning: true, Reason: "InvalidSpec"}, "error Mistake in the Canary " + id, nil},
		"the world does not obey, between releases":           {idle, idle, release.Event{Warning: true, Reason: release.ReasonApplyFailed}, "warn Can't be carried out", nil},
		"pain 14: a warning that nobody has thought of":       {step2, failed, release.Event{Warning: true, Reason: "Novel"}, "error Rolled back, warning " + id + " final", nil},
		"news that nobody has thought of":                     {step2, step2, release.Event{Reason: "Novel"}, "", nil},
		"what has failed long ago is not rolled back by this": {failed, failed, release.Event{Warning: true, Reason: release.ReasonActionRefused}, "warn Action refused", nil},
	} {
		t.Run(name, func(t *testing.T) {
			tc.event.Message = "said so"
			after := newCanary(func(c *v1beta1.Canary) { c.Status = tc.after })
			a, ok := From(&tc.before, after, Images{"app:1", "app:2"}, tc.event, "eu-1", now)
			got := ""
			if ok {
				got = fmt.Sprintf("%s %s %s", a.Severity, a.Title, a.Release)
				if a.Final {
					got += " final"
				}
				if a.Cluster != "eu-1" || a.Name != "podinfo" || a.TargetName != "web" || a.Text != "said so" || a.From != "app:1" || a.To != "app:2" {
					t.Errorf("got %+v", a)
				}
			}
			if strings.TrimSpace(got) != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if tc.check != nil {
				tc.check(t, a)
			}
		})
	}
}

// sink is a Queue that opens and sends at once.
type sink struct {
	sent   []string
	opened []alerts.Receiver
}

func (s *sink) Enqueue(d alerts.Delivery) {
	sender, err := d.Open(context.Background())
	if err == nil {
		err = sender.Send(context.Background(), d.Message)
	}
	if err != nil {
		d.Undelivered(err)
		return
	}
	images := ""
	for _, f := range d.Message.Fields {
		if f.Name == "Images" {
			images = f.Value
		}
	}
	s.sent = append(s.sent, fmt.Sprintf("%s: %s [%s]", d.To, d.Message.Alert.Title, images))
}

type sendAnything struct{}

func (sendAnything) Send(context.Context, alerts.Message) error { return nil }

// bench is an Alerts with two AlertProviders and their Secrets.
func bench(t *testing.T) (*Alerts, *sink, *events.FakeRecorder) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	provider := func(namespace, name string, change func(*v1beta1.AlertProviderSpec)) *v1beta1.AlertProvider {
		p := &v1beta1.AlertProvider{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1beta1.AlertProviderSpec{Type: "slack", Address: "https://example.com/x"}}
		change(&p.Spec)
		return p
	}
	ref := func(name string) *corev1.LocalObjectReference { return &corev1.LocalObjectReference{Name: name} }
	s, recorder := &sink{}, events.NewFakeRecorder(100)
	links := alerts.LinkTemplates{}
	if err := links.Set("dash=https://g.example.com/{{ .Name }}"); err != nil {
		t.Fatal(err)
	}
	return &Alerts{
		Queue: s,
		Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(
			provider("test", "team", func(p *v1beta1.AlertProviderSpec) { p.Channel, p.Username, p.Proxy = "c", "u", "http://proxy" }),
			provider("test", "token", func(p *v1beta1.AlertProviderSpec) { p.SecretRef = ref("token") }),
			provider("test", "elsewhere", func(p *v1beta1.AlertProviderSpec) { p.Address, p.SecretRef = "https://evil.test/", ref("token") }),
			provider("test", "seen", func(p *v1beta1.AlertProviderSpec) {
				p.Address, p.Proxy, p.SecretRef = "http://example.com/x", "http://evil.test", ref("token")
			}),
			provider("test", "unseen", func(p *v1beta1.AlertProviderSpec) { p.Proxy, p.SecretRef = "http://evil.test", ref("token") }),
			provider("test", "no-secret", func(p *v1beta1.AlertProviderSpec) { p.SecretRef = ref("gone") }),
			provider("test", "empty-secret", func(p *v1beta1.AlertProviderSpec) { p.Address, p.SecretRef = "", ref("empty") }),
			provider("test", "bad", func(p *v1beta1.AlertProviderSpec) { p.Type = "bad" }),
			provider("ops", "oncall", func(p *v1beta1.AlertProviderSpec) { p.SecretRef = ref("oncall") }),
		).Build(),
		Secret: func(_ context.Context, namespace, name string, use secrets.Use) (map[string][]byte, error) {
			if use.Host == "evil.test" {
				return nil, &secrets.RefusedError{Namespace: namespace, Secret: name, Why: "may not be sent to " + use.Host}
			}
			data, ok := map[string]map[string][]byte{
				"ops/oncall": {"address": []byte("https://hooks.example.com/secret\n"), "hmac-key": []byte("k\n")},
				"test/token": {"token": []byte(" xoxb-1\n")},
				"test/empty": {},
			}[namespace+"/"+name]
			if !ok {
				return nil, secrets.ErrNotFound
			}
			return data, nil
		},
		New: func(r alerts.Receiver) (alerts.Sender, error) {
			if r.Type == "bad" {
				return nil, &alerts.UnknownTypeError{Type: r.Type}
			}
			s.opened = append(s.opened, r)
			return sendAnything{}, nil
		},
		Recorder: recorder,
		Clock:    clocktesting.NewFakePassiveClock(now),
		Links:    links,
		Global:   []Global{{Name: "slack", Receiver: alerts.Receiver{Type: "slack", Address: "https://global"}}},
	}, s, recorder
}

func alert(name, namespace string, severity v1beta1.AlertSeverity) v1beta1.CanaryAlert {
	return v1beta1.CanaryAlert{Name: name, Severity: severity, ProviderRef: v1beta1.CrossNamespaceObjectReference{Namespace: namespace, Name: name}}
}

func (a *Alerts) notify(c *v1beta1.Canary, before, after v1beta1.CanaryStatus, images Images, e ...release.Event) {
	c.Status = after
	a.Notify(context.Background(), &before, c, images, e)
}

func TestNotify(t *testing.T) {
	start := release.Event{Reason: release.ReasonNewRevision, Message: "m"}
	failed := release.Event{Warning: true, Reason: release.ReasonAnalysisFailed, Message: "m"}
	for name, tc := range map[string]struct {
		own       []v1beta1.CanaryAlert
		change    func(*Alerts)
		event     release.Event
		want      []string
		wantEvent string
	}{
		"no alerts of its own: the operator's": {event: start, want: []string{"slack: New revision [app:1 -> app:2]"}},
		"its own instead of the operator's":    {own: []v1beta1.CanaryAlert{alert("team", "", "")}, event: start, want: []string{"test/team: New revision [app:1 -> app:2]"}},
		"by severity": {
			own:   []v1beta1.CanaryAlert{alert("team", "", v1beta1.SeverityError), alert("token", "", v1beta1.SeverityInfo)},
			event: start, want: []string{"test/token: New revision [app:1 -> app:2]"},
		},
		"a failure goes to all": {
			own:   []v1beta1.CanaryAlert{alert("team", "", v1beta1.SeverityError), alert("token", "test", v1beta1.SeverityWarn)},
			event: failed, want: []string{"test/team: Analysis failed [app:1 -> app:2]", "test/token: Analysis failed [app:1 -> app:2]"},
		},
		"another namespace": {own: []v1beta1.CanaryAlert{alert("oncall", "ops", "")}, event: start, want: []string{"ops/oncall: New revision [app:1 -> app:2]"}},
		"pain 23: another namespace, refused": {
			own: []v1beta1.CanaryAlert{alert("oncall", "ops", ""), alert("team", "test", "")}, change: func(a *Alerts) { a.NoCrossNamespace = true },
			event: start, want: []string{"test/team: New revision [app:1 -> app:2]"}, wantEvent: "references to other namespaces are off",
		},
		"a missing provider is told":         {own: []v1beta1.CanaryAlert{alert("gone", "", "")}, event: start, wantEvent: `Warning AlertNotSent Alert "New revision" was not sent to test/gone: AlertProvider test/gone: there is none`},
		"a secret that is not for the host":  {own: []v1beta1.CanaryAlert{alert("elsewhere", "", "")}, event: start, wantEvent: "the Secret token in the namespace test may not be sent to evil.test"},
		"a secret that the proxy could read": {own: []v1beta1.CanaryAlert{alert("seen", "", "")}, event: start, wantEvent: "may not be sent to evil.test"},
		"a proxy of what is encrypted":       {own: []v1beta1.CanaryAlert{alert("unseen", "", "")}, event: start, want: []string{"test/unseen: New revision [app:1 -> app:2]"}},
		"a missing secret is told":           {own: []v1beta1.CanaryAlert{alert("no-secret", "", "")}, event: start, wantEvent: "there is no Secret gone in the namespace test"},
		"a secret with nothing in it":        {own: []v1beta1.CanaryAlert{alert("empty-secret", "", "")}, event: start, wantEvent: "neither address nor token"},
		"a provider that can't be used":      {own: []v1beta1.CanaryAlert{alert("bad", "", "")}, event: start, wantEvent: `unknown type "bad"`},
		"nobody but the Canary asks for it":  {own: []v1beta1.CanaryAlert{alert("team", "", v1beta1.SeverityError)}, event: start},
	} {
		t.Run(name, func(t *testing.T) {
			a, s, recorder := bench(t)
			if tc.change != nil {
				tc.change(a)
			}
			c := newCanary(func(c *v1beta1.Canary) { c.Spec.Analysis.Alerts = tc.own })
			a.notify(c, at(v1beta1.PhaseSucceeded, -1, 0), at(v1beta1.PhaseProgressing, 0, 0), Images{"app:1", "app:2"}, tc.event)
			if diff := cmp.Diff(tc.want, s.sent); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			got := ""
			select {
			case got = <-recorder.Events:
			default:
			}
			if (got != "") != (tc.wantEvent != "") || !strings.Contains(got, tc.wantEvent) {
				t.Errorf("event %q", got)
			}
		})
	}
}

// What a Secret says comes first, and addresses have no line break.
func TestReceivers(t *testing.T) {
	a, s, _ := bench(t)
	c := newCanary(func(c *v1beta1.Canary) {
		c.Spec.Analysis.Alerts = []v1beta1.CanaryAlert{alert("oncall", "ops", ""), alert("token", "", ""), alert("team", "", "")}
	})
	a.notify(c, at(v1beta1.PhaseSucceeded, -1, 0), at(v1beta1.PhaseProgressing, 0, 0), Images{}, release.Event{Reason: release.ReasonNewRevision})
	want := []alerts.Receiver{
		{Type: "slack", Address: "https://hooks.example.com/secret", Key: []byte("k\n")},
		{Type: "slack", Address: "https://example.com/x", Token: "xoxb-1"},
		{Type: "slack", Address: "https://example.com/x", Channel: "c", Username: "u", Proxy: "http://proxy"},
	}
	if diff := cmp.Diff(want, s.opened); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// When a release ends, its primary runs the new images; the message still says from what it came.
func TestImagesOfARelease(t *testing.T) {
	a, s, _ := bench(t)
	c := newCanary()
	progressing, finalising, succeeded := at(v1beta1.PhaseProgressing, 0, 0), at(v1beta1.PhaseFinalising, -1, 0), at(v1beta1.PhaseSucceeded, -1, 0)
	a.notify(c, succeeded, progressing, Images{"app:1", "app:2"}, release.Event{Reason: release.ReasonNewRevision})
	a.notify(c, finalising, succeeded, Images{"app:2", "app:2"}, release.Event{Reason: release.ReasonPromoted})
	b, s2, _ := bench(t) // an operator that was started in between
	b.notify(c, finalising, succeeded, Images{"app:2", "app:2"}, release.Event{Reason: release.ReasonPromoted})
	want := []string{"slack: New revision [app:1 -> app:2]", "slack: Promoted [app:1 -> app:2]", "slack: Promoted [app:2]"}
	if diff := cmp.Diff(want, append(s.sent, s2.sent...)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestImageMemoryIsBounded(t *testing.T) {
	var m imageMemory
	for i := range maxReleases + 10 {
		m.complete(&alerts.Alert{Release: strconv.Itoa(i), From: "a", To: "b"})
	}
	if len(m.known) != maxReleases || len(m.order) != maxReleases {
		t.Errorf("%d remembered", len(m.known))
	}
}
