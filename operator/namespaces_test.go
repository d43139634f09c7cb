package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

var namespaceIncidents = []incident{
	{"an operator for several namespaces", testSeveralNamespaces},
}

// testSeveralNamespaces has an operator with the rights that the chart gives for two namespaces release in both, and touch
// nothing elsewhere.
func testSeveralNamespaces(s *site) {
	s.stop()
	second, elsewhere := s.beside("-second"), s.beside("-elsewhere")
	for _, u := range accountOf(s.t, s.namespace, "namespace={"+s.namespace+","+second.namespace+"}", "providers={istio}", "dashboard.enabled=true") {
		s.create(u)
	}
	config, err := s.cluster.ConfigFor(s.t.Context(), s.namespace, "sluice")
	if err != nil {
		s.t.Fatal(err)
	}
	refused := refusedTo(config)
	elsewhere.create(elsewhere.deployment(oldImage))
	elsewhere.create(elsewhere.newCanary(nil))
	s.operateOn(config, nil, "-namespace", s.namespace+","+second.namespace, "-providers", "istio")

	for _, one := range []*site{s, second} {
		one.begin(nil, nil)
		one.release(newImage)
		one.awaitSettled(v1beta1.PhaseSucceeded)
		if got := one.primaryImage(); got != newImage {
			one.t.Errorf("%s: the primary runs %s", one.namespace, got)
		}
	}
	c := get[v1beta1.Canary](second, app)
	second.remove(c)
	second.awaitGone(c)
	second.awaitGivenBack()

	if c := get[v1beta1.Canary](elsewhere, app); c.Status.Phase != "" || len(c.Finalizers) > 0 {
		s.t.Errorf("in a namespace that is not watched a Canary is %q, with the finalizers %v", c.Status.Phase, c.Finalizers)
	}
	// Of the API server's endpoints it is known what the configuration says, which has to do.
	unread := func(path string) bool {
		return path == "GET /apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
	}
	if got := slices.DeleteFunc(refused(), unread); len(got) > 0 {
		s.t.Errorf("the chart's rights are too narrow for\n%s", strings.Join(got, "\n"))
	}
}

// beside is the same site with the application in another namespace, which has the same operator.
func (s *site) beside(suffix string) *site {
	s.t.Helper()
	out := &site{stage: &stage{t: s.t, api: s.api, namespace: s.namespace + suffix}, cluster: s.cluster, records: s.records, metrics: s.metrics, stop: func() {}}
	out.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: out.namespace}})
	out.pods = newPods(out.stage, out.records.api)
	return out
}

// accountOf are the operator's ServiceAccount and its rights in namespaces, as the chart makes them.
func accountOf(t *testing.T, namespace string, values ...string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(templated(t, namespace, values...)), 4096); ; {
		u := &unstructured.Unstructured{}
		if err := documents.Decode(&u.Object); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		switch {
		case u.GetAnnotations()["helm.sh/hook"] != "":
		case u.GetKind() == rbacv1.ServiceAccountKind, u.GroupVersionKind().Group == rbacv1.GroupName:
			if strings.HasPrefix(u.GetKind(), "Cluster") {
				t.Errorf("%s %s is for the whole cluster", u.GetKind(), u.GetName())
			}
			out = append(out, u)
		}
	}
}
