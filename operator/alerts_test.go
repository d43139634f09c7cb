package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-delivery/sluice/operator/alerting"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

func TestAlertFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		want []alerting.Global
	}{
		"none": {},
		"as Flagger has them": {
			args: []string{"-slack-url=https://s/x", "-slack-channel=c", "-slack-user=u", "-slack-proxy-url=http://p", "-msteams-url=https://m/x", "-msteams-proxy-url=http://q"},
			want: []alerting.Global{
				{Name: "slack", Receiver: alerts.Receiver{Type: "slack", Address: "https://s/x", Channel: "c", Username: "u", Proxy: "http://p"}},
				{Name: "msteams", Receiver: alerts.Receiver{Type: "msteams", Address: "https://m/x", Proxy: "http://q"}},
			},
		},
		"secrets from the environment": {
			env: map[string]string{"SLACK_URL": "https://s/x", "MSTEAMS_URL": "https://m/x"},
			want: []alerting.Global{
				{Name: "slack", Receiver: alerts.Receiver{Type: "slack", Address: "https://s/x"}},
				{Name: "msteams", Receiver: alerts.Receiver{Type: "msteams", Address: "https://m/x"}},
			},
		},
		"a bot": {
			args: []string{"-slack-channel=c"}, env: map[string]string{"SLACK_TOKEN": "t"},
			want: []alerting.Global{{Name: "slack", Receiver: alerts.Receiver{Type: "slack", Token: "t", Channel: "c"}}},
		},
		"a bot by a flag": {
			args: []string{"-slack-channel=c", "-slack-token=t"},
			want: []alerting.Global{{Name: "slack", Receiver: alerts.Receiver{Type: "slack", Token: "t", Channel: "c"}}},
		},
		"proxies from the environment": {
			env: map[string]string{"SLACK_URL": "https://s/x", "SLACK_PROXY_URL": "http://p", "MSTEAMS_URL": "https://m/x", "MSTEAMS_PROXY_URL": "http://q"},
			want: []alerting.Global{
				{Name: "slack", Receiver: alerts.Receiver{Type: "slack", Address: "https://s/x", Proxy: "http://p"}},
				{Name: "msteams", Receiver: alerts.Receiver{Type: "msteams", Address: "https://m/x", Proxy: "http://q"}},
			},
		},
		"the environment wins, as with Flagger": {
			args: []string{"-slack-url=https://flag/", "-slack-token=flag", "-slack-proxy-url=http://flag", "-msteams-url=https://flag/", "-msteams-proxy-url=http://flag"},
			env: map[string]string{
				"SLACK_URL": "https://env/", "SLACK_TOKEN": "env", "SLACK_PROXY_URL": "http://env", "MSTEAMS_URL": "https://env/", "MSTEAMS_PROXY_URL": "http://env",
			},
			want: []alerting.Global{
				{Name: "slack", Receiver: alerts.Receiver{Type: "slack", Address: "https://env/", Token: "env", Proxy: "http://env"}},
				{Name: "msteams", Receiver: alerts.Receiver{Type: "msteams", Address: "https://env/", Proxy: "http://env"}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"SLACK_URL", "SLACK_TOKEN", "SLACK_PROXY_URL", "MSTEAMS_URL", "MSTEAMS_PROXY_URL"} {
				t.Setenv(k, tc.env[k])
			}
			o, err := parseFlags(tc.args, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, o.alerts.global(false)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestAlertLinkFlag(t *testing.T) {
	o, err := parseFlags([]string{"-alert-link=dash=https://g/{{ .Name }}", "-alert-link", "logs=https://l/", "-cluster-name=eu-1"}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	want := []alerts.Link{{Name: "dash", URL: "https://g/podinfo"}, {Name: "logs", URL: "https://l/"}}
	if diff := cmp.Diff(want, o.alerts.links.Render(alerts.Alert{Name: "podinfo"})); diff != "" || o.alerts.clusterName != "eu-1" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := parseFlags([]string{"-alert-link=dash=https://g/{{ .Nam }}"}, t.Output()); err == nil || !strings.Contains(err.Error(), `link "dash"`) {
		t.Errorf("error %v", err)
	}
}
