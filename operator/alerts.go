package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/alerting"
	"github.com/sluice-delivery/sluice/operator/approvals"
	"github.com/sluice-delivery/sluice/operator/references"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
	alertfactory "github.com/sluice-delivery/sluice/webhooks/alerts/factory"
)

// alertOptions are what the command line says about alerts.
type alertOptions struct {
	slackURL, slackToken, slackProxyURL, slackUser, slackChannel string
	msteamsURL, msteamsProxyURL                                  string
	clusterName                                                  string
	links                                                        alerts.LinkTemplates
	noCrossNamespaceRefs                                         bool
}

func (o *alertOptions) register(f *flag.FlagSet) {
	f.StringVar(&o.slackURL, "slack-url", "", "Slack webhook that gets the alerts of Canaries without alerts of their own; $SLACK_URL wins over it")
	f.StringVar(&o.slackToken, "slack-token", "", "token of a Slack bot that writes the alerts; $SLACK_TOKEN wins over it, which is the better place for a secret")
	f.StringVar(&o.slackProxyURL, "slack-proxy-url", "", "HTTP proxy to Slack; $SLACK_PROXY_URL wins over it")
	f.StringVar(&o.slackUser, "slack-user", "", "who writes to Slack; sluice without it")
	f.StringVar(&o.slackChannel, "slack-channel", "", "channel of Slack; that of the webhook, or general, without it")
	f.StringVar(&o.msteamsURL, "msteams-url", "", "Microsoft Teams workflow or connector that gets the alerts of Canaries without alerts of their own; $MSTEAMS_URL wins over it")
	f.StringVar(&o.msteamsProxyURL, "msteams-proxy-url", "", "HTTP proxy to Microsoft Teams; $MSTEAMS_PROXY_URL wins over it")
	f.StringVar(&o.clusterName, "cluster-name", "", "name of the cluster in alerts")
	f.Var(&o.links, "alert-link", "NAME=TEMPLATE of a link in alerts, such as dashboard=https://grafana.example.com/d/x?var-app={{ .Name }}; may be given often")
	f.BoolVar(&o.noCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse references of Canaries to objects of other namespaces")
}

// slackProxy is the HTTP proxy to Slack, empty for none.
func (o alertOptions) slackProxy() string {
	return cmp.Or(os.Getenv("SLACK_PROXY_URL"), o.slackProxyURL)
}

// global are the operator's own receivers; interactive says that presses in Slack are taken. URLs and tokens, which are secrets, may come from the environment, which wins
// over the command line, as with Flagger.
func (o alertOptions) global(interactive bool) []alerting.Global {
	var out []alerting.Global
	slackURL, token := cmp.Or(os.Getenv("SLACK_URL"), o.slackURL), cmp.Or(os.Getenv("SLACK_TOKEN"), o.slackToken)
	if slackURL != "" || token != "" {
		out = append(out, alerting.Global{Name: alertfactory.Slack, Receiver: alerts.Receiver{
			Type: alertfactory.Slack, Address: slackURL, Token: token, Channel: o.slackChannel, Username: o.slackUser,
			Proxy: o.slackProxy(), Interactive: interactive,
		}})
	}
	if address := cmp.Or(os.Getenv("MSTEAMS_URL"), o.msteamsURL); address != "" {
		out = append(out, alerting.Global{Name: alertfactory.MSTeams, Receiver: alerts.Receiver{
			Type: alertfactory.MSTeams, Address: address, Proxy: cmp.Or(os.Getenv("MSTEAMS_PROXY_URL"), o.msteamsProxyURL),
		}})
	}
	return out
}

// alertKit is what messages are sent with.
func alertKit(out *outbound) alerts.Kit {
	return alerts.Kit{Transport: out.alerts.Transport, CheckURL: out.alerts.CheckURL, Threads: alerts.NewThreads(), Clock: clock.RealClock{}}
}

// alertsOf makes what tells people in chats, without a queue. AlertProviders are read by reader.
func alertsOf(o options, reader client.Reader, out *outbound) (*alerting.Alerts, error) {
	kit := alertKit(out)
	sender := &alerting.Alerts{
		Reader:           reader,
		Secret:           out.secrets.Data,
		New:              func(r alerts.Receiver) (alerts.Sender, error) { return alertfactory.New(r, kit) },
		Clock:            clock.RealClock{},
		Global:           o.alerts.global(o.approvals.enabled()),
		Cluster:          o.alerts.clusterName,
		Links:            o.alerts.links,
		NoCrossNamespace: o.alerts.noCrossNamespaceRefs,
	}
	if o.approvals.enabled() {
		sender.Choices = approvals.Choices(o.approvals.secret)
	}
	for _, g := range sender.Global {
		if _, err := sender.New(g.Receiver); err != nil { // what can't be sent at all is better known now
			return nil, fmt.Errorf("alerts to %s: %w", g.Name, err)
		}
	}
	return sender, nil
}

// newAlerts makes what tells people in chats; its queue runs with the manager.
func newAlerts(ctx context.Context, mgr ctrl.Manager, o options, out *outbound, registry prometheus.Registerer, recorder events.EventRecorder, queues *telemetry.Queues) (*alerting.Alerts, error) {
	sender, err := alertsOf(o, mgr.GetClient(), out)
	if err != nil {
		return nil, err
	}
	sender.Recorder = recorder
	providers := &references.Reconciler[*v1beta1.AlertProvider]{
		New:  func() *v1beta1.AlertProvider { return &v1beta1.AlertProvider{} },
		List: func() client.ObjectList { return &v1beta1.AlertProviderList{} },
		Name: "alertprovider", Noun: "provider",
		Client: mgr.GetClient(), Check: sender.Check, Recorder: recorder, Clock: clock.RealClock{}, Queues: queues,
	}
	if err := providers.SetUp(ctx, mgr); err != nil {
		return nil, err
	}
	queue := alerts.NewDispatcher(alerts.Limits{}, clock.RealClock{}, telemetry.NewAlerts(registry))
	if err := mgr.Add(queue); err != nil {
		return nil, fmt.Errorf("queue of alerts: %w", err)
	}
	sender.Queue = queue
	return sender, addApprovals(ctx, mgr, o, alertKit(out))
}
