package references

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/sources"
)

func newTemplate(name, secret string) *v1beta1.MetricTemplate {
	t := &v1beta1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Generation: 1}}
	if secret != "" {
		t.Spec.Provider.SecretRef = &corev1.LocalObjectReference{Name: secret}
	}
	return t
}

// A template tells whether it can be used, once for each answer.
func TestReconcile(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(newTemplate("m", "")).WithStatusSubresource(&v1beta1.MetricTemplate{}).Build()
	writes := 0
	recorder := events.NewFakeRecorder(10)
	var answer error
	r := &Reconciler[*v1beta1.MetricTemplate]{
		New: func() *v1beta1.MetricTemplate { return &v1beta1.MetricTemplate{} }, Noun: "template",
		Client: interceptor.NewClient(api, interceptor.Funcs{
			SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
				writes++
				return c.SubResource(sub).Update(ctx, o, opts...)
			},
		}),
		Check:    func(context.Context, *v1beta1.MetricTemplate) error { return answer },
		Recorder: recorder,
		Clock:    clocktesting.NewFakePassiveClock(time.Unix(1767225600, 0)),
	}
	bad := &sources.Problem{Reason: "TemplateInvalid", Message: "spec.query: {{ .Namespace }}"}
	for i, step := range []struct {
		answer     error
		wantStatus corev1.ConditionStatus
		wantReason string
		wantWrites int
		wantEvent  string
		wantErr    bool
	}{
		{nil, corev1.ConditionTrue, "Valid", 1, "", false},
		{nil, corev1.ConditionTrue, "Valid", 1, "", false},
		{bad, corev1.ConditionFalse, "TemplateInvalid", 2, "Warning TemplateInvalid spec.query: {{ .Namespace }}", false},
		{bad, corev1.ConditionFalse, "TemplateInvalid", 2, "", false},
		{errors.New("the API server is away"), corev1.ConditionFalse, "TemplateInvalid", 2, "", true},
		{nil, corev1.ConditionTrue, "Valid", 3, "Normal Valid Canaries can use this template", false},
	} {
		answer = step.answer
		key := client.ObjectKey{Namespace: "shop", Name: "m"}
		if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); (err != nil) != step.wantErr {
			t.Fatalf("turn %d: %v", i, err)
		}
		got := &v1beta1.MetricTemplate{}
		if err := api.Get(t.Context(), key, got); err != nil {
			t.Fatal(err)
		}
		c := got.Status.GetCondition(v1beta1.ConditionReady)
		if c == nil || c.Status != step.wantStatus || c.Reason != step.wantReason || c.ObservedGeneration != 1 || writes != step.wantWrites {
			t.Errorf("turn %d: %+v after %d writes", i, c, writes)
		}
		seen := ""
		select {
		case seen = <-recorder.Events:
		default:
		}
		if seen != step.wantEvent {
			t.Errorf("turn %d: event %q, want %q", i, seen, step.wantEvent)
		}
	}
	if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: "shop", Name: "gone"}}); err != nil {
		t.Errorf("one that is gone: %v", err)
	}
}

// A query of Prometheus that may select several series is told of when it is applied.
func TestAdvice(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		kind, query string
		want        bool
	}{
		"aggregated":       {"prometheus", `sum(rate(errors{app="{{ target }}"}[{{ interval }}]))`, false},
		"not aggregated":   {"prometheus", `rate(errors{app="{{ target }}"}[{{ interval }}])`, true},
		"another provider": {"datadog", "avg:errors", false},
	} {
		t.Run(name, func(t *testing.T) {
			template := newTemplate("m", "")
			template.Spec.Provider.Type, template.Spec.Query = tc.kind, tc.query
			api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(template).WithStatusSubresource(template).Build()
			recorder := events.NewFakeRecorder(10)
			r := &Reconciler[*v1beta1.MetricTemplate]{
				New: func() *v1beta1.MetricTemplate { return &v1beta1.MetricTemplate{} }, Noun: "template", Advice: SeveralSeries,
				Client: api, Recorder: recorder, Clock: clocktesting.NewFakePassiveClock(time.Unix(1767225600, 0)),
				Check: func(context.Context, *v1beta1.MetricTemplate) error { return nil },
			}
			key := client.ObjectKeyFromObject(template)
			if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
			if err := api.Get(t.Context(), key, template); err != nil {
				t.Fatal(err)
			}
			c := template.Status.GetCondition(v1beta1.ConditionReady)
			if c.Status != corev1.ConditionTrue || strings.Contains(c.Message, "several series") != tc.want || (len(recorder.Events) > 0) != tc.want {
				t.Errorf("%+v, and %d events", c, len(recorder.Events))
			}
		})
	}
}

func TestUsersOfASecret(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	elsewhere := newTemplate("c", "key")
	elsewhere.Namespace = "other"
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(newTemplate("a", "key"), newTemplate("b", "lock"), elsewhere, newTemplate("d", "")).
		WithIndex(&v1beta1.MetricTemplate{}, secretIndex, secretNames).Build()
	r := &Reconciler[*v1beta1.MetricTemplate]{Client: api, List: func() client.ObjectList { return &v1beta1.MetricTemplateList{} }}
	secret := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "key"}}
	var got []string
	for _, req := range r.users(t.Context(), secret) {
		got = append(got, req.String())
	}
	if d := cmp.Diff([]string{"shop/a"}, got); d != "" {
		t.Error(d)
	}
}
