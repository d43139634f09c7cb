package preflight

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// View is a client of objects from files and, where there is one, of a cluster, of which it only reads. A
// File's object takes the place of the cluster's. What is written is noted, and nothing comes of it. It has the indexes
// that an informer cache would have. It is for one goroutine.
type View struct {
	*notes

	scheme  *runtime.Scheme
	live    client.Reader
	mapper  meta.RESTMapper
	indexes map[indexKey]client.IndexerFunc
	files   []*unstructured.Unstructured
	gets    map[getKey]got
	lists   map[listKey]listed

	unread  []string
	noticed map[string]bool
}

type indexKey struct {
	kind schema.GroupKind
	name string
}

type getKey struct {
	kind schema.GroupVersionKind
	form reflect.Type
	name client.ObjectKey
}

type got struct {
	object client.Object
	err    error
}

type listKey struct {
	kind      schema.GroupVersionKind
	form      reflect.Type
	namespace string
}

type listed struct {
	items []client.Object
	err   error
}

var (
	_ client.Client       = (*View)(nil)
	_ client.FieldIndexer = (*View)(nil)
)

// NewView sees these objects, and what live reads: nil for nothing else.
func NewView(scheme *runtime.Scheme, files []*unstructured.Unstructured, live client.Reader, mapper meta.RESTMapper) *View {
	v := &View{
		scheme: scheme, live: live, mapper: mapper, files: files,
		indexes: map[indexKey]client.IndexerFunc{}, gets: map[getKey]got{}, lists: map[listKey]listed{}, noticed: map[string]bool{},
	}
	v.notes = &notes{of: v}
	return v
}

// IndexField implements client.FieldIndexer.
func (v *View) IndexField(_ context.Context, of client.Object, field string, values client.IndexerFunc) error {
	gvk, err := v.GroupVersionKindFor(of)
	if err != nil {
		return err
	}
	v.indexes[indexKey{gvk.GroupKind(), field}] = values
	return nil
}

// Forget drops what was written and what could not be read until now, for another object to be looked at.
func (v *View) Forget() { v.writes, v.unread, v.noticed = nil, nil, map[string]bool{} }

// Unread says what could not be read, each with the reason.
func (v *View) Unread() []string { return v.unread }

// Get implements client.Reader.
func (v *View) Get(ctx context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	gvk, err := v.GroupVersionKindFor(into)
	if err != nil {
		return err
	}
	for _, o := range v.files {
		if o.GroupVersionKind().GroupKind() == gvk.GroupKind() && client.ObjectKeyFromObject(o) == key {
			return convert(o, gvk, into)
		}
	}
	if v.live == nil {
		return notFound(gvk, key)
	}
	at := getKey{gvk, reflect.TypeOf(into), key}
	known, ok := v.gets[at]
	if !ok {
		fresh := into.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
		known = got{fresh, v.live.Get(ctx, key, fresh)}
		v.gets[at] = known
	}
	if known.err != nil {
		v.failed(known.err, gvk.Kind+" "+key.String())
		return known.err
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(known.object.DeepCopyObject()).Elem())
	return nil
}

// failed notes what could not be read, which is something else than that it is not there.
func (v *View) failed(err error, what string) {
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) || v.noticed[what] {
		return
	}
	v.noticed[what] = true
	reason := err.Error()
	if apierrors.IsForbidden(err) {
		reason = "no right to read it"
	}
	v.unread = append(v.unread, what+": "+reason)
}

// List implements client.Reader.
func (v *View) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	gvk, err := apiutil.GVKForObject(into, v.scheme)
	if err != nil {
		return fmt.Errorf("list %T: %w", into, err)
	}
	gvk.Kind = gvk.Kind[:len(gvk.Kind)-len("List")]
	o := (&client.ListOptions{}).ApplyOptions(opts)
	all, err := v.all(ctx, gvk, into, o.Namespace)
	if err != nil {
		return err
	}
	var items []runtime.Object
	for _, item := range all {
		matches, err := v.matches(gvk, item, o)
		if err != nil {
			return err
		}
		if matches {
			items = append(items, item.DeepCopyObject())
		}
	}
	if err := meta.SetList(into, items); err != nil {
		return fmt.Errorf("list %s: %w", gvk.Kind, err)
	}
	return nil
}

// all are the objects of a kind, in the form that the list has.
func (v *View) all(ctx context.Context, gvk schema.GroupVersionKind, of client.ObjectList, namespace string) ([]client.Object, error) {
	at := listKey{gvk, reflect.TypeOf(of), namespace}
	known, ok := v.lists[at]
	if !ok {
		known.items, known.err = v.readAll(ctx, gvk, of, namespace)
		v.lists[at] = known
	}
	if known.err != nil {
		v.failed(known.err, "all "+gvk.Kind+"s")
	}
	return known.items, known.err
}

func (v *View) readAll(ctx context.Context, gvk schema.GroupVersionKind, of client.ObjectList, namespace string) ([]client.Object, error) {
	var out []client.Object
	for _, o := range v.files {
		if o.GroupVersionKind().GroupKind() != gvk.GroupKind() || namespace != "" && o.GetNamespace() != namespace {
			continue
		}
		item, err := v.newItem(gvk, of)
		if err == nil {
			err = convert(o, gvk, item)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	if v.live == nil {
		return out, nil
	}
	fresh := of.DeepCopyObject().(client.ObjectList) //nolint:forcetypeassert // a copy is of the same type
	if err := v.live.List(ctx, fresh, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	inFiles := func(o client.Object) bool {
		return slices.ContainsFunc(out, func(f client.Object) bool { return client.ObjectKeyFromObject(f) == client.ObjectKeyFromObject(o) })
	}
	err := meta.EachListItem(fresh, func(item runtime.Object) error {
		if o, ok := item.(client.Object); ok && !inFiles(o) {
			out = append(out, o)
		}
		return nil
	})
	return out, err
}

// newItem is an empty object of the form that a list has.
func (v *View) newItem(gvk schema.GroupVersionKind, of client.ObjectList) (client.Object, error) {
	switch of.(type) {
	case *unstructured.UnstructuredList:
		return &unstructured.Unstructured{}, nil
	case *metav1.PartialObjectMetadataList:
		return &metav1.PartialObjectMetadata{}, nil
	}
	o, err := v.scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	return o.(client.Object), nil //nolint:forcetypeassert // the kinds of objects that are listed
}

// matches tells whether a list with these options has an object.
func (v *View) matches(gvk schema.GroupVersionKind, o client.Object, of *client.ListOptions) (bool, error) {
	if of.LabelSelector != nil && !of.LabelSelector.Matches(labels.Set(o.GetLabels())) {
		return false, nil
	}
	if of.FieldSelector == nil {
		return true, nil
	}
	for _, r := range of.FieldSelector.Requirements() {
		values, ok := v.indexes[indexKey{gvk.GroupKind(), r.Field}]
		if !ok {
			return false, fmt.Errorf("there is no index %s of %s", r.Field, gvk.Kind)
		}
		if !slices.Contains(values(o), r.Value) {
			return false, nil
		}
	}
	return true, nil
}

// convert reads an object in the version and form that is asked for.
func convert(from *unstructured.Unstructured, gvk schema.GroupVersionKind, into client.Object) error {
	content := runtime.DeepCopyJSON(from.Object)
	if u, ok := into.(*unstructured.Unstructured); ok {
		u.Object = content
		return nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, into); err != nil {
		return fmt.Errorf("%s %s: %w", gvk.Kind, client.ObjectKeyFromObject(from), err)
	}
	into.GetObjectKind().SetGroupVersionKind(gvk)
	return nil
}

func notFound(gvk schema.GroupVersionKind, key client.ObjectKey) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, key.Name)
}

// Scheme implements client.Client.
func (v *View) Scheme() *runtime.Scheme { return v.scheme }

// RESTMapper implements client.Client.
func (v *View) RESTMapper() meta.RESTMapper { return v.mapper }

// GroupVersionKindFor implements client.Client.
func (v *View) GroupVersionKindFor(o runtime.Object) (schema.GroupVersionKind, error) {
	gvk, err := apiutil.GVKForObject(o, v.scheme)
	if err != nil {
		return gvk, fmt.Errorf("kind of %T: %w", o, err)
	}
	return gvk, nil
}

// IsObjectNamespaced implements client.Client.
func (v *View) IsObjectNamespaced(o runtime.Object) (bool, error) {
	namespaced, err := apiutil.IsObjectNamespaced(o, v.scheme, v.mapper)
	if err != nil {
		return false, fmt.Errorf("scope of %T: %w", o, err)
	}
	return namespaced, nil
}
