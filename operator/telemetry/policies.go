package telemetry

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// PolicyStanding is how a release policy stands.
type PolicyStanding struct {
	// Kind, Namespace and Name are the policy's. The limit of releases that configs begin has the kind ConfigLimit and no name.
	Kind, Namespace, Name string
	// UnderWay is how many releases hold a place, and Waiting how many wait for it.
	UnderWay, Waiting int
	// Limit is how many may be under way at once, 0 for any number.
	Limit int
	// Frozen is true during a freeze.
	Frozen bool
}

// KindOfConfigs is the kind of the limit of releases that configs begin.
const KindOfConfigs = "ConfigLimit"

// mostPolicies bounds how many policies have series of their own: whoever may create policies must not fill a metrics server.
const mostPolicies = 500

// Policies publishes how release policies stand, as they do when they are scraped. It is safe for concurrent use.
type Policies struct {
	underWay, waiting, limit, frozen *prometheus.Desc

	mu  sync.Mutex
	all func() []PolicyStanding
}

// NewPolicies registers the metrics.
func NewPolicies(registry prometheus.Registerer) *Policies {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("sluice_release_policy_"+name, help, []string{"kind", "namespace", "policy"}, nil)
	}
	p := &Policies{
		underWay: desc("under_way", "Releases that hold a place of a release policy."),
		waiting:  desc("waiting", "Releases that wait for their turn by a release policy."),
		limit:    desc("limit", "Releases that a release policy allows at once; absent where it allows any number."),
		frozen:   desc("frozen", "1 during a freeze of a release policy, 0 otherwise."),
	}
	registry.MustRegister(p)
	return p
}

// Follow has what a function gives published: the policies in an order that stays.
func (p *Policies) Follow(all func() []PolicyStanding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = all
}

// Describe implements prometheus.Collector.
func (p *Policies) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.underWay, p.waiting, p.limit, p.frozen} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (p *Policies) Collect(out chan<- prometheus.Metric) {
	p.mu.Lock()
	all := p.all
	p.mu.Unlock()
	if all == nil {
		return
	}
	for _, s := range bounded(all()) {
		gauge := func(d *prometheus.Desc, value float64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, s.Kind, s.Namespace, s.Name)
		}
		gauge(p.underWay, float64(s.UnderWay))
		gauge(p.waiting, float64(s.Waiting))
		if s.Limit > 0 {
			gauge(p.limit, float64(s.Limit))
		}
		frozen := 0.0
		if s.Frozen {
			frozen = 1
		}
		gauge(p.frozen, frozen)
	}
}

// bounded has all policies beyond the first so many summed up as one of each kind without a name.
func bounded(all []PolicyStanding) []PolicyStanding {
	if len(all) <= mostPolicies {
		return all
	}
	out := append([]PolicyStanding{}, all[:mostPolicies]...)
	others := map[string]int{}
	for _, s := range all[mostPolicies:] {
		at, known := others[s.Kind]
		if !known {
			at = len(out)
			others[s.Kind] = at
			out = append(out, PolicyStanding{Kind: s.Kind})
		}
		out[at].UnderWay += s.UnderWay
		out[at].Waiting += s.Waiting
		out[at].Frozen = out[at].Frozen || s.Frozen
	}
	return out
}
