package main

import (
	"cmp"
	"flag"
	"fmt"
	"net/http"
	"os"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/checks"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/webhooks"
)

// hookOptions are what the command line says about hooks, beside where they may go.
type hookOptions struct {
	proxyFromEnvironment bool
	// eventURL is told the events of Canaries without event hooks of their own.
	eventURL string
	// eventSecretDirectory has what that is told with.
	eventSecretDirectory string
}

func (o *hookOptions) register(f *flag.FlagSet) {
	f.BoolVar(&o.proxyFromEnvironment, "hooks-proxy-from-environment", false, "call hooks through the proxies of $HTTP_PROXY, $HTTPS_PROXY and $NO_PROXY; then the proxy, and not the operator, sees which address a host is at")
	f.StringVar(&o.eventURL, "event-webhook", "", "URL that is told each event of the Canaries that have no event hook; $EVENT_WEBHOOK_URL wins over it")
	f.StringVar(&o.eventSecretDirectory, "event-webhook-secret-dir", "", "directory with what -event-webhook is told with, a file for each of hmac-key, authorization, ca.crt, tls.crt and tls.key; it is read again when they change")
}

// eventHookName is the name of the operator's own event hook, in logs.
const eventHookName = "-event-webhook"

// proxy is how hooks are called.
func (o *hookOptions) proxy() webhooks.Options {
	if o.proxyFromEnvironment {
		return webhooks.Options{Proxy: http.ProxyFromEnvironment}
	}
	return webhooks.Options{}
}

// operatorsEvents makes what tells the operator's own event webhook, nil where there is none. Its queue runs with the
// manager, apart from that of Canaries' hooks. What may be called is the operator's own setting, so nothing is refused.
func operatorsEvents(mgr ctrl.Manager, o hookOptions, rollouts *telemetry.Rollouts) (*checks.OperatorsHook, error) {
	address := cmp.Or(os.Getenv("EVENT_WEBHOOK_URL"), o.eventURL)
	if address == "" {
		return nil, nil
	}
	out := &checks.OperatorsHook{Hook: v1beta1.CanaryWebhook{Type: v1beta1.EventHook, Name: eventHookName, URL: address}}
	if _, err := webhooks.NewCall(&out.Hook, webhooks.Payload{}, webhooks.Credentials{}, ""); err != nil {
		return nil, fmt.Errorf("-event-webhook: %w", err)
	}
	if directory := o.eventSecretDirectory; directory != "" {
		files := &sources.Files{Directory: directory, Keys: webhooks.SecretKeys(), Clock: clock.RealClock{}}
		out.Secret = files.Data
		data, err := files.Data() // better known now than at the first event
		if err == nil {
			_, err = webhooks.ParseSecret(data)
		}
		if err != nil {
			return nil, fmt.Errorf("-event-webhook-secret-dir: %w", err)
		}
	}
	anywhere, err := webhooks.NewGuard(nil, []string{"0.0.0.0/0", "::/0"})
	if err != nil {
		return nil, fmt.Errorf("-event-webhook: %w", err)
	}
	options := o.proxy()
	options.Clock, options.Guard, options.UserAgent = clock.RealClock{}, anywhere, userAgent()
	events := webhooks.NewEvents(webhooks.NewClient(options), webhooks.EventsOptions{Lost: rollouts.EventLost})
	if err := mgr.Add(events); err != nil {
		return nil, fmt.Errorf("queue of -event-webhook: %w", err)
	}
	out.Events = events
	return out, nil
}
