package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	metricfactory "github.com/sluice-delivery/sluice/metrics/factory"
	"github.com/sluice-delivery/sluice/operator/references"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// metricOptions are the flags of the operator's own metrics server.
type metricOptions struct {
	server             string
	secretDirectory    string
	insecureSkipVerify bool
	strict             bool
	ownTokenHosts      []string
}

func (o *metricOptions) register(f *flag.FlagSet) {
	f.StringVar(&o.server, "metrics-server", "http://prometheus:9090", "Prometheus of Canaries that name none")
	f.StringVar(&o.secretDirectory, "metrics-server-secret-dir", "", "directory with what the Prometheus of -metrics-server asks for, a file for each of username, password, token, ca.crt, tls.crt and tls.key; it is read again when they change")
	f.BoolVar(&o.insecureSkipVerify, "metrics-server-insecure-skip-verify", false, "accept any certificate of the Prometheus of -metrics-server")
	f.BoolVar(&o.strict, "strict-metrics", false, "refuse Canaries that have a metric which is never checked: one with neither templateRef nor query that is not built in")
	f.Var((*list)(&o.ownTokenHosts), "metrics-own-token-hosts", "hosts, comma separated, that get the operator's own token over https when a MetricTemplate of type externalmetrics or keptn names one of them and has no Secret; its own API server always may")
}

// address is the server for the log: without a password or a key.
func (o *metricOptions) address() string {
	u, err := url.Parse(o.server)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}

// sourcesOf makes what answers metrics. Templates are read by reader.
func sourcesOf(o options, config *rest.Config, reader client.Reader, to *outbound) (*sources.Sources, error) {
	own := sources.Operator{Address: o.metrics.server, InsecureSkipVerify: o.metrics.insecureSkipVerify}
	if directory := o.metrics.secretDirectory; directory != "" {
		own.Secret = (&sources.Files{Directory: directory, Clock: clock.RealClock{}}).Data
		if _, err := own.Secret(); err != nil { // better known now than at the first check
			return nil, fmt.Errorf("-metrics-server-secret-dir: %w", err)
		}
	}
	return &sources.Sources{
		Reader:           reader,
		Secrets:          to.secrets,
		New:              metricfactory.New,
		Operator:         own,
		NoCrossNamespace: o.alerts.noCrossNamespaceRefs,
		Namespaces:       o.namespaces,
		Guard:            to.metrics,
		CloudIdentity:    o.outbound.cloudIdentity,
		Kubernetes:       config,
		OwnTokenHosts:    o.metrics.ownTokenHosts,
		Clock:            clock.RealClock{},
	}, nil
}

// newSources makes what answers metrics, and tells of each MetricTemplate whether it can.
func newSources(ctx context.Context, mgr ctrl.Manager, o options, to *outbound, recorder events.EventRecorder, queues *telemetry.Queues, timed *telemetry.Answers) (*sources.Sources, error) {
	out, err := sourcesOf(o, mgr.GetConfig(), mgr.GetClient(), to)
	if err != nil {
		return nil, err
	}
	out.New = timed.Timed(out.New)
	templates := &references.Reconciler[*v1beta1.MetricTemplate]{
		New:  func() *v1beta1.MetricTemplate { return &v1beta1.MetricTemplate{} },
		List: func() client.ObjectList { return &v1beta1.MetricTemplateList{} },
		Name: "metrictemplate", Noun: "template", Advice: references.SeveralSeries,
		Client: mgr.GetClient(), Check: out.Check, Recorder: recorder, Clock: clock.RealClock{}, Queues: queues,
	}
	if err := templates.SetUp(ctx, mgr); err != nil {
		return nil, err
	}
	return out, nil
}
