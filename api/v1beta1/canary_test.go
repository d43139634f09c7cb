package v1beta1_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func TestNames(t *testing.T) {
	for name, tc := range map[string]struct {
		service                                        string
		wantApex, wantPrimary, wantCanary, wantPrimObj string
	}{
		"target's name":      {"", "shop", "shop-primary", "shop-canary", "shop-primary"},
		"service's own name": {"web", "web", "web-primary", "web-canary", "shop-primary"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1beta1.Canary{}
			c.Spec.TargetRef.Name = "shop"
			c.Spec.Service.Name = tc.service
			apex, primary, canary := c.ServiceNames()
			got := []string{apex, primary, canary, c.PrimaryName()}
			if d := cmp.Diff([]string{tc.wantApex, tc.wantPrimary, tc.wantCanary, tc.wantPrimObj}, got); d != "" {
				t.Errorf("names (-want +got):\n%s", d)
			}
		})
	}
}

func TestGetAnalysis(t *testing.T) {
	now, old := &v1beta1.CanaryAnalysis{Threshold: 1}, &v1beta1.CanaryAnalysis{Threshold: 2}
	for name, tc := range map[string]struct {
		spec v1beta1.CanarySpec
		want v1beta1.CanaryAnalysis
	}{
		"analysis":        {v1beta1.CanarySpec{Analysis: now}, *now},
		"deprecated name": {v1beta1.CanarySpec{CanaryAnalysis: old}, *old},
		"both":            {v1beta1.CanarySpec{Analysis: now, CanaryAnalysis: old}, *now},
		"neither":         {v1beta1.CanarySpec{}, v1beta1.CanaryAnalysis{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := (&v1beta1.Canary{Spec: tc.spec}).GetAnalysis()
			if d := cmp.Diff(&tc.want, got); d != "" {
				t.Errorf("GetAnalysis (-want +got):\n%s", d)
			}
		})
	}
}

func TestGetInterval(t *testing.T) {
	for name, tc := range map[string]struct {
		interval  string
		want      time.Duration
		wantError bool
	}{
		"unset":    {"", time.Minute, false},
		"minutes":  {"1m30s", 90 * time.Second, false},
		"fraction": {"1.5s", 1500 * time.Millisecond, false},
		"zero":     {"0s", 0, true},
		"negative": {"-1m", 0, true},
		"no unit":  {"60", 0, true},
		"words":    {"soon", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := (&v1beta1.CanaryAnalysis{Interval: tc.interval}).GetInterval()
			if got != tc.want || (err != nil) != tc.wantError {
				t.Errorf("GetInterval() = %v, %v; want %v, error %v", got, err, tc.want, tc.wantError)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	type values struct {
		Deadline, Drain                      time.Duration
		Threshold, PrimaryReady, CanaryReady int32
		Provider, MetricInterval             string
	}
	for name, tc := range map[string]struct {
		spec   v1beta1.CanarySpec
		metric v1beta1.CanaryMetric
		want   values
	}{
		"unset": {
			want: values{10 * time.Minute, 10 * time.Second, 1, 100, 100, "istio", "1m"},
		},
		"set": {
			spec: v1beta1.CanarySpec{
				Provider: "consul", ProgressDeadlineSeconds: ptr.To[int32](60), DrainDelaySeconds: ptr.To[int32](3),
				Analysis: &v1beta1.CanaryAnalysis{
					Threshold: 7, PrimaryReadyThreshold: ptr.To[int32](50), CanaryReadyThreshold: ptr.To[int32](20),
				},
			},
			metric: v1beta1.CanaryMetric{Interval: "1min"},
			want:   values{time.Minute, 3 * time.Second, 7, 50, 20, "consul", "1min"},
		},
		"set to zero": {
			spec: v1beta1.CanarySpec{
				ProgressDeadlineSeconds: ptr.To[int32](0), DrainDelaySeconds: ptr.To[int32](0),
				Analysis: &v1beta1.CanaryAnalysis{
					PrimaryReadyThreshold: ptr.To[int32](0), CanaryReadyThreshold: ptr.To[int32](0),
				},
			},
			want: values{0, 0, 1, 0, 0, "istio", "1m"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1beta1.Canary{Spec: tc.spec}
			a := c.GetAnalysis()
			got := values{
				c.GetProgressDeadline(), c.GetDrainDelay(),
				a.GetThreshold(), a.GetPrimaryReadyThreshold(), a.GetCanaryReadyThreshold(),
				c.GetProvider("istio"), tc.metric.GetInterval(),
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("values (-want +got):\n%s", d)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	for name, tc := range map[string]struct {
		analysis v1beta1.CanaryAnalysis
		want     []int32
	}{
		"even":                      {v1beta1.CanaryAnalysis{StepWeight: 10, MaxWeight: 50}, []int32{10, 20, 30, 40, 50}},
		"last one capped":           {v1beta1.CanaryAnalysis{StepWeight: 20, MaxWeight: 50}, []int32{20, 40, 50}},
		"to 100 by default":         {v1beta1.CanaryAnalysis{StepWeight: 40}, []int32{40, 80, 100}},
		"one step":                  {v1beta1.CanaryAnalysis{StepWeight: 30, MaxWeight: 30}, []int32{30}},
		"step above max":            {v1beta1.CanaryAnalysis{StepWeight: 30, MaxWeight: 20}, []int32{20}},
		"listed":                    {v1beta1.CanaryAnalysis{StepWeights: []int32{1, 5, 80}}, []int32{1, 5, 80}},
		"listed win over the other": {v1beta1.CanaryAnalysis{StepWeights: []int32{1, 5}, StepWeight: 10}, []int32{1, 5}},
		"none":                      {v1beta1.CanaryAnalysis{Iterations: 5, MaxWeight: 50}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, tc.analysis.Steps()); d != "" {
				t.Errorf("Steps (-want +got):\n%s", d)
			}
		})
	}
}

// Whatever is accepted: steps grow, by stepWeight at most, stay within 1 to maxWeight, and end there.
func TestStepsGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maxWeight := rapid.Int32Range(1, 100).Draw(t, "maxWeight")
		a := v1beta1.CanaryAnalysis{MaxWeight: maxWeight, StepWeight: rapid.Int32Range(1, maxWeight).Draw(t, "stepWeight")}
		steps := a.Steps()
		before := int32(0)
		for _, w := range steps {
			if w <= before || w-before > a.StepWeight {
				t.Fatalf("steps %v: from %d to %d", steps, before, w)
			}
			before = w
		}
		if before != maxWeight {
			t.Fatalf("steps %v do not end at %d", steps, maxWeight)
		}
	})
}

// The caller may change what Steps returns without changing the spec.
func TestStepsAreACopy(t *testing.T) {
	a := v1beta1.CanaryAnalysis{StepWeights: []int32{1, 2}}
	a.Steps()[0] = 99
	if !slices.Equal(a.StepWeights, []int32{1, 2}) {
		t.Errorf("spec changed to %v", a.StepWeights)
	}
}

func TestSetCondition(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	t1 := t0.Add(time.Minute)
	first := v1beta1.CanaryCondition{
		Type: v1beta1.ConditionReady, Status: corev1.ConditionTrue, Reason: "Succeeded", Message: "m", ObservedGeneration: 1,
	}
	for name, tc := range map[string]struct {
		change                     func(*v1beta1.CanaryCondition)
		wantChanged                bool
		wantUpdate, wantTransition time.Time
	}{
		"nothing":    {func(*v1beta1.CanaryCondition) {}, false, t0, t0},
		"message":    {func(c *v1beta1.CanaryCondition) { c.Message = "n" }, true, t1, t0},
		"reason":     {func(c *v1beta1.CanaryCondition) { c.Reason = "Failed" }, true, t1, t0},
		"generation": {func(c *v1beta1.CanaryCondition) { c.ObservedGeneration = 2 }, true, t1, t0},
		"status":     {func(c *v1beta1.CanaryCondition) { c.Status = corev1.ConditionFalse }, true, t1, t1},
	} {
		t.Run(name, func(t *testing.T) {
			var s v1beta1.CanaryStatus
			if !s.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionPromoted, Status: corev1.ConditionTrue}, t0) {
				t.Error("a new condition is no change")
			}
			s.SetCondition(first, t0)
			next := first
			tc.change(&next)
			if got := s.SetCondition(next, t1); got != tc.wantChanged {
				t.Errorf("SetCondition() = %v, want %v", got, tc.wantChanged)
			}
			next.LastUpdateTime, next.LastTransitionTime = metav1.NewTime(tc.wantUpdate), metav1.NewTime(tc.wantTransition)
			if d := cmp.Diff(&next, s.GetCondition(v1beta1.ConditionReady)); d != "" {
				t.Errorf("condition (-want +got):\n%s", d)
			}
			if len(s.Conditions) != 2 {
				t.Errorf("%d conditions, want 2", len(s.Conditions))
			}
		})
	}
}

func TestRemoveCondition(t *testing.T) {
	var s v1beta1.CanaryStatus
	s.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionReady}, time.Time{})
	s.SetCondition(v1beta1.CanaryCondition{Type: v1beta1.ConditionStalled}, time.Time{})
	if !s.RemoveCondition(v1beta1.ConditionReady) || s.RemoveCondition(v1beta1.ConditionReady) {
		t.Error("RemoveCondition() does not say whether there was one")
	}
	if s.GetCondition(v1beta1.ConditionReady) != nil || s.GetCondition(v1beta1.ConditionStalled) == nil {
		t.Errorf("left: %v", s.Conditions)
	}
}

func TestRawObject(t *testing.T) {
	type holder struct {
		Rewrite *v1beta1.RawObject  `json:"rewrite,omitempty"`
		Match   []v1beta1.RawObject `json:"match,omitempty"`
	}
	for name, tc := range map[string]struct{ in, want string }{
		"absent":     {`{}`, `{}`},
		"empty":      {`{"rewrite":{}}`, `{"rewrite":{}}`},
		"null":       {`{"rewrite":null,"match":[null]}`, `{"match":[{}]}`},
		"as written": {`{"rewrite":{"z":1.50,"a":[{}]}}`, `{"rewrite":{"z":1.50,"a":[{}]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			var h holder
			if err := json.Unmarshal([]byte(tc.in), &h); err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(h)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestRawObjectDecode(t *testing.T) {
	type rewrite struct{ URI string }
	for name, tc := range map[string]struct {
		in        *v1beta1.RawObject
		want      rewrite
		wantError bool
	}{
		"nil":   {nil, rewrite{}, false},
		"empty": {&v1beta1.RawObject{}, rewrite{}, false},
		"known": {&v1beta1.RawObject{Raw: []byte(`{"uri":"/","x":1}`)}, rewrite{"/"}, false},
		"wrong": {&v1beta1.RawObject{Raw: []byte(`{"uri":1}`)}, rewrite{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var got rewrite
			err := tc.in.Decode(&got)
			if (err != nil) != tc.wantError || got != tc.want {
				t.Errorf("Decode() = %v, %v; want %v, error %v", got, err, tc.want, tc.wantError)
			}
		})
	}
}

// Caches and server-side apply convert by other code than json.Marshal; nothing may be lost there either.
func TestUnstructured(t *testing.T) {
	want := load(t, "testdata/accepted/istio-canary.yaml")
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := u["status"]; ok {
		t.Errorf("an empty status is written: %v", u["status"])
	}
	var got v1beta1.Canary
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(toAny(t, want), toAny(t, got)); d != "" {
		t.Errorf("changed (-want +got):\n%s", d)
	}
}

func TestDeepCopy(t *testing.T) {
	c := load(t, "testdata/accepted/istio-canary.yaml")
	want := toAny(t, c)
	other := c.DeepCopy()
	other.Spec.Service.Match[0].Raw[0] = 'x'
	other.Spec.Service.Retries.Raw[0] = 'x'
	*other.Spec.Analysis.Metrics[0].ThresholdRange.Min = 1
	if d := cmp.Diff(want, toAny(t, c)); d != "" {
		t.Errorf("a change of the copy changed the original (-want +got):\n%s", d)
	}
}
