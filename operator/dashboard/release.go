package dashboard

import (
	"context"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
	"github.com/sluice-delivery/sluice/operator/surroundings"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// detail is all that the page of a release shows.
type detail struct {
	Release *view.Release    `json:"release"`
	Why     view.Explanation `json:"why"`
	History []view.Past      `json:"history,omitempty"`
	Plan    planned          `json:"plan"`
	// Trends are the values that each check had, in the order of Release.Checks.
	Trends [][]view.Sample     `json:"trends,omitempty"`
	Links  []link              `json:"links,omitempty"`
	May    may                 `json:"may"`
	Unread surroundings.Unread `json:"unread"`
	// YAML is the Canary.
	YAML string `json:"yaml"`
}

// planned is the plan of a release.
type planned struct {
	// Steps is how many there are, and Weights what each plans where they are weights.
	Steps   int32   `json:"steps"`
	Weights []int32 `json:"weights,omitempty"`
	// Gates are the gates of the release.
	Gates []gate `json:"gates,omitempty"`
}

type gate struct {
	Type  v1beta1.HookType `json:"type"`
	Hooks []string         `json:"hooks"`
}

type link struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// may is what the person may do now.
type may struct {
	Actions []v1beta1.ActionType `json:"actions,omitempty"`
	// Earlier are the revisions that the primary may be given again, by a Rollback.
	Earlier []string `json:"earlier,omitempty"`
	// Why says why there is nothing; empty where there is something.
	Why string `json:"why,omitempty"`
}

// mostSteps bounds how many steps are drawn one by one.
const mostSteps = 200

func planOf(a *v1beta1.CanaryAnalysis) planned {
	p := plan.Of(a)
	out := planned{Steps: min(p.Len(), mostSteps)}
	if p.Strategy == v1beta1.StrategyWeighted {
		for i := int32(1); i <= out.Steps; i++ {
			out.Weights = append(out.Weights, p.At(i).Weight)
		}
	}
	for _, t := range []v1beta1.HookType{v1beta1.ConfirmRolloutHook, v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook} {
		hooks := a.HooksOf(t)
		if len(hooks) == 0 {
			continue
		}
		g := gate{Type: t}
		for _, h := range hooks {
			g.Hooks = append(g.Hooks, h.Name)
		}
		out.Gates = append(out.Gates, g)
	}
	return out
}

func (s *server) release(w http.ResponseWriter, r *http.Request) {
	person, ok := s.person(w, r)
	if !ok {
		return
	}
	c, samples, ok := s.seen(w, r, person)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	raw, err := s.recent.of(recentKey{person, c.UID, c.ResourceVersion}, func() (*detail, error) { return s.detail(ctx, person, c, samples) })
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, raw)
}

// seen is the Canary of a request. Where there is none, or the person may not see it, the answer is the same and ok false.
func (s *server) seen(w http.ResponseWriter, r *http.Request, person *access.Person) (c *v1beta1.Canary, samples view.Samples, ok bool) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	sees, err := person.SeesIn(ctx, r.PathValue("namespace"))
	if err != nil {
		s.failed(w, err)
		return nil, samples, false
	}
	if c, samples = s.Fleet.Get(r.PathValue("namespace"), r.PathValue("name")); !sees || c == nil {
		fail(w, http.StatusNotFound, "There is no such release, or you may not see it.")
		return nil, samples, false
	}
	return c, samples, true
}

// detail reads what there is to say of a release, with the rights of a person.
func (s *server) detail(ctx context.Context, person *access.Person, c *v1beta1.Canary, samples view.Samples) (*detail, error) {
	in, unread, err := surroundings.Read(ctx, person.Client, c)
	if err != nil {
		return nil, err
	}
	in.Now, in.Place = s.Clock.Now(), s.Fleet.Place(c)
	r := view.Of(in)
	promoted, err := surroundings.Promoted(ctx, person.Client, c)
	if unread.History, err = surroundings.PassedOver(err); err != nil {
		return nil, err
	}
	out := &detail{Release: &r, Why: view.Why(&r, in.Now), History: view.History(&r, promoted), Plan: planOf(c.GetAnalysis()), Unread: unread}
	for i := range r.Checks {
		out.Trends = append(out.Trends, samples.Points(c, i))
	}
	for _, l := range s.Links.Render(alertOf(c, s.Cluster, in.Now)) {
		out.Links = append(out.Links, link{l.Name, l.URL})
	}
	if out.May, err = mayOf(ctx, person, c, out); err != nil {
		return nil, err
	}
	out.YAML, err = yamlOf(c)
	return out, err
}

// mayOf is what a person may do with a release: what the operator would not refuse and the API server allows.
func mayOf(ctx context.Context, person *access.Person, c *v1beta1.Canary, d *detail) (may, error) {
	if person.ReadOnly != "" {
		return may{Why: person.ReadOnly}, nil
	}
	allowed, err := person.May(ctx, access.Acts(c.Namespace))
	switch {
	case err != nil:
		return may{}, err
	case !allowed:
		return may{Why: person.Name + " may look, and has no right to " + access.Acts(c.Namespace).String() + " in " + c.Namespace + "."}, nil
	default:
		return may{Actions: d.Release.Possible, Earlier: view.Earlier(c, d.History)}, nil
	}
}

// alertOf is what templates of links may use.
func alertOf(c *v1beta1.Canary, cluster string, now time.Time) alerts.Alert {
	out := alerts.Alert{
		Namespace: c.Namespace, Name: c.Name, Cluster: cluster, TargetKind: c.Spec.TargetRef.Kind, TargetName: c.Spec.TargetRef.Name,
		Revision: c.Status.LastAppliedSpec, Phase: c.Status.Phase, Time: now,
	}
	if c.Status.StartedAt != nil {
		out.Started = c.Status.StartedAt.Time
	}
	return out
}

// longEvidence is how much of the evidence of a comparison is shown: it is nothing that people read.
const longEvidence = 200

// yamlOf is a Canary as people read it.
func yamlOf(c *v1beta1.Canary) (string, error) {
	c = c.DeepCopy()
	c.ManagedFields = nil
	c.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("Canary"))
	delete(c.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
	if j := c.Status.Judgement; j != nil && len(j.State) > longEvidence {
		j.State = j.State[:longEvidence] + "..."
	}
	raw, err := yaml.Marshal(c)
	return string(raw), err
}

// recentFor is for how long what was read of a release is good for the next who looks: pods and events change without
// the Canary.
const recentFor = 3 * time.Second

// mostRecent bounds how many are kept.
const mostRecent = 1000

// recent has what was read a moment ago, so that many browsers of one person at one release cost as much as one.
type recent struct {
	clock clock.PassiveClock

	mu  sync.Mutex
	all map[recentKey]*recentDetail
}

type recentKey struct {
	person  *access.Person
	uid     types.UID
	version string
}

type recentDetail struct {
	at time.Time

	mu   sync.Mutex // held while it is read
	is   *detail
	done bool
}

// of is what was read for a key, or reads it.
func (r *recent) of(key recentKey, read func() (*detail, error)) (*detail, error) {
	now := r.clock.Now()
	r.mu.Lock()
	d := r.all[key]
	if d == nil || now.Sub(d.at) >= recentFor {
		d = &recentDetail{at: now}
		r.drop(now)
		r.all[key] = d
	}
	r.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return d.is, nil
	}
	is, err := read()
	if err == nil {
		d.is, d.done = is, true
	}
	return is, err
}

// drop makes room for one more.
func (r *recent) drop(now time.Time) {
	for key, d := range r.all {
		if now.Sub(d.at) >= recentFor {
			delete(r.all, key)
		}
	}
	if r.all == nil || len(r.all) >= mostRecent {
		r.all = map[recentKey]*recentDetail{}
	}
}
