package workload

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// OriginalAnnotation is on a Service that was there before its Canary and holds
// what it was, as far as it is changed.
const OriginalAnnotation = "sluice.dev/original"

// fluxAnnotations have Flux leave an object as it is.
var fluxAnnotations = []string{"kustomize.toolkit.fluxcd.io/reconcile", "helm.toolkit.fluxcd.io/driftDetection"}

// kubectlAnnotation is where kubectl apply keeps what it applied.
const kubectlAnnotation = "kubectl.kubernetes.io/last-applied-configuration"

// originalService is what OriginalAnnotation holds. A label or annotation that
// was not there is nil.
type originalService struct {
	Selector map[string]string `json:"selector"`
	// Ports are its user's, followed as he changes them, and Applied those that were
	// written over them last.
	Ports               []corev1.ServicePort `json:"ports"`
	Applied             []corev1.ServicePort `json:"applied,omitempty"`
	TrafficDistribution *string              `json:"trafficDistribution,omitempty"`
	Labels              map[string]*string   `json:"labels,omitempty"`
	Annotations         map[string]*string   `json:"annotations,omitempty"`
}

// UnsupportedServiceError says why a Service can't be taken over.
type UnsupportedServiceError struct {
	// Name of the Service.
	Name string
	// Problem names the field, its value and what is allowed.
	Problem string
}

func (e *UnsupportedServiceError) Error() string { return "Service " + e.Name + ": " + e.Problem }

// Adopt turns the intent s for a Service of a Canary into one for a Service that
// somebody made before, of which live is the present state: only where it leads
// is changed, and its ports are made sure of; type, addresses, other ports and
// what else its user set stay. What it was goes into an annotation. The Services that
// the mesh sends the requests for an apex Service to get all of its ports, so it is
// adopted before them. Adopt returns an *UnsupportedServiceError for one that leads nowhere in the cluster.
func (s Services) Adopt(c *v1beta1.Canary, intent, live *corev1.Service) error {
	if live.Spec.Type == corev1.ServiceTypeExternalName {
		return &UnsupportedServiceError{Name: live.Name, Problem: fmt.Sprintf("spec.type: %q leads out of the cluster; make it ClusterIP, or choose another spec.service.name", live.Spec.Type)}
	}
	intent.Spec.Type, intent.Spec.ClusterIP = "", ""
	backend := intent.Labels[BackendLabel]
	custom := s.custom(c, intent)
	ours := intent.Labels
	intent.Labels, intent.Annotations = maps.Clone(custom.Labels), maps.Clone(custom.Annotations)
	intent.Labels = keepIgnored(ours, intent.Labels)
	if backend != "" {
		intent.Labels = with(intent.Labels, BackendLabel, backend)
	}
	if intent == s.Apex {
		// Flux would set its selector back at every interval, and take users to pods that are scaled to none.
		for _, annotation := range fluxAnnotations {
			intent.Annotations = with(intent.Annotations, annotation, "disabled")
		}
	}
	was, err := s.originalOf(live)
	if err != nil {
		return err
	}
	was.Ports = was.usersPorts(live.Spec.Ports)
	intent.Spec.Ports = s.adoptPorts(c, intent, was)
	was.Applied = intent.Spec.Ports
	if intent == s.Apex {
		for _, backend := range s.All() {
			if backend == s.Apex {
				continue
			}
			backend.Spec.Ports = backendPorts(backend.Spec.Ports, intent.Spec.Ports, was.Ports)
		}
	}
	was.Labels, was.Annotations = Before(was.Labels, intent.Labels, live.Labels), Before(was.Annotations, intent.Annotations, live.Annotations)
	raw, err := json.Marshal(was)
	if err != nil {
		return fmt.Errorf("encode what Service %s was: %w", live.Name, err)
	}
	intent.Annotations = with(intent.Annotations, OriginalAnnotation, string(raw))
	return nil
}

// custom are the labels and annotations that the Canary gives one of its Services.
func (s Services) custom(c *v1beta1.Canary, intent *corev1.Service) v1beta1.CustomMetadata {
	of := map[*corev1.Service]*v1beta1.CustomMetadata{
		s.Apex: c.Spec.Service.Apex, s.Primary: c.Spec.Service.Primary, s.Canary: c.Spec.Service.Canary,
	}[intent]
	if of == nil {
		return v1beta1.CustomMetadata{}
	}
	return *of
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

// Before adds to what is known of the user's labels or annotations those that ours
// are about to replace. One that was not there is nil.
func Before(known map[string]*string, ours, live map[string]string) map[string]*string {
	for k := range ours {
		if _, ok := known[k]; ok {
			continue
		}
		if known == nil {
			known = map[string]*string{}
		}
		known[k] = nil
		if v, ok := live[k]; ok {
			known[k] = &v
		}
	}
	return known
}

// originalOf is what a user's Service was before it was taken over.
func (s Services) originalOf(live *corev1.Service) (originalService, error) {
	was := originalService{}
	if encoded := live.Annotations[OriginalAnnotation]; encoded != "" {
		if err := json.Unmarshal([]byte(encoded), &was); err != nil {
			return was, &UnsupportedServiceError{Name: live.Name, Problem: "metadata.annotations[" + OriginalAnnotation + "]: only the operator writes it; if it is lost, remove it: " + err.Error()}
		}
		return was, nil
	}
	was.Selector, was.Ports, was.TrafficDistribution = live.Spec.Selector, live.Spec.Ports, live.Spec.TrafficDistribution
	if s.LeadsToPrimary(live) {
		// Flagger has taken it over before us, and keeps no record.
		was.Selector = s.selectorBefore(live)
	}
	return was, nil
}

// SelectorBefore is the selector that a user's Service had before it was taken over, and has
// again when it is given back.
func (s Services) SelectorBefore(live *corev1.Service) map[string]string {
	was, err := s.originalOf(live)
	if err != nil { // GiveBack knows no better
		return live.Spec.Selector
	}
	return was.Selector
}

// selectorBefore is the selector that kubectl applied, else that of the target.
func (s Services) selectorBefore(live *corev1.Service) map[string]string {
	applied := &corev1.Service{}
	err := json.Unmarshal([]byte(live.Annotations[kubectlAnnotation]), applied)
	if err == nil && len(applied.Spec.Selector) > 0 && !s.LeadsToPrimary(applied) {
		return applied.Spec.Selector
	}
	return s.Canary.Spec.Selector
}

// LeadsToPrimary tells whether a Service selects the primary's pods.
func (s Services) LeadsToPrimary(of *corev1.Service) bool {
	if s.Primary == nil || s.Canary == nil || len(of.Spec.Selector) == 0 {
		return false
	}
	for k, v := range of.Spec.Selector {
		if s.Primary.Spec.Selector[k] != v {
			return false
		}
	}
	// Labels that the target's pods have too select those as well.
	for k, v := range of.Spec.Selector {
		if s.Canary.Spec.Selector[k] != v {
			return true
		}
	}
	return false
}

// GivenBack tells whether a user's Service leads where it did before it was taken
// over, or never was.
func (s Services) GivenBack(live *corev1.Service) bool {
	return live.Annotations[OriginalAnnotation] == "" && !s.LeadsToPrimary(live)
}

// GiveBack is the JSON merge patch by which a user's Service becomes what it was
// before it was taken over; what its user changed meanwhile, he keeps. s is empty
// where the target is gone. mark is the applier's annotation, which goes too.
func (s Services) GiveBack(live *corev1.Service, mark string) map[string]any {
	was, err := s.originalOf(live)
	if err != nil { // somebody has edited the annotation; that must not hold up a deletion
		was = originalService{Selector: live.Spec.Selector, Ports: live.Spec.Ports, TrafficDistribution: live.Spec.TrafficDistribution}
		if s.LeadsToPrimary(live) {
			was.Selector = s.selectorBefore(live)
		}
	}
	labels, annotations := map[string]*string{}, map[string]*string{OriginalAnnotation: nil, mark: nil}
	for _, annotation := range fluxAnnotations {
		if live.Annotations[annotation] == "disabled" { // else Flux would never look at it again
			annotations[annotation] = nil
		}
	}
	maps.Copy(labels, was.Labels)
	maps.Copy(annotations, was.Annotations)
	return map[string]any{
		"metadata": map[string]any{"labels": labels, "annotations": annotations},
		"spec":     map[string]any{"selector": replace(live.Spec.Selector, was.Selector), "ports": was.usersPorts(live.Spec.Ports), "trafficDistribution": was.TrafficDistribution},
	}
}

// replace is the JSON merge patch that makes one map another.
func replace(from, to map[string]string) map[string]any {
	out := map[string]any{}
	for k := range from {
		out[k] = nil
	}
	for k, v := range to {
		out[k] = v
	}
	return out
}

// LetGo is the JSON merge patch by which the apex Service that was made for a
// Canary leads to the target again and stays when that Canary goes: clients depend
// on it by now. It is a patch, as another operator may have noted whose it is, and
// server-side apply would leave its fields.
func (s Services) LetGo(live *corev1.Service) map[string]any {
	metadata := ownership.LetGo(live)
	labels, _ := metadata["labels"].(map[string]any)
	maps.Copy(labels, s.listed())
	return map[string]any{
		"metadata": metadata,
		"spec":     map[string]any{"selector": replace(live.Spec.Selector, s.Canary.Spec.Selector)},
	}
}
