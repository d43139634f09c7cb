package handover

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// handedOver is a Canary as this operator leaves it, and what is made of it.
type handedOver struct {
	phase    v1beta1.CanaryPhase
	weight   int32
	reverted bool // revertOnDeletion
	deleted  bool

	says          string
	wantPhase     v1beta1.CanaryPhase
	wantFinalizer bool
	kept          bool // it is not handed over
}

// What Flagger is given of each phase: no release that it would begin by itself, no finalizer that it would never remove,
// and nothing of what only this operator can end.
func TestHandOver(t *testing.T) {
	for name, tc := range map[string]handedOver{
		"at rest, initialized":         {phase: v1beta1.PhaseInitialized, says: "releases nothing", wantPhase: v1beta1.PhaseInitializing},
		"at rest, promoted":            {phase: v1beta1.PhaseSucceeded, says: "releases nothing", wantPhase: v1beta1.PhaseInitializing},
		"at rest, rolled back":         {phase: v1beta1.PhaseFailed, says: "releases nothing", wantPhase: v1beta1.PhaseInitializing},
		"with revertOnDeletion":        {phase: v1beta1.PhaseSucceeded, reverted: true, says: "releases nothing", wantPhase: v1beta1.PhaseInitializing, wantFinalizer: true},
		"the canary stands in":         {phase: v1beta1.PhaseSucceeded, weight: 100, says: "not handed over: it is Succeeded and its canary serves 100%", wantPhase: v1beta1.PhaseSucceeded, wantFinalizer: true, kept: true},
		"not begun":                    {says: "Flagger initializes it"},
		"being initialized":            {phase: v1beta1.PhaseInitializing, says: "Flagger initializes it", wantPhase: v1beta1.PhaseInitializing},
		"at the first gate":            {phase: v1beta1.PhaseWaiting, says: "begins the analysis anew", wantPhase: v1beta1.PhaseWaiting},
		"in the analysis":              {phase: v1beta1.PhaseProgressing, weight: 30, says: "begins the analysis anew", wantPhase: v1beta1.PhaseProgressing},
		"at the last gate":             {phase: v1beta1.PhaseWaitingPromotion, weight: 50, says: "begins the analysis anew", wantPhase: v1beta1.PhaseWaitingPromotion},
		"in the promotion":             {phase: v1beta1.PhasePromoting, weight: 50, says: "not handed over: it is Promoting", wantPhase: v1beta1.PhasePromoting, wantFinalizer: true, kept: true},
		"until the mesh has it":        {phase: v1beta1.PhaseFinalising, says: "not handed over: it is Finalising", wantPhase: v1beta1.PhaseFinalising, wantFinalizer: true, kept: true},
		"deleted, and Flagger reverts": {phase: v1beta1.PhaseTerminating, reverted: true, deleted: true, says: "goes on with its deletion", wantPhase: v1beta1.PhaseTerminating, wantFinalizer: true},
		"deleted":                      {phase: v1beta1.PhaseTerminating, deleted: true, says: "not handed over: it is being deleted", wantPhase: v1beta1.PhaseTerminating, wantFinalizer: true, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			api := handedTo(t, tc)
			clk, want := clocktesting.NewFakeClock(time.Unix(1e9, 0)), error(nil)
			if tc.kept {
				want = errNotHandedOver
			}
			out, err := handOverBeside(t, api, clk, func() {})
			if !errors.Is(err, want) || !strings.Contains(out, tc.says) {
				t.Errorf("error %v, want %v; it says %q, want %q", err, want, out, tc.says)
			}
			c := &v1beta1.Canary{}
			if err := api.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "cart"}, c); err != nil {
				t.Fatal(err)
			}
			if c.Status.Phase != tc.wantPhase || (len(c.Finalizers) > 0) != tc.wantFinalizer {
				t.Errorf("it is %s with the finalizers %v", c.Status.Phase, c.Finalizers)
			}
			if hash := c.Status.LastAppliedSpec; (hash == "") != (tc.wantPhase != tc.phase) {
				t.Errorf("it has the revision %q", hash)
			}
			if promoted := c.Status.GetCondition(v1beta1.ConditionPromoted); tc.wantPhase != tc.phase && promoted == nil {
				t.Error("a health check that reads the conditions finds none")
			}
		})
	}
}

// An operator that was not stopped takes its Canaries back, which is told.
func TestHandOverBesideAnOperator(t *testing.T) {
	api, clk := handedTo(t, handedOver{phase: v1beta1.PhaseSucceeded}), clocktesting.NewFakeClock(time.Unix(1e9, 0))
	_, err := handOverBeside(t, api, clk, func() { putBack(t, api, client.ObjectKey{Namespace: "shop", Name: "cart"}) })
	if !errors.Is(err, errOperatorAtWork) {
		t.Errorf("error %v", err)
	}
}

func handedTo(t *testing.T, tc handedOver) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", Finalizers: []string{v1beta1.Finalizer}}}
	c.Spec.RevertOnDeletion = tc.reverted
	c.Status = v1beta1.CanaryStatus{Phase: tc.phase, CanaryWeight: tc.weight, LastAppliedSpec: "s1-a"}
	if tc.deleted {
		now := metav1.NewTime(time.Unix(1e9, 0))
		c.DeletionTimestamp = &now
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(c).WithStatusSubresource(c).Build()
}

// handOverBeside hands all over, and does something before it is looked at what became of that.
func handOverBeside(t *testing.T, api client.Client, clk *clocktesting.FakeClock, then func()) (out string, err error) {
	t.Helper()
	var stdout bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- ToFlagger(t.Context(), api, []client.ListOption{client.InNamespace("shop")}, &stdout, clk)
	}()
	for {
		select {
		case err := <-ended:
			return stdout.String(), err
		default:
			if clk.HasWaiters() {
				then()
				clk.Step(settleTime)
				return stdout.String(), <-ended
			}
		}
	}
}
