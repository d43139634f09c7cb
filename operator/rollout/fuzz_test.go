package rollout_test

import (
	"encoding/json"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout"
	"github.com/sluice-delivery/sluice/operator/rollout/plan"
)

// FuzzStatus decides about statuses of any origin: of Flagger, of older versions, of whoever may write one. What is decided
// can be written and routed, and leaves the same to be decided.
func FuzzStatus(f *testing.F) {
	for _, status := range []string{
		`{}`, `{"phase":"Initialized"}`, `{"phase":"Progressing","canaryWeight":20,"failedChecks":1,"iterations":2,"lastAppliedSpec":"5b9d8b4c5","lastPromotedSpec":"x","trackedConfigs":{"configmap/a":"b"},"conditions":[{"type":"Promoted","status":"Unknown"}]}`,
		`{"phase":"Progressing","canaryWeight":40,"lastAppliedSpec":"s1-b","lastPromotedSpec":"s1-a","step":{"index":1,"since":"2026-01-01T12:00:00.000000Z"}}`,
		`{"phase":"Promoting","canaryWeight":100,"lastAppliedSpec":"s1-b"}`, `{"phase":"Finalising"}`, `{"phase":"WaitingPromotion","step":{"index":-1}}`,
		`{"phase":"Progressing","canaryWeight":-5,"step":{"index":2147483647,"weight":1000},"failedChecks":-1,"iterations":-2147483648}`,
		`{"phase":"nonsense","checks":[{"name":"","verdict":"x"}],"gate":{"name":"a"},"paused":true,"history":[{}]}`,
		`{"phase":"Terminating","traffic":{"canary":101}}`, `{"phase":"Failed","step":{"takeover":true}}`,
	} {
		f.Add([]byte(status), []byte(`{"stepWeight":20,"maxWeight":60}`), uint8(0))
		f.Add([]byte(status), []byte(`{"iterations":3,"mirror":true,"match":[{}]}`), uint8(255))
	}
	f.Fuzz(func(t *testing.T, status, analysis []byte, world uint8) {
		o := newScene().Observation
		o.Canary.Status, o.Canary.Spec.Analysis = v1beta1.CanaryStatus{}, &v1beta1.CanaryAnalysis{}
		if json.Unmarshal(status, &o.Canary.Status) != nil || json.Unmarshal(analysis, o.Canary.Spec.Analysis) != nil {
			return
		}
		has := func(bit int) bool { return world>>bit&1 == 1 }
		if has(0) {
			o.Target.Revision = revB
		}
		o.Target.Ready, o.Primary.Ready = has(1), !has(2)
		if has(1) {
			o.Target.Replicas, o.Target.Available = 2, 2
		}
		if has(2) {
			o.Primary.Available = 0
		}
		o.Route.InSync = !has(3)
		if has(4) {
			o.Canary.DeletionTimestamp = &metav1.Time{Time: t0}
		}
		o.Primary.Exists, o.Target.Exists = !has(5), !has(6)
		d := rollout.Decide(o)
		wellFormed(t, d)
		if raw, err := json.Marshal(d.Status); err != nil || len(raw) > len(status)+64<<10 {
			t.Errorf("a status of %d bytes became one of %d, error %v", len(status), len(raw), err)
		}
	})
}

func wellFormed(t *testing.T, d release.Decision) {
	t.Helper()
	if w := d.Status.CanaryWeight; w < 0 || w > 100 {
		t.Errorf("the weight is %d", w)
	}
	if traffic := d.Desired.Traffic; traffic.Canary < 0 || traffic.Canary > 100 || traffic.Mirror < 0 || traffic.Mirror > 100 {
		t.Errorf("the traffic is %+v", traffic)
	}
}

// FuzzPlan makes plans of any weights: each step is one that can be routed, and none takes time or memory by a number of the spec.
func FuzzPlan(f *testing.F) {
	f.Add(int32(10), int32(50), int32(0), int32(0), int32(100), []byte{}, false)
	f.Add(int32(100), int32(1), int32(2147483647), int32(-1), int32(-5), []byte{1, 200, 0}, true)
	f.Add(int32(-1), int32(1000), int32(-3), int32(7), int32(0), []byte{50, 10, 100}, true)
	f.Fuzz(func(t *testing.T, step, most, iterations, promotion, mirrorWeight int32, weights []byte, mirror bool) {
		a := &v1beta1.CanaryAnalysis{
			StepWeight: step, MaxWeight: most, Iterations: iterations, StepWeightPromotion: promotion, MirrorWeight: mirrorWeight, Mirror: mirror,
		}
		for _, w := range weights {
			a.StepWeights = append(a.StepWeights, int32(int8(w)))
		}
		began := time.Now()
		p := plan.Of(a)
		if n := p.Len(); n < 0 {
			t.Errorf("%d steps", n)
		}
		for _, index := range []int32{0, 1, p.Len() - 1, p.Len(), -1, 2147483647} {
			if s := p.At(index); s.Weight < 0 || s.Weight > 100 {
				t.Errorf("step %d has weight %d", index, s.Weight)
			}
			_ = p.Describe(index)
		}
		_, _, _ = p.Hash(), p.Kind(), p.FirstAbove(50)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it takes %s", took)
		}
	})
}

// FuzzActions has people ask anything of a release at any point: what is decided can be written and routed.
func FuzzActions(f *testing.F) {
	for _, phase := range []v1beta1.CanaryPhase{"", v1beta1.PhaseInitialized, v1beta1.PhaseProgressing, v1beta1.PhaseWaitingPromotion, v1beta1.PhaseFailed} {
		for _, action := range []v1beta1.ActionType{v1beta1.ActionPause, v1beta1.ActionResume, v1beta1.ActionPromote, v1beta1.ActionAbort, v1beta1.ActionRetry, v1beta1.ActionApprove, v1beta1.ActionAdvance, v1beta1.ActionRollback, "nonsense"} {
			f.Add(string(phase), string(action), "a", "because\n\u202eof", "", int32(1))
			f.Add(string(phase), string(action), "a", "", "another", int32(2147483647))
		}
	}
	f.Fuzz(func(t *testing.T, phase, action, name, reason, revision string, step int32) {
		o := newScene().step(1, 20, time.Minute).Observation
		o.Canary.Status.Phase, o.Canary.Status.Step.Index = v1beta1.CanaryPhase(phase), step
		a := release.Action{Name: name, Type: v1beta1.ActionType(action), By: name, Reason: reason, Revision: revision, To: reason}
		for range 2 { // the second time it is known
			o.Actions = []release.Action{a}
			d := rollout.Decide(o)
			wellFormed(t, d)
			o.Canary = o.Canary.DeepCopy()
			o.Canary.Status = d.Status
		}
	})
}
