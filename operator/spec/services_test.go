package spec_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/spec"
	"github.com/sluice-delivery/sluice/operator/workload"
)

func deployment(name string, labels map[string]string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": labels["app"]}}
	d.Spec.Template.Labels = labels
	return d
}

// A Service becomes a Canary's only if its requests go to the application already, or its owner allows it.
func TestMayAdopt(t *testing.T) {
	target := deployment("cart", map[string]string{"app": "cart", "tier": "web"})
	primary := deployment("cart-primary", map[string]string{"app": "cart-primary", "tier": "web"})
	options := workload.Options{SelectorLabels: []string{"app"}}
	selector := func(pairs ...string) map[string]string {
		out := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = pairs[i+1]
		}
		return out
	}
	for name, tc := range map[string]struct {
		selector, annotations map[string]string
		target, primary       client.Object
		want                  bool
	}{
		"leads to the target":                  {selector: selector("app", "cart"), target: target, want: true},
		"by another label of it":               {selector: selector("tier", "web"), target: target, want: true},
		"by more labels than it has":           {selector: selector("app", "cart", "version", "1"), target: target, want: true},
		"leads to the primary":                 {selector: selector("app", "cart-primary"), target: target, primary: primary, want: true},
		"as Flagger left it":                   {selector: selector("app", "cart-primary"), target: target, want: true},
		"leads to a database":                  {selector: selector("app", "postgres"), target: target, primary: primary},
		"leads to a name that begins like it":  {selector: selector("app", "cart-api"), target: target, primary: primary},
		"leads nowhere, as default/kubernetes": {target: target, primary: primary},
		"its owner allows it":                  {selector: selector("app", "postgres"), annotations: selector(spec.AdoptableAnnotation, "true"), target: target, want: true},
		"its owner does not":                   {selector: selector("app", "postgres"), annotations: selector(spec.AdoptableAnnotation, "no"), target: target},
		"was adopted before":                   {selector: selector("app", "x"), annotations: selector(workload.OriginalAnnotation, "{}"), target: target, want: true},
		"the target is gone, and was led to":   {selector: selector("app", "cart"), primary: primary, want: true},
		"the target is gone, a database":       {selector: selector("app", "postgres"), primary: primary},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}
			c.Spec.Service.Port = 80
			var all workload.Services
			if tc.target != nil {
				var err error
				if all, err = workload.BuildServices(c, tc.target, tc.primary, options); err != nil {
					t.Fatal(err)
				}
			} else {
				all = workload.PrimaryServices(c, tc.primary, options)
			}
			live := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: tc.annotations}, Spec: corev1.ServiceSpec{Selector: tc.selector}}
			if got := spec.MayAdopt(all, live, tc.target, tc.primary, options); got != tc.want {
				t.Errorf("it may be adopted: %v, want %v", got, tc.want)
			}
		})
	}
}
