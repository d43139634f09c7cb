package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// AdoptableAnnotation set to "true" on a Service allows a Canary of its namespace that names it to lead its requests
// to another workload than it leads to.
const AdoptableAnnotation = "sluice.dev/adoptable"

// MayAdopt tells whether a Service that somebody made before may become that of a Canary: it leads to the target or to
// the primary already, or says that it may be taken. Whoever can write a Canary need not be allowed to write
// Services, and the requests to a database are none of a web server's.
func MayAdopt(s workload.Services, live *corev1.Service, target, primary client.Object, o workload.Options) bool {
	a := live.Annotations
	switch {
	case a[AdoptableAnnotation] == "true", a[workload.OriginalAnnotation] != "", s.LeadsToPrimary(live):
		return true
	case len(live.Spec.Selector) == 0:
		return false
	}
	selector := labels.SelectorFromSet(live.Spec.Selector)
	for _, of := range []client.Object{target, primary} {
		if of != nil && workload.Template(of) != nil && selector.Matches(labels.Set(workload.Template(of).Labels)) {
			return true
		}
	}
	if target != nil {
		label, err := workload.SelectorLabel(target, primary, o)
		return err == nil && slices.Contains([]string{label.Target, label.Primary}, live.Spec.Selector[label.Key])
	}
	template := workload.Template(primary)
	for key, value := range live.Spec.Selector { // the pods of the target that is gone had these labels
		if template != nil && template.Labels[key] == workload.PrimaryLabelValue(value) {
			return true
		}
	}
	return false
}

// InvalidServices says what in the intents for Services no API server takes, as a mistake in the Canary, or "". It is
// known before anything is written.
func InvalidServices(canary *v1beta1.Canary, target client.Object, s workload.Services) string {
	if of, ok := target.(*corev1.Service); ok {
		return missingPort(canary, of)
	}
	for _, x := range []struct {
		of   *corev1.Service
		meta string
	}{{s.Apex, "apex"}, {s.Primary, "primary"}, {s.Canary, "canary"}} {
		if x.of == nil {
			continue
		}
		if wrong := validation.IsDNS1123Label(x.of.Name); len(wrong) > 0 {
			return fmt.Sprintf("spec.service.name: no Service can be named %q: %s; it is the target's name where it is not set, and -primary and -canary are appended to it", x.of.Name, wrong[0])
		}
		for key, value := range x.of.Spec.Selector {
			if wrong := validation.IsValidLabelValue(value); len(wrong) > 0 {
				return fmt.Sprintf("spec.targetRef: its primary's pods can't have the label %s: %q: %s", key, value, wrong[0])
			}
		}
		field := field.NewPath("spec", "service", x.meta)
		wrong := append(metav1validation.ValidateLabels(x.of.Labels, field.Child("labels")),
			apivalidation.ValidateAnnotations(x.of.Annotations, field.Child("annotations"))...)
		if len(wrong) > 0 {
			return wrong[0].Error()
		}
	}
	return ""
}

// missingPort says that a target of kind Service does not have the port of the Canary, to which the mesh would send its
// requests.
func missingPort(canary *v1beta1.Canary, target *corev1.Service) string {
	var has []string
	for _, p := range target.Spec.Ports {
		if p.Port == canary.Spec.Service.Port {
			return ""
		}
		has = append(has, strconv.Itoa(int(p.Port)))
	}
	if len(has) == 0 {
		return ""
	}
	return fmt.Sprintf("spec.service.port: %d is not among the ports of the Service %s: %s", canary.Spec.Service.Port, target.Name, strings.Join(has, ", "))
}
