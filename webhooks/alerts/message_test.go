package alerts

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestCompose(t *testing.T) {
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	base := Alert{Namespace: "test", Name: "podinfo", Title: "Rolled back", Text: "It was bad", Severity: v1beta1.SeverityError}
	for name, tc := range map[string]struct {
		change    func(*Alert)
		wantTitle string
		want      map[string]string
	}{
		"little is known": {wantTitle: "Rolled back: test/podinfo", want: map[string]string{"Namespace": "test"}},
		"where": {
			change:    func(a *Alert) { a.Cluster, a.TargetKind, a.TargetName = "eu-1", "Deployment", "web" },
			wantTitle: "Rolled back: test/podinfo in eu-1",
			want:      map[string]string{"Target": "Deployment/web", "Namespace": "test", "Cluster": "eu-1"},
		},
		"images from and to": {
			change: func(a *Alert) { a.Revision, a.From, a.To = "v1-abc", "app:1", "app:2" },
			want:   map[string]string{"Namespace": "test", "Revision": "v1-abc", "Images": "app:1 -> app:2"},
		},
		"what it came from is not known": {
			change: func(a *Alert) { a.To = "app:2" },
			want:   map[string]string{"Namespace": "test", "Images": "app:2"},
		},
		"another revision of the same image": {
			change: func(a *Alert) { a.From, a.To = "app:2", "app:2" },
			want:   map[string]string{"Namespace": "test", "Images": "app:2"},
		},
		"how far": {
			change: func(a *Alert) {
				a.Phase, a.Step, a.Steps, a.Weight, a.FailedChecks, a.Threshold = v1beta1.PhaseFailed, 2, 5, 20, 1, 3
			},
			want: map[string]string{"Namespace": "test", "Progress": "Failed, step 2 of 5, 20% to the canary, 1 of 3 failed checks"},
		},
		"fewer steps than before": {
			change: func(a *Alert) { a.Phase, a.Step, a.Steps = v1beta1.PhaseProgressing, 9, 5 },
			want:   map[string]string{"Namespace": "test", "Progress": "Progressing, step 5 of 5"},
		},
		"seconds":                    {change: took0(began, 61500*time.Millisecond), want: map[string]string{"Namespace": "test", "Duration": "1m2s"}},
		"minutes":                    {change: took0(began, 5*time.Minute), want: map[string]string{"Namespace": "test", "Duration": "5m"}},
		"hours, without the seconds": {change: took0(began, 2*time.Hour+20*time.Second), want: map[string]string{"Namespace": "test", "Duration": "2h"}},
		"hours and minutes":          {change: took0(began, 2*time.Hour+30*time.Minute), want: map[string]string{"Namespace": "test", "Duration": "2h30m"}},
		"a clock that went back":     {change: took0(began, -time.Second), want: map[string]string{"Namespace": "test"}},
		"pain 14: why": {
			change: func(a *Alert) {
				a.Checks = []v1beta1.CheckStatus{
					{Name: "success", Value: "91.2", Range: ">= 99", Verdict: v1beta1.CheckFailed, Message: "success: 91.2 is not >= 99"},
					{Name: "latency", Verdict: v1beta1.CheckNoData, Message: "latency: no value"},
					{Name: "gate", Verdict: v1beta1.CheckUnavailable},
				}
			},
			want: map[string]string{"Namespace": "test", "Why": "success: 91.2, should be >= 99\nlatency: no value\ngate: Unavailable"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := base
			if tc.change != nil {
				tc.change(&a)
			}
			m := Compose(a)
			if tc.wantTitle != "" && m.Title != tc.wantTitle {
				t.Errorf("title %q", m.Title)
			}
			got := map[string]string{}
			for _, f := range m.Fields {
				got[f.Name] = f.Value
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func took0(began time.Time, d time.Duration) func(*Alert) {
	return func(a *Alert) { a.Started, a.Time = began, began.Add(d) }
}

func TestTextWithRepeats(t *testing.T) {
	for repeated, want := range map[int]string{0: "a", 1: "a (2 times since the last message)"} {
		if got := (Message{Text: "a", Repeated: repeated}).TextWithRepeats(); got != want {
			t.Errorf("%d: %q", repeated, got)
		}
	}
}

func TestCut(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		most int
		want string
	}{
		"fits":            {"abc", 3, "abc"},
		"too long":        {"abcdef", 5, "ab..."},
		"characters":      {"äöüäöü", 6, "äöüäöü"},
		"cut at one":      {"äöüäöüä", 6, "äöü..."},
		"hardly any room": {"abcdef", 2, "..."},
	} {
		if got := Cut(tc.in, tc.most); got != tc.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestWants(t *testing.T) {
	const info, warn, bad = v1beta1.SeverityInfo, v1beta1.SeverityWarn, v1beta1.SeverityError
	for from, want := range map[v1beta1.AlertSeverity][]v1beta1.AlertSeverity{
		"": {info, warn, bad}, info: {info, warn, bad}, warn: {warn, bad}, bad: {bad},
	} {
		var got []v1beta1.AlertSeverity
		for _, s := range []v1beta1.AlertSeverity{info, warn, bad} {
			if Wants(from, s) {
				got = append(got, s)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from %q (-want +got)\n%s", from, diff)
		}
	}
}

func TestSelect(t *testing.T) {
	own := []v1beta1.CanaryAlert{{Name: "all"}, {Name: "waiting", Severity: v1beta1.SeverityWarn}, {Name: "oncall", Severity: v1beta1.SeverityError}}
	for name, tc := range map[string]struct {
		own        []v1beta1.CanaryAlert
		severity   v1beta1.AlertSeverity
		want       string
		wantGlobal bool
	}{
		"a release begins":         {own, v1beta1.SeverityInfo, "all", false},
		"a gate":                   {own, v1beta1.SeverityWarn, "all waiting", false},
		"a rollback":               {own, v1beta1.SeverityError, "all waiting oncall", false},
		"none of its own":          {nil, v1beta1.SeverityInfo, "", true},
		"own ones that don't care": {own[2:], v1beta1.SeverityInfo, "", false},
	} {
		wanted, global := Select(tc.own, tc.severity)
		var names []string
		for _, w := range wanted {
			names = append(names, w.Name)
		}
		if got := strings.Join(names, " "); got != tc.want || global != tc.wantGlobal {
			t.Errorf("%s: %q, global %v", name, got, global)
		}
	}
}

func TestParseLink(t *testing.T) {
	alert := Alert{
		Namespace: "test", Name: "podinfo", Cluster: "eu 1&x", TargetName: "web", TargetKind: "Deployment", Revision: "v1-a",
		Phase: v1beta1.PhaseFailed, Reason: "Aborted", Severity: v1beta1.SeverityWarn, Started: time.UnixMilli(1000), Time: time.UnixMilli(2000),
	}
	for name, tc := range map[string]struct {
		flag, want, wantErr string
	}{
		"values": {
			flag: "dash=https://g.example.com/d/x?ns={{ .Namespace }}&app={{ .Name }}&from={{ .Started }}&to={{ .Time }}",
			want: "https://g.example.com/d/x?ns=test&app=podinfo&from=1000&to=2000",
		},
		"values are escaped":          {flag: "a=https://x/{{ .Cluster }}?c={{ .Cluster }}", want: "https://x/eu%201%26x?c=eu%201%26x"},
		"all of them":                 {flag: "a=https://x/{{.Target}}/{{.Kind}}/{{.Revision}}/{{.Phase}}/{{.Reason}}/{{.Severity}}", want: "https://x/web/Deployment/v1-a/Failed/Aborted/warn"},
		"no name":                     {flag: "https://x/", wantErr: "NAME=TEMPLATE"},
		"no template":                 {flag: "logs=", wantErr: `"logs="`},
		"a mistake in the template":   {flag: "logs=https://x/{{ .Name", wantErr: `link "logs"`},
		"a value that is not there":   {flag: "logs=https://x/{{ .name }}", wantErr: `link "logs"`},
		"Flagger's way to write them": {flag: "logs=https://x/{{ namespace }}", wantErr: `link "logs"`},
		"no URL":                      {flag: "logs={{ .Name }}", wantErr: `link "logs"`},
		"a scheme that runs things":   {flag: "logs=javascript://x/{{ .Name }}", wantErr: `link "logs"`},
	} {
		t.Run(name, func(t *testing.T) {
			var links LinkTemplates
			err := links.Set(tc.flag)
			if (err != nil) != (tc.wantErr != "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				return
			}
			got := links.Render(alert)
			if len(got) != 1 || got[0].URL != tc.want {
				t.Errorf("got %v", got)
			}
			if links.String() != tc.flag {
				t.Errorf("as a flag %q", links.String())
			}
		})
	}
}

func TestThreads(t *testing.T) {
	threads := NewThreads()
	threads.bounds = 2
	threads.Put("a", "1", "x")
	threads.Put("a", "2", "y")
	if threads.Get("b", "1") != "" {
		t.Error("the same release at another place")
	}
	if got := threads.Get("a", "1"); got != "x" { // used last
		t.Errorf("got %q", got)
	}
	threads.Put("a", "3", "z")
	if threads.Get("a", "2") != "" || threads.Get("a", "1") != "x" || threads.Get("a", "3") != "z" {
		t.Error("not the one that was not used for longest is forgotten")
	}
	threads.Put("a", "3", "")
	if threads.Get("a", "3") != "" || threads.order.Len() != 1 || len(threads.by) != 1 {
		t.Error("not forgotten")
	}
}
