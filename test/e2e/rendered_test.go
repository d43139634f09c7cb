package e2e

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// others are the groups of what the chart renders for software that the rig has not: no server here knows their schemas.
var others = []string{"monitoring.coreos.com", "policy.linkerd.io"}

// wantAccepted makes sure that the API server would take each object of a chart as helm renders it: known fields only, and valid.
// Objects of other namespaces are tried in the release's, as theirs do not exist.
func wantAccepted(t *testing.T, s *suite, rendered string) {
	t.Helper()
	objects := 0
	for d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(rendered), 4096); ; {
		u := &unstructured.Unstructured{}
		if err := d.Decode(&u.Object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, rendered)
		}
		if len(u.Object) == 0 || slices.Contains(others, u.GroupVersionKind().Group) {
			continue
		}
		m, err := s.API.RESTMapper().RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
		if err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
			continue
		}
		u.SetNamespace("")
		if m.Scope.Name() == meta.RESTScopeNameNamespace {
			u.SetNamespace(releaseNamespace)
		}
		// What the rig has installed exists by now; that is said last.
		err = s.API.Create(t.Context(), u, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
		if client.IgnoreAlreadyExists(err) != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
		objects++
	}
	if objects < 4 {
		t.Errorf("only %d objects in\n%s", objects, rendered)
	}
}
