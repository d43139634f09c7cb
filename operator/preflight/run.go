package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// Fits tells of the objects of files which of those that are judged can be read as what they are; these, and the objects of
// all other kinds, are for a View. The others have a finding, and so has what has a field that there is not.
func (s Schemas) Fits(files []Object) (fit []*unstructured.Unstructured, refused []Finding) {
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
		f := Finding{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Source: o.Source}
		switch unknown, readable := runtime.AsStrictDecodingError(err); {
		case err == nil:
			fit = append(fit, o.Unstructured)
			continue
		case readable: // but for fields that there are not
			for _, one := range unknown.Errors() {
				f.Refusals = append(f.Refusals, one.Error())
			}
			fit = append(fit, o.Unstructured)
		default:
			f.Refusals = append([]string{err.Error()}, s.Refuses(o.Unstructured)...)
		}
		refused = append(refused, f.sumUp(false))
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
	refused, err := o.refused(ctx, of, sources)
	if err != nil {
		return nil, err
	}
	skipped := func(object client.Object) bool { return sources != nil && sources[object.GetUID()] == "" }
	for i := range canaries.Items {
		if c := &canaries.Items[i]; !skipped(c) {
			out = append(out, o.Canary(ctx, c, sources[c.UID]).refuse(refused[c.UID]))
		}
	}
	for i := range templates.Items {
		if t := &templates.Items[i]; !skipped(t) {
			out = append(out, o.MetricTemplate(ctx, t, sources[t.UID]).refuse(refused[t.UID]))
		}
	}
	for i := range providers.Items {
		if p := &providers.Items[i]; !skipped(p) {
			out = append(out, o.AlertProvider(ctx, p, sources[p.UID]).refuse(refused[p.UID]))
		}
	}
	return join(o.Found, out), nil
}

// join puts what Fits has found of objects to what is found of them beside it.
func join(before, found []Finding) []Finding {
	for _, b := range before {
		if at := slices.IndexFunc(found, b.about); at >= 0 {
			found[at] = found[at].refuse(b.Refusals)
		} else {
			found = append(found, b)
		}
	}
	return found
}

// about tells whether a finding is about the same object.
func (f Finding) about(other Finding) bool {
	return f.Kind == other.Kind && f.Namespace == other.Namespace && f.Name == other.Name && f.Source == other.Source
}

// refused are the objects that the schemas refuse, or the API server, by their UID.
func (o *Operator) refused(ctx context.Context, of client.ListOption, sources map[types.UID]string) (map[types.UID][]string, error) {
	out := map[types.UID][]string{}
	for _, s := range subjects {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(v1beta1.GroupVersion.WithKind(s.kind + "List"))
		if err := o.View.List(ctx, list, of); err != nil {
			return nil, fmt.Errorf("list what is to be looked at: %w", err)
		}
		for i := range list.Items {
			item := &list.Items[i]
			wrong, source := o.Schemas.Refuses(item), sources[item.GetUID()]
			this := Finding{Kind: item.GetKind(), Namespace: item.GetNamespace(), Name: item.GetName(), Source: source}
			if o.DryRun != nil && len(wrong) == 0 && source != "" && !slices.ContainsFunc(o.Found, this.about) {
				var err error
				if wrong, err = o.tried(ctx, item); err != nil {
					return nil, err
				}
			}
			if len(wrong) > 0 {
				out[item.GetUID()] = wrong
			}
		}
	}
	return out, nil
}

// fieldOwner is the field manager of dry runs.
const fieldOwner = client.FieldOwner("sluice-preflight")

// tried says why the API server does not take an object, nothing where it does.
func (o *Operator) tried(ctx context.Context, of *unstructured.Unstructured) ([]string, error) {
	bare := of.DeepCopy()
	delete(bare.Object, "status")
	bare.SetUID("")
	bare.SetResourceVersion("")
	bare.SetGeneration(0)
	err := o.DryRun.Apply(ctx, client.ApplyConfigurationFromUnstructured(bare), fieldOwner, client.ForceOwnership, client.DryRunAll)
	var status *apierrors.StatusError
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &status) || !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
		return nil, fmt.Errorf("dry run of %s %s: %w", of.GetKind(), client.ObjectKeyFromObject(of), err)
	case status.ErrStatus.Details == nil || len(status.ErrStatus.Details.Causes) == 0:
		return []string{status.ErrStatus.Message}, nil
	}
	var out []string
	for _, cause := range status.ErrStatus.Details.Causes {
		out = append(out, cause.Field+": "+cause.Message)
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
