// Package checks runs the checks of analyses and calls hooks, beside whoever needs their
// results: a metrics server or a hook that is slow holds up nobody.
package checks

import (
	"context"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/telemetry"
	"github.com/sluice-delivery/sluice/operator/tracing"
)

// defaultTimeout is the Timeout of a Config that has none.
const defaultTimeout = 10 * time.Second

// Config is what a Checker needs.
type Config struct {
	// Hooks calls one hook and gives its answer for people to read; an error is an
	// answer without success.
	Hooks func(ctx context.Context, c *v1beta1.Canary, hook v1beta1.CanaryWebhook, id release.CheckID) (string, error)
	// Sources gives what answers metrics.
	Sources Sources
	// MeshProvider is the mesh provider of Canaries that name none; the built-in
	// queries depend on it.
	MeshProvider string
	// Concurrency is how many queries may be under way at once, and how many hooks, at least 1.
	Concurrency int
	// Timeout bounds one query, so that a metrics server that hangs costs a place
	// in the pool for so long and no longer. 0 means 10 seconds.
	Timeout time.Duration
	// Clock tells the time.
	Clock clock.PassiveClock
	// Telemetry publishes the values.
	Telemetry *telemetry.Rollouts
	// Answers publishes how long hooks take; nil for nobody.
	Answers *telemetry.Answers
	// Traces gets checks and hooks as parts of the traces of releases; nil for nobody.
	Traces *tracing.Traces
}

// Checker runs the checks of analyses, and calls hooks, beside the reconciler,
// so that a slow metrics server or hook holds up nobody. The end of a run brings
// the Canary back to the reconciler, which looks at the Results.
type Checker struct {
	Config
	queries  *pool
	calls    *pool
	polls    *pool // of gates, which must not wait for a hook that runs tests for minutes
	pace     *rate.Limiter
	waiting  chan struct{} // who waits in RunPromptly
	finished chan event.GenericEvent

	mu   sync.Mutex
	runs map[types.NamespacedName]map[v1beta1.HookType]*run
	// dryRuns are of metrics that are asked for no release.
	dryRuns dryRuns
}

// How often hooks that are polled may be called in a second, over all Canaries: as
// many of them may wait at a gate as there are.
const (
	pollsPerSecond = 100
	pollsAtOnce    = 50
)

// run is the present and the last run of a Canary's rounds, or of its hooks of
// one type.
type run struct {
	uid    types.UID
	id     release.CheckID
	cancel context.CancelFunc // nil when nothing is under way
	done   *release.CheckRun
	// answer is for who waits for the end in place of Finished, nil for nobody.
	answer chan *release.CheckRun
}

// Sources gives what answers the metrics of Canaries: *sources.Sources, which says more.
type Sources interface {
	// Server gives the Prometheus of the built-in checks and inline queries.
	Server(ctx context.Context, c *v1beta1.Canary) (metrics.Provider, error)
	// Template gives the provider and the query of a metric with a templateRef.
	Template(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric) (metrics.Provider, metrics.Query, error)
	// Count gives the provider and the query of how many requests a version has had in an interval, or of the bad ones, by
	// the counts of a metric's template.
	Count(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric, version string, bad bool, interval string) (metrics.Provider, metrics.Query, error)
	// Place names the server that answers a metric.
	Place(ctx context.Context, c *v1beta1.Canary, metric v1beta1.CanaryMetric) string
}

// New gives a Checker that is ready to run.
func New(config Config) *Checker {
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	return &Checker{
		Config:   config,
		queries:  newPool(config.Concurrency),
		calls:    newPool(config.Concurrency),
		polls:    newPool(config.Concurrency),
		pace:     rate.NewLimiter(pollsPerSecond, pollsAtOnce),
		waiting:  make(chan struct{}, waiters),
		finished: make(chan event.GenericEvent, 1024),
		runs:     map[types.NamespacedName]map[v1beta1.HookType]*run{},
		dryRuns:  dryRuns{},
	}
}

// Finished gives the Canaries whose checks have come to an end.
func (k *Checker) Finished() <-chan event.GenericEvent { return k.finished }

// Results gives the last finished round of a Canary's checks, nil if there is
// none, and the last calls of its other hooks by their type.
func (k *Checker) Results(c *v1beta1.Canary) (round *release.CheckRun, hooks map[v1beta1.HookType]*release.CheckRun) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for kind, r := range k.runs[client.ObjectKeyFromObject(c)] {
		switch {
		case r.uid != c.UID || r.done == nil:
		case kind == "":
			round = r.done
		default:
			if hooks == nil {
				hooks = map[v1beta1.HookType]*release.CheckRun{}
			}
			hooks[kind] = r.done
		}
	}
	return round, hooks
}

// Run starts a round of checks, or calls of hooks, unless the same is under way, or has ended beyond what the asker has seen: seen
// is the last one of the kind that it knows of, nil for none. A run of the same kind for another id is called off.
func (k *Checker) Run(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun) {
	k.start(ctx, c, id, seen, nil)
}

// start is Run for somebody who waits for the answer, nil for nobody.
func (k *Checker) start(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun, answer chan *release.CheckRun) *run {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := client.ObjectKeyFromObject(c)
	if k.runs[key] == nil {
		k.runs[key] = map[v1beta1.HookType]*run{}
	}
	r := k.runs[key][id.Hooks]
	if r == nil || r.uid != c.UID {
		r.stop()
		r = &run{uid: c.UID}
		k.runs[key][id.Hooks] = r
	}
	if r.cancel == nil && r.done != nil && r.done != seen && r.done.ID == id {
		// It ended while the asker looked at what was before: begun again, its hooks would be called twice. Finished tells of it.
		return r
	}
	r.answer = answer
	if r.cancel != nil && r.id == id {
		return r
	}
	r.stop()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the turn that asks for it
	r.id, r.cancel = id, cancel
	go k.run(ctx, c.DeepCopy(), id)
	return r
}

// How long, and how many at once, may wait for a round that is likely to be over
// in a moment: no more than a part of the reconciler's workers.
const (
	promptly = 50 * time.Millisecond
	waiters  = 8
)

// RunPromptly is Run, for a round, and gives its results if they are there within
// a moment. Otherwise it gives nil, and its end comes by Finished.
func (k *Checker) RunPromptly(ctx context.Context, c *v1beta1.Canary, id release.CheckID, seen *release.CheckRun) *release.CheckRun {
	if len(c.GetAnalysis().HooksOf(v1beta1.RolloutHook)) > 0 {
		k.Run(ctx, c, id, seen)
		return nil
	}
	select {
	case k.waiting <- struct{}{}:
		defer func() { <-k.waiting }()
	default:
		k.Run(ctx, c, id, seen)
		return nil
	}
	answer := make(chan *release.CheckRun, 1)
	r := k.start(ctx, c, id, seen, answer)
	timer := time.NewTimer(promptly)
	defer timer.Stop()
	select {
	case done := <-answer:
		return done
	case <-timer.C:
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.answer == answer {
		r.answer = nil
	}
	select {
	case done := <-answer: // it came just now
		return done
	default:
		return nil
	}
}

// Forget calls off what runs for a Canary and drops its results.
func (k *Checker) Forget(key types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.runs[key] {
		r.stop()
	}
	delete(k.runs, key)
	k.dryRuns.forget(key)
}

func (r *run) stop() {
	if r != nil && r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
}

// run does what an id names, and brings the Canary back.
func (k *Checker) run(ctx context.Context, c *v1beta1.Canary, id release.CheckID) {
	began := k.Clock.Now()
	results, counted := k.results(ctx, c, id)
	if ctx.Err() == nil && id.Look == 0 && (id.Hooks == "" || id.Hooks == v1beta1.PreRolloutHook) {
		k.Telemetry.Round(c, k.Clock.Since(began))
	}
	k.Telemetry.Cut(telemetry.PartCheck, fit(results))

	k.mu.Lock()
	if ctx.Err() != nil { // called off: what is remembered now is another run
		k.mu.Unlock()
		return
	}
	r := k.runs[client.ObjectKeyFromObject(c)][id.Hooks]
	r.stop()
	r.done = &release.CheckRun{ID: id, At: k.Clock.Now(), Results: results, Counted: counted}
	if r.answer != nil {
		r.answer <- r.done // there is room for it
		r.answer = nil
		k.mu.Unlock()
		return
	}
	k.mu.Unlock()
	k.finished <- event.GenericEvent{Object: c}
}

// resultsSize is how many bytes the texts of all results of a run may have, about. They go into the status of the Canary,
// and an object that is too large is not stored at all: its release would stand still for good.
const resultsSize = 128 << 10

// valueSize is how many bytes a value may have.
const valueSize = 256

// fit cuts texts that came from elsewhere to the size that each has in a status, and makes each one line. It returns of how
// many results it has cut something.
func fit(results []v1beta1.CheckStatus) (cut int) {
	share := min(resultsSize/(2*max(len(results), 1)), 2048)
	for i := range results {
		r := &results[i]
		if len(r.Query) > share || len(r.Message) > share || len(r.Value) > valueSize {
			cut++
		}
		r.Query, r.Message = cutQuery(r.Query, share), v1beta1.OneLine(r.Message, share)
		r.Value = v1beta1.OneLine(r.Value, valueSize)
	}
	return cut
}

// cutQuery keeps the lines of a query.
func cutQuery(query string, limit int) string {
	if len(query) <= limit {
		return query
	}
	return strings.ToValidUTF8(query[:limit-3], "") + "..."
}

// results are those of the metrics, where it is a round, and then those of the hooks. With them come the requests that a
// round counts; where it is only for these, nothing else does.
func (k *Checker) results(ctx context.Context, c *v1beta1.Canary, id release.CheckID) ([]v1beta1.CheckStatus, *release.Counted) {
	if id.Look != 0 {
		counted, _ := counter{k}.counts(ctx, c) // what can't be counted now is counted by the round, which tells why it can't
		return nil, counted
	}
	a := c.GetAnalysis()
	kind, queried := id.Hooks, 0
	if kind == "" {
		kind, queried = v1beta1.RolloutHook, len(a.Metrics)
	}
	hooks := a.HooksOf(kind)
	results := make([]v1beta1.CheckStatus, queried+len(hooks))
	metrics, answers := results[:queried], results[queried:]
	var counted *release.Counted
	if !a.Sequential(kind) {
		var both sync.WaitGroup
		both.Go(func() { counted = k.queryAll(ctx, c, id, metrics) })
		both.Go(func() { k.callAll(ctx, c, hooks, id, answers) })
		both.Wait()
		return results, counted
	}
	if stopped := k.callInOrder(ctx, c, hooks, id, answers); stopped != "" {
		for i := range metrics {
			metrics[i] = skipped(a.Metrics[i].Name, stopped, k.Clock.Now())
			metrics[i].Window = a.Metrics[i].GetInterval()
		}
		return results, nil
	}
	return results, k.queryAll(ctx, c, id, metrics)
}

// queryAll queries metrics at once, as far as there are places, and counts the requests of those that compare.
func (k *Checker) queryAll(ctx context.Context, c *v1beta1.Canary, id release.CheckID, results []v1beta1.CheckStatus) *release.Counted {
	if len(results) == 0 {
		return nil
	}
	var wg sync.WaitGroup
	var counted *release.Counted
	var uncounted map[int]error
	wg.Go(func() {
		began := k.Clock.Now()
		if counted, uncounted = (counter{k}).counts(ctx, c); counted != nil {
			k.Traces.Check(c, id, began, v1beta1.CheckStatus{Name: "comparison", Verdict: v1beta1.CheckPassed, Time: metav1.NewMicroTime(k.Clock.Now())})
		}
	})
	for i := range results {
		if metric := c.GetAnalysis().Metrics[i]; onlyCompares(metric) {
			results[i] = comparing(metric, k.Clock.Now())
			continue
		}
		wg.Go(func() {
			place := k.Sources.Place(ctx, c, c.GetAnalysis().Metrics[i])
			k.queries.do(ctx, c.Namespace, place, func() { results[i] = k.check(ctx, c, id, i) })
		})
	}
	wg.Wait()
	noteSources(c.GetAnalysis().Metrics, counted, results)
	for i, err := range uncounted {
		if results[i].Verdict == v1beta1.CheckPassed {
			results[i] = uncountedResult(c.GetAnalysis().Metrics[i], err, k.Clock.Now())
		}
	}
	return counted
}

// noteSources has the results of metrics that only compare tell who counts for them, so that he is asked the next time.
func noteSources(all []v1beta1.CanaryMetric, counted *release.Counted, results []v1beta1.CheckStatus) {
	if counted == nil {
		return
	}
	next := 0
	for i := range all {
		if all[i].Comparison == nil {
			continue
		}
		if onlyCompares(all[i]) {
			results[i].Source = counted.Readings[next].Source
		}
		next++
	}
}

// callAll calls hooks at once, as far as there are places.
func (k *Checker) callAll(ctx context.Context, c *v1beta1.Canary, hooks []v1beta1.CanaryWebhook, id release.CheckID, results []v1beta1.CheckStatus) {
	var wg sync.WaitGroup
	for i := range hooks {
		wg.Go(func() { results[i] = k.place(ctx, c, hooks[i], id) })
	}
	wg.Wait()
}

// callInOrder calls one hook after the other, and none after one that stops the others.
// It returns the name of that one, empty for none.
func (k *Checker) callInOrder(ctx context.Context, c *v1beta1.Canary, hooks []v1beta1.CanaryWebhook, id release.CheckID, results []v1beta1.CheckStatus) (stopped string) {
	for i := range hooks {
		if stopped != "" {
			results[i] = skipped(hooks[i].Name, stopped, k.Clock.Now())
			continue
		}
		results[i] = k.place(ctx, c, hooks[i], id)
		if results[i].Verdict != v1beta1.CheckPassed && hooks[i].Stops() {
			stopped = hooks[i].Name
		}
	}
	return stopped
}

// skipped is the result of what was not asked, as a hook before it stopped it.
func skipped(name, stopped string, now time.Time) v1beta1.CheckStatus {
	return v1beta1.CheckStatus{
		Name: name, Verdict: v1beta1.CheckSkipped, Message: name + ": not asked, as hook " + stopped + " has failed", Time: metav1.NewMicroTime(now),
	}
}

// place calls a hook as soon as there is a place for it.
func (k *Checker) place(ctx context.Context, c *v1beta1.Canary, hook v1beta1.CanaryWebhook, id release.CheckID) (result v1beta1.CheckStatus) {
	places := k.calls
	if polled(id.Hooks) {
		if k.pace.Wait(ctx) != nil {
			return v1beta1.CheckStatus{}
		}
		places = k.polls
	}
	places.do(ctx, c.Namespace, host(hook.URL), func() { result = k.call(ctx, c, hook, id) })
	return result
}

// polled tells whether hooks of a type are called until they answer otherwise.
func polled(kind v1beta1.HookType) bool {
	switch kind {
	case v1beta1.ConfirmRolloutHook, v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook, v1beta1.RollbackHook:
		return true
	case v1beta1.RolloutHook, v1beta1.PreRolloutHook, v1beta1.PostRolloutHook, v1beta1.EventHook:
		return false
	default:
		return false
	}
}

// call calls one hook. Flagger takes whatever is not success for a failure, a
// hook that can't be reached too.
func (k *Checker) call(ctx context.Context, c *v1beta1.Canary, hook v1beta1.CanaryWebhook, id release.CheckID) v1beta1.CheckStatus {
	var answer string
	var err error
	began := k.Clock.Now()
	if mistake := contained(ctx, c, hook.Name, func() { answer, err = k.Hooks(ctx, c, hook, id) }); mistake != nil {
		err = mistake
	}
	k.Answers.Hook(hook.GetType(), began, err)
	st := v1beta1.CheckStatus{Name: hook.Name, Value: answer, Verdict: v1beta1.CheckPassed, Time: metav1.NewMicroTime(k.Clock.Now())}
	if err != nil {
		st.Verdict, st.Message = v1beta1.CheckFailed, "hook "+hook.Name+": "+err.Error()
	}
	if ctx.Err() == nil { // what was called off has no answer
		k.Traces.Hook(c, id, &hook, began, st)
	}
	return st
}
