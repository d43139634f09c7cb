package builtin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
)

// Source is somebody who counts the requests of an application for Prometheus: the
// proxies of a mesh, a gateway, or the application itself.
type Source struct {
	// Name is how a status names it.
	Name string
	// Advice says what to do where its series are missing.
	Advice string
	// NeedsCanary is true where the series of a version exist without requests, so that
	// a canary without any is not measured.
	NeedsCanary bool

	// counter counts requests, buckets is the histogram of how long they took, empty for
	// none, in a unit of which scale makes milliseconds.
	counter, buckets string
	scale            int
	// version are the matchers of the requests of a version, and success that of those of
	// them that succeeded.
	version func(Version, Vars) string
	success string
	// timed are further matchers of the histogram, empty for none.
	timed string
	// lost is the selector of requests that were on their way to a version and never
	// reached it, nil where nobody counts them.
	lost func(Version, Vars) string
	// alive is the selector of further series that exist where a version is measured, nil
	// for none.
	alive func(Version, Vars) string
	// refused says what the source cannot be asked about, nil for nothing.
	refused func(Vars) error
}

// Sources are those that may count the requests of Canaries of a provider, the likeliest
// first. The mesh provider of the operator is asked as well: it measures what other
// providers route. The error is a *metrics.UnknownMetricError.
func Sources(provider, mesh string) ([]Source, error) {
	table := map[string][]Source{
		v1beta1.ProviderConsul:            {consul},
		v1beta1.ProviderIstio:             {istio, istioClients},
		v1beta1.ProviderGatewayAPI:        gateways,
		v1beta1.ProviderGatewayAPIV1Beta1: gateways,
		v1beta1.ProviderGatewayAPIAny:     gateways,
		v1beta1.ProviderLinkerd:           {linkerd, linkerdHTTPRoutes, linkerdGRPCRoutes},
		v1beta1.ProviderTraefik:           {traefik, traefikExported},
		v1beta1.ProviderNGINX:             {nginx, nginxExported},
		v1beta1.ProviderContour:           {contour},
		v1beta1.ProviderAPISIX:            {apisix},
		v1beta1.ProviderKuma:              {kuma, kumaTags},
		v1beta1.ProviderKnative:           {knative},
		v1beta1.ProviderSkipper:           {skipper},
		v1beta1.ProviderKubernetes:        {application, applicationPods},
	}
	out, ok := table[provider]
	if !ok {
		return nil, &metrics.UnknownMetricError{Provider: provider, Metric: "requests"}
	}
	switch provider {
	case v1beta1.ProviderConsul, v1beta1.ProviderIstio, v1beta1.ProviderKuma, v1beta1.ProviderLinkerd:
		return out, nil // it is a mesh itself
	}
	if mesh == v1beta1.ProviderLinkerd {
		out = slices.Concat(table[mesh], out) // as in Flagger, Linkerd measures whatever it is that routes
	} else {
		out = slices.Concat(out, table[mesh])
	}
	var known []string
	return slices.DeleteFunc(slices.Clone(out), func(s Source) bool {
		again := slices.Contains(known, s.Name)
		known = append(known, s.Name)
		return again
	}), nil
}

// gateways are those that may count what a route of the Gateway API leads.
var gateways = []Source{
	application, istio, istioClients, traefik, traefikExported, contour, envoyGateway,
	linkerd, linkerdHTTPRoutes, linkerdGRPCRoutes, applicationPods,
}

// Usable are the sources that can be asked about an application. Where none can, the
// error is why the first cannot: a *metrics.QueryError.
func Usable(sources []Source, v Vars) ([]Source, error) {
	var out []Source
	var first error
	for _, s := range sources {
		err := s.check(v)
		if err == nil {
			out = append(out, s)
		} else if first == nil {
			first = err
		}
	}
	if len(out) == 0 {
		return nil, first
	}
	return out, nil
}

// Alternatives says which other sources were looked for in vain.
func Alternatives(sources []Source, but Source) string {
	var names []string
	for _, s := range sources {
		if s.Name != but.Name {
			names = append(names, s.Name+" ("+s.counter+")")
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " Nor has it what others may count: " + strings.Join(names, ", ") + "."
}

// Series names the series of a version that are there where the source measures it.
func (s Source) Series(of Version, v Vars) string {
	return s.counter + "{" + s.version(of, v) + "}"
}

// successRate is the percentage, 0 to 100, of requests that succeeded. It is 0, not
// empty, when all fail and no successful request was ever counted; empty or NaN when
// there are no requests.
func (s Source) successRate(v Vars) string {
	good := grown(s.counter, s.version(Canary, v)+","+s.success, v)
	return fmt.Sprintf("(sum(%s) or vector(0)) / sum(%s) * 100", good, s.all(Canary, v))
}

// duration is the 99th percentile in milliseconds.
func (s Source) duration(v Vars) string {
	quantile := fmt.Sprintf("histogram_quantile(0.99, sum by (le) (%s))", grown(s.buckets, s.timedOf(Canary, v), v))
	if s.scale == 1 {
		return quantile
	}
	return fmt.Sprintf("%d * %s", s.scale, quantile)
}

// timedOf picks the durations of the requests of a version.
func (s Source) timedOf(of Version, v Vars) string {
	if s.timed == "" {
		return s.version(of, v)
	}
	return s.version(of, v) + "," + s.timed
}

// all are the requests of a version, those that never reached it included.
func (s Source) all(of Version, v Vars) string {
	out := grown(s.counter, s.version(of, v), v)
	if s.lost != nil {
		out += " or " + grown(s.counter, s.lost(of, v), v)
	}
	return out
}

func (s Source) scrapes(of Version, v Vars) string {
	out := fmt.Sprintf("max(count_over_time(%s[%s]))", s.Series(of, v), v.Interval)
	if s.alive != nil {
		out += fmt.Sprintf(" or max(count_over_time(%s[%s]))", s.alive(of, v), v.Interval)
	}
	return out
}

// known is scrapes, or those of a native histogram, which only [Source.NativeCounts] reads: a check of a range of values can't
// take its silence for an application without requests.
func (s Source) known(of Version, v Vars) string {
	out := s.scrapes(of, v)
	if native := s.nativeCounter(); native != "" {
		out += fmt.Sprintf(" or max(count_over_time(%s{%s}[%s]))", native, s.version(of, v), v.Interval)
	}
	return out
}

// grown is by how much each counter has grown in the interval: the difference of its last
// values in the interval and before it.
//
// A counter that was not there before the interval was born in it, and all of its value
// counts: rate and increase would not see the request that made it, which often is the
// only one of its kind. One that is lower than before has begun anew. The value before
// the interval needs no second scrape in it, and may be missing from some scrapes.
func grown(counter, matchers string, v Vars) string {
	series, before := counter+"{"+strings.TrimSuffix(matchers, ",")+"}", cmp.Or(v.Before, "5m")
	return fmt.Sprintf("(last_over_time(%[1]s[%[2]s]%[4]s) - last_over_time(%[1]s[%[3]s]%[4]s offset %[2]s)) >= 0 or last_over_time(%[1]s[%[2]s]%[4]s)", series, v.Interval, before, v.pin())
}
