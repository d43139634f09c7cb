package preflight

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// subject is a kind that is judged.
type subject struct {
	kind string
	new  func() client.Object
}

var subjects = []subject{
	{"Canary", func() client.Object { return &v1beta1.Canary{} }},
	{"MetricTemplate", func() client.Object { return &v1beta1.MetricTemplate{} }},
	{"AlertProvider", func() client.Object { return &v1beta1.AlertProvider{} }},
}

// Fits tells of the objects of files which of those that are judged can be read as what they are. The others have a
// finding; of the first, and of all other kinds, the objects are for a View.
func Fits(files []Object) (fit []*unstructured.Unstructured, refused []Finding) {
	for _, o := range files {
		identify(o)
		at := slices.IndexFunc(subjects, func(s subject) bool { return s.kind == o.GetKind() })
		if at < 0 || o.GroupVersionKind().Group != v1beta1.GroupVersion.Group {
			fit = append(fit, o.Unstructured)
			continue
		}
		var err error
		if version := o.GroupVersionKind().Version; version != v1beta1.GroupVersion.Version {
			err = fmt.Errorf("apiVersion: %q is not served; allowed: %s", o.GetAPIVersion(), v1beta1.GroupVersion)
		} else {
			err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(runtime.DeepCopyJSON(o.Object), subjects[at].new(), true)
		}
		if err != nil {
			f := Finding{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Source: o.Source, Refusals: []string{err.Error()}}
			refused = append(refused, f.sumUp(false))
			continue
		}
		fit = append(fit, o.Unstructured)
	}
	return fit, refused
}

// identify gives an object of a file what every object of a cluster has, and by which what is known of one is told from
// what is known of another.
func identify(o Object) {
	if o.GetUID() == "" {
		o.SetUID(types.UID(o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName() + " of " + o.Source))
	}
	if o.GetResourceVersion() == "" {
		o.SetResourceVersion("1")
	}
}

// KnownTo gives the Canaries of files what the cluster knows of those of the same name: the status, above all.
func KnownTo(ctx context.Context, cluster client.Reader, fit []*unstructured.Unstructured) error {
	for _, o := range fit {
		if o.GroupVersionKind() != canaryKind() {
			continue
		}
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(canaryKind())
		if err := cluster.Get(ctx, client.ObjectKeyFromObject(o), live); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read Canary %s: %w", client.ObjectKeyFromObject(o), err)
		}
		if live.GetUID() == "" {
			continue
		}
		o.SetUID(live.GetUID())
		o.SetGeneration(live.GetGeneration())
		o.SetCreationTimestamp(live.GetCreationTimestamp())
		o.SetFinalizers(live.GetFinalizers())
		if status, ok := live.Object["status"]; ok {
			o.Object["status"] = status
		}
	}
	return nil
}

func canaryKind() schema.GroupVersionKind { return v1beta1.GroupVersion.WithKind("Canary") }

// All tells what would become of all Canaries, MetricTemplates and AlertProviders of a namespace, empty for all. With
// sources only of these: the objects of files by the name of the file.
func (o *Operator) All(ctx context.Context, namespace string, sources map[types.UID]string) ([]Finding, error) {
	var out []Finding
	of := client.InNamespace(namespace)
	var canaries v1beta1.CanaryList
	var templates v1beta1.MetricTemplateList
	var providers v1beta1.AlertProviderList
	for _, list := range []client.ObjectList{&canaries, &templates, &providers} {
		if err := o.View.List(ctx, list, of); err != nil {
			return nil, fmt.Errorf("list what is to be looked at: %w", err)
		}
	}
	skipped := func(object client.Object) bool { return sources != nil && sources[object.GetUID()] == "" }
	for i := range canaries.Items {
		if c := &canaries.Items[i]; !skipped(c) {
			out = append(out, o.Canary(ctx, c, sources[c.UID]))
		}
	}
	for i := range templates.Items {
		if t := &templates.Items[i]; !skipped(t) {
			out = append(out, o.MetricTemplate(ctx, t, sources[t.UID]))
		}
	}
	for i := range providers.Items {
		if p := &providers.Items[i]; !skipped(p) {
			out = append(out, o.AlertProvider(ctx, p, sources[p.UID]))
		}
	}
	return out, nil
}

// Sort puts findings into the order in which they are shown.
func Sort(all []Finding) {
	order := func(f Finding) int {
		return slices.IndexFunc(subjects, func(s subject) bool { return s.kind == f.Kind })
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}
