package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/webhooks"
)

// outboundOptions say where the operator's requests for users may go, and what they may carry.
type outboundOptions struct {
	addresses                           []string
	hookHosts, metricsHosts, alertHosts []string
	cloudIdentity                       []string
	unmarkedSecrets                     string
	unmarkedSecretsAllowed              bool
}

// Values of -unmarked-secrets.
const (
	unmarkedAllow  = "allow"
	unmarkedRefuse = "refuse"
)

func (o *outboundOptions) register(f *flag.FlagSet) {
	const addresses = "addresses or CIDRs, comma separated, that may be called for users although they are link-local, loopback or of cloud metadata"
	f.Var((*list)(&o.addresses), "allowed-addresses", addresses)
	f.Var((*list)(&o.addresses), "hooks-allowed-addresses", "former name of -allowed-addresses")
	f.Var((*list)(&o.hookHosts), "hooks-allowed-hosts", "hosts, comma separated, that hooks may call, such as tester.test or *.hooks.example.com; all without it")
	f.Var((*list)(&o.metricsHosts), "metrics-allowed-hosts", "hosts, comma separated, that metrics servers of Canaries and MetricTemplates may have; all without it")
	f.Var((*list)(&o.alertHosts), "alerts-allowed-hosts", "hosts, comma separated, that AlertProviders may send to; all without it")
	f.Var((*list)(&o.cloudIdentity), "cloud-identity-namespaces", "namespaces, comma separated, whose MetricTemplates may be answered with the identity that the cloud gives to the operator (CloudWatch, Google Cloud Monitoring); * is all, which is the default without -no-cross-namespace-refs, and none the default with it")
	f.StringVar(&o.unmarkedSecrets, "unmarked-secrets", "", "allow or refuse Secrets that do not say by the annotations "+secrets.UsedForAnnotation+" and "+secrets.HostsAnnotation+" what they may be used for; allow, as Flagger does, is the default without -no-cross-namespace-refs, and refuse the default with it")
}

// settle fills in what depends on whether namespaces are kept apart.
func (o *outboundOptions) settle(apart bool) error {
	switch o.unmarkedSecrets {
	case "":
		o.unmarkedSecretsAllowed = !apart
	case unmarkedAllow, unmarkedRefuse:
		o.unmarkedSecretsAllowed = o.unmarkedSecrets == unmarkedAllow
	default:
		return fmt.Errorf("-unmarked-secrets: %q is neither %s nor %s", o.unmarkedSecrets, unmarkedAllow, unmarkedRefuse)
	}
	if len(o.cloudIdentity) == 0 && !apart {
		o.cloudIdentity = []string{"*"}
	}
	return nil
}

// outbound is where requests for users may go, and what they may carry.
type outbound struct {
	hooks, metrics, alerts *webhooks.Guard
	secrets                *secrets.Reader
}

// newOutbound reads Secrets by their metadata from cached, and what is in them from live.
func newOutbound(ctx context.Context, config *rest.Config, cached, live client.Reader, o options) (*outbound, error) {
	private, err := privateEndpoints(ctx, config, live, o)
	if err != nil {
		return nil, err
	}
	out := &outbound{secrets: secrets.New(cached, live, o.outbound.unmarkedSecretsAllowed, o.scope.secrets...)}
	for _, g := range []struct {
		flag  string
		hosts []string
		guard **webhooks.Guard
	}{
		{"hooks", o.outbound.hookHosts, &out.hooks},
		{"metrics", o.outbound.metricsHosts, &out.metrics},
		{"alerts", o.outbound.alertHosts, &out.alerts},
	} {
		if *g.guard, err = webhooks.NewGuard(g.hosts, o.outbound.addresses, private...); err != nil {
			return nil, fmt.Errorf("-%s-allowed-hosts, -allowed-addresses: %w", g.flag, err)
		}
	}
	return out, nil
}

// ownPorts are those at which the operator listens.
func ownPorts(o options) []string {
	out := []string{strconv.Itoa(o.port)}
	for _, address := range []string{o.pprofAddress, o.dashboard.address, o.approvals.address} {
		if _, port, err := net.SplitHostPort(address); err == nil {
			out = append(out, port)
		}
	}
	return out
}

// privateEndpoints are the API server, by the address that the operator has for it and by those of its endpoints, and the
// operator's own ports: neither is for users, who would reach them from within the operator's pod.
func privateEndpoints(ctx context.Context, config *rest.Config, reader client.Reader, o options) ([]webhooks.Endpoint, error) {
	var out []webhooks.Endpoint
	add := func(host, port, what string) {
		addr, err := netip.ParseAddr(host)
		number, portErr := strconv.ParseUint(port, 10, 16)
		if err == nil && portErr == nil {
			out = append(out, webhooks.Endpoint{Addr: netip.AddrPortFrom(addr.Unmap().WithZone(""), uint16(number)), What: what})
		}
	}
	const apiServer, own = "the API server", "the operator itself"
	if u, err := url.Parse(config.Host); err == nil {
		add(u.Hostname(), webhooks.Port(u), apiServer)
	}
	add(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"), apiServer)
	slices := &discoveryv1.EndpointSliceList{}
	// With rights in one namespace only this is not readable; what is known from the configuration has to do.
	if err := reader.List(ctx, slices, client.InNamespace("default"), client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"}); client.IgnoreNotFound(err) != nil {
		ctrl.LoggerFrom(ctx).V(1).Info("The endpoints of the API server can't be read", "problem", err.Error())
	}
	for _, s := range slices.Items {
		for _, e := range s.Endpoints {
			for _, p := range s.Ports {
				if p.Port != nil && len(e.Addresses) > 0 {
					add(e.Addresses[0], strconv.Itoa(int(*p.Port)), apiServer)
				}
			}
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of the operator: %w", err)
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			for _, port := range ownPorts(o) {
				add(prefix.Addr().String(), port, own)
			}
		}
	}
	return out, nil
}
