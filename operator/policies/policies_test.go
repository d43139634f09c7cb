package policies

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/policy"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/world"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// waiting is a Canary whose release waits for its turn.
func waiting(name string) *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), ResourceVersion: "1"},
		Status: v1beta1.CanaryStatus{
			Phase: v1beta1.PhaseWaiting, Admission: &v1beta1.AdmissionStatus{Since: metav1.NewMicroTime(now.Add(-time.Minute))},
		},
	}
}

// inRelease is one that has begun.
func inRelease(name string) *v1beta1.Canary {
	c := waiting(name)
	c.Status.Phase, c.Status.Admission = v1beta1.PhaseProgressing, nil
	return c
}

func oneAtATime() *v1alpha1.ReleasePolicy {
	return &v1alpha1.ReleasePolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "one"}, Spec: v1alpha1.ReleasePolicySpec{MaxReleases: new(int32(1))}}
}

// office are the policies of a cluster with objects, and whom they have woken.
type office struct {
	*Policies

	t     *testing.T
	cache client.Reader
	woken []string
}

func newOffice(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) *office {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1beta1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range objects {
		o.SetResourceVersion("")
	}
	o := &office{t: t, cache: fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(funcs).Build()}
	o.Policies = New(Config{
		Clock: clocktesting.NewFakePassiveClock(now),
		Wake: func(_ context.Context, keys []types.NamespacedName) {
			for _, key := range keys {
				o.woken = append(o.woken, key.Name)
			}
		},
	})
	return o
}

func (o *office) read(kinds ...string) {
	o.t.Helper()
	for _, kind := range kinds {
		if err := o.Read(o.t.Context(), o.cache, kind); err != nil {
			o.t.Fatal(err)
		}
	}
}

// turn is what a Canary is told.
func (o *office) turn(c *v1beta1.Canary) string {
	o.t.Helper()
	w := world.New(release.Observation{Canary: c, Now: now})
	if err := o.Observe(o.t.Context(), w); err != nil {
		o.t.Fatal(err)
	}
	o.Settle(o.t.Context(), c)
	switch {
	case w.Turn == nil:
		return "nothing"
	case w.Turn.May:
		return "may"
	}
	return w.Turn.Reason
}

// Until all kinds of policies are read no release begins, and who has asked too early is woken then.
func TestReadBeforeAnybodyBegins(t *testing.T) {
	const ofNamespace, ofCluster = v1alpha1.ReleasePolicyKind, v1alpha1.ClusterReleasePolicyKind
	c := waiting("web")
	o := newOffice(t, interceptor.Funcs{}, oneAtATime(), c.DeepCopy())
	if got := o.turn(c); got != "nothing" {
		t.Errorf("without the kinds it is told %s", got)
	}
	o.Served(ofNamespace, ofCluster)
	if got := o.turn(c); got != release.ReasonPoliciesUnread {
		t.Errorf("before anything is read it is told %s", got)
	}
	o.read(ofNamespace)
	if got := o.turn(c); got != release.ReasonPoliciesUnread || len(o.woken) > 0 {
		t.Errorf("before all is read it is told %s, and woken are %v", got, o.woken)
	}
	o.read(ofCluster)
	if !slices.Equal(o.woken, []string{"web"}) {
		t.Errorf("woken are %v", o.woken)
	}
	if got := o.turn(c); got != "may" {
		t.Errorf("after that it is told %s", got)
	}
}

// A Canary that goes while all are read takes nobody's place.
func TestGoneWhileRead(t *testing.T) {
	for name, gone := range map[string]bool{"it stays": false, "it goes": true} {
		t.Run(name, func(t *testing.T) {
			c := waiting("web")
			o := newOffice(t, interceptor.Funcs{
				Get: func(ctx context.Context, api client.WithWatch, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
					if gone && key.Name == "other" {
						key.Name = "nobody"
					}
					return api.Get(ctx, key, into, opts...)
				},
			}, oneAtATime(), c.DeepCopy(), inRelease("other"))
			o.Served(v1alpha1.ReleasePolicyKind)
			o.read(v1alpha1.ReleasePolicyKind)
			want := release.ReasonMaximumReached
			if gone {
				want = "may"
			}
			if got := o.turn(c); got != want {
				t.Errorf("it is told %s, want %s", got, want)
			}
		})
	}
}

// Where the labels of namespaces can't be read a policy that goes by them is about all.
func TestLabelsThatAreNotKnown(t *testing.T) {
	byLabel := &v1alpha1.ClusterReleasePolicy{ObjectMeta: metav1.ObjectMeta{Name: "production"}}
	byLabel.Spec.Namespaces = &metav1.LabelSelector{MatchLabels: map[string]string{"stage": "production"}}
	everywhere := &v1alpha1.ClusterReleasePolicy{ObjectMeta: metav1.ObjectMeta{Name: "all"}}
	for name, tc := range map[string]struct {
		policy  *v1alpha1.ClusterReleasePolicy
		unknown error
		want    string
	}{
		"not known, and gone by":     {byLabel, errors.New("forbidden"), release.ReasonPolicyInvalid},
		"not known, and not gone by": {everywhere, errors.New("forbidden"), "may"},
		"known, and others'":         {byLabel, nil, "nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			c := waiting("web")
			o := newOffice(t, interceptor.Funcs{}, tc.policy.DeepCopy(), c.DeepCopy())
			o.spaces = tc.unknown
			o.Served(v1alpha1.ClusterReleasePolicyKind)
			o.read(v1alpha1.ClusterReleasePolicyKind)
			if got := o.turn(c); got != tc.want {
				t.Errorf("it is told %s, want %s", got, tc.want)
			}
			rules := o.rulesOf(tc.policy)
			if invalid := rules.Invalid() != ""; invalid != (tc.want == release.ReasonPolicyInvalid) {
				t.Errorf("the policy is invalid: %q", rules.Invalid())
			}
		})
	}
	if x := (policy.Key{Name: "all"}); x.String() != "ClusterReleasePolicy/all" {
		t.Errorf("%s", x)
	}
}
