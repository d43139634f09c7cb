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
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// Uninstalling the operator leaves no Canary whose deletion hangs, and takes nothing from those that serve.
func TestRemoveFinalizers(t *testing.T) {
	canary := func(namespace, name string, finalizers ...string) *v1beta1.Canary {
		return &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Finalizers: finalizers}}
	}
	deleted := canary("shop", "deleted", v1beta1.Finalizer)
	now := metav1.NewTime(time.Unix(1e9, 0))
	deleted.DeletionTimestamp = &now
	for name, tc := range map[string]struct {
		namespace string
		operator  bool // is at work
		want      map[string][]string
		lines     int
		err       error
	}{
		"of all namespaces": {want: map[string][]string{"shop/a": {"other.io/x"}, "shop/free": nil, "pay/b": nil}, lines: 3},
		"of one namespace":  {namespace: "pay", want: map[string][]string{"shop/a": {v1beta1.Finalizer, "other.io/x"}, "shop/deleted": {v1beta1.Finalizer}, "shop/free": nil, "pay/b": nil}, lines: 1},
		"beside an operator": {
			operator: true, namespace: "pay", want: map[string][]string{"shop/a": {v1beta1.Finalizer, "other.io/x"}, "shop/deleted": {v1beta1.Finalizer}, "shop/free": nil, "pay/b": {v1beta1.Finalizer}},
			lines: 1, err: errOperatorAtWork,
		},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := v1beta1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
				canary("shop", "a", v1beta1.Finalizer, "other.io/x"), canary("shop", "free"), canary("pay", "b", v1beta1.Finalizer), deleted.DeepCopy(),
			).Build()
			clk := clocktesting.NewFakeClock(time.Unix(1e9, 0))
			var out bytes.Buffer
			ended := make(chan error, 1)
			go func() {
				ended <- RemoveFinalizers(t.Context(), api, []client.ListOption{client.InNamespace(tc.namespace)}, &out, clk)
			}()
			for !clk.HasWaiters() {
				select {
				case err := <-ended:
					t.Fatalf("it ended early: %v", err)
				default:
				}
			}
			if tc.operator {
				putBack(t, api, client.ObjectKey{Namespace: "pay", Name: "b"})
			}
			clk.Step(settleTime)
			if err := <-ended; !errors.Is(err, tc.err) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			var list v1beta1.CanaryList
			if err := api.List(t.Context(), &list); err != nil {
				t.Fatal(err)
			}
			if len(list.Items) != len(tc.want) {
				t.Errorf("%d Canaries are there, want %d", len(list.Items), len(tc.want))
			}
			for _, c := range list.Items {
				key := c.Namespace + "/" + c.Name
				if got, want := strings.Join(c.Finalizers, ","), strings.Join(tc.want[key], ","); got != want {
					t.Errorf("%s has the finalizers %q, want %q", key, got, want)
				}
			}
			if n := strings.Count(out.String(), "let go of Canary"); n != tc.lines {
				t.Errorf("%d lines, want %d:\n%s", n, tc.lines, &out)
			}
		})
	}
}

func putBack(t *testing.T, api client.Client, key client.ObjectKey) {
	t.Helper()
	c := &v1beta1.Canary{}
	if err := api.Get(t.Context(), key, c); err != nil {
		t.Fatal(err)
	}
	controllerutil.AddFinalizer(c, v1beta1.Finalizer)
	if err := api.Update(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}
