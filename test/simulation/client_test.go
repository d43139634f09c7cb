package simulation

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// errDead is what a process gets that was stopped.
var errDead = errors.New("the operator has stopped")

// view is what an informer shows of a kind: the store as it was a while ago.
type view struct {
	objects map[string]client.Object
	next    int // in the store's log
}

// views are the caches of one process.
type views struct {
	store *store
	kinds map[string]*view
	lag   func(kind string) time.Duration
	// deleted is called when a view shows that an object is gone, before anybody is woken by that.
	deleted func(client.Object)
	// seen and gone are called when a view shows that an object has come or changed, or is gone; nil for nobody.
	seen, gone func(client.Object)
}

// of gives the view of a kind, filled at the first use as informers are.
func (v *views) of(kind string) *view {
	have := v.kinds[kind]
	if have == nil {
		have = &view{objects: map[string]client.Object{}, next: len(v.store.logs[kind])}
		for of, o := range v.store.objects {
			if of.kind == kind {
				have.objects[of.name] = o
			}
		}
		v.kinds[kind] = have
	}
	return have
}

// advance shows what is old enough, and returns whether anything is news.
func (v *views) advance() (news bool) {
	now := time.Now()
	for kind, have := range v.kinds {
		log := v.store.logs[kind]
		for have.next < len(log) && !log[have.next].at.Add(v.lag(kind)).After(now) {
			c := log[have.next]
			if c.object == nil {
				if was := have.objects[c.name]; was != nil {
					v.deleted(was)
					if v.gone != nil {
						v.gone(was)
					}
				}
				delete(have.objects, c.name)
			} else {
				have.objects[c.name] = c.object
				if v.seen != nil {
					v.seen(c.object)
				}
			}
			have.next++
			news = true
		}
	}
	return news
}

// cached is the client of a process: it reads from the caches and writes to the API server.
type cached struct {
	*live
	views *views
}

// live is a client of the API server itself.
type live struct {
	store *store
	// write is called before each write, with verb and object, and may refuse it.
	write func(verb string, of id) error
}

var _ client.Client = (*cached)(nil)

func (c *cached) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	of := id{c.store.kindOf(into), key.Name}
	return fill(of, c.views.of(of.kind).objects[key.Name], into)
}

func (l *live) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	of := id{l.store.kindOf(into), key.Name}
	return fill(of, l.store.objects[of], into)
}

func fill(of id, o, into client.Object) error {
	if o == nil {
		return notFound(of)
	}
	if partial, ok := into.(*metav1.PartialObjectMetadata); ok {
		partial.ObjectMeta = metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(), Labels: o.GetLabels(), Annotations: o.GetAnnotations(), OwnerReferences: o.GetOwnerReferences()}
		return nil
	}
	if u, ok := into.(*unstructured.Unstructured); ok {
		object, err := asUnstructured(of.kind, o)
		if err != nil {
			return err
		}
		u.Object = object.Object
		return nil
	}
	if reflect.TypeOf(o) != reflect.TypeOf(into) {
		return fmt.Errorf("%s is a %T and was read as %T", of.name, o, into)
	}
	// Callers may change what they got, and nothing of a stored object.
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(o.DeepCopyObject()).Elem())
	return nil
}

func (c *cached) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	kind := strings.TrimSuffix(c.store.kindOf(into), "List")
	return list(kind, c.views.of(kind).objects, into, opts)
}

func (l *live) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	kind := strings.TrimSuffix(l.store.kindOf(into), "List")
	objects := map[string]client.Object{}
	for of, o := range l.store.objects {
		if of.kind == kind {
			objects[of.name] = o
		}
	}
	return list(kind, objects, into, opts)
}

func list(kind string, objects map[string]client.Object, into client.ObjectList, opts []client.ListOption) error {
	o := client.ListOptions{}
	o.ApplyOptions(opts)
	var found []runtime.Object
	names := make([]string, 0, len(objects))
	for name := range objects {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		object := objects[name]
		if o.LabelSelector != nil && !o.LabelSelector.Matches(labels.Set(object.GetLabels())) {
			continue
		}
		if o.FieldSelector != nil && !indexed(kind, object, o) {
			continue
		}
		item, err := itemFor(into, kind, object)
		if err != nil {
			return err
		}
		found = append(found, item)
	}
	return meta.SetList(into, found)
}

// itemFor gives an object as a list has it.
func itemFor(list client.ObjectList, kind string, o client.Object) (runtime.Object, error) {
	switch list.(type) {
	case *metav1.PartialObjectMetadataList:
		out := &metav1.PartialObjectMetadata{}
		return out, fill(id{kind, o.GetName()}, o, out)
	case *unstructured.UnstructuredList:
		return asUnstructured(kind, o)
	default:
		return o.DeepCopyObject(), nil
	}
}

func asUnstructured(kind string, o client.Object) (*unstructured.Unstructured, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: object}
	u.SetGroupVersionKind(served[kind])
	return u, nil
}

// indexed tells whether the indexes of the operator's caches have an object by the values that are asked for.
func indexed(kind string, o client.Object, opts client.ListOptions) bool {
	for _, r := range opts.FieldSelector.Requirements() {
		values, known := indexes[id{kind, r.Field}]
		if !known {
			panic("no index " + r.Field + " of " + kind + " in the simulation")
		}
		if !slices.Contains(values(o), r.Value) {
			return false
		}
	}
	return true
}

func (l *live) guard(verb string, of id) error {
	if l.write == nil {
		return nil
	}
	return l.write(verb, of)
}

func (l *live) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	of := l.store.idOf(o)
	if err := l.guard("create", of); err != nil {
		return err
	}
	if err := l.store.create(o); err != nil {
		return err
	}
	made := l.store.objects[of]
	o.SetResourceVersion(made.GetResourceVersion())
	o.SetUID(made.GetUID())
	return nil
}

func (l *live) Delete(_ context.Context, o client.Object, opts ...client.DeleteOption) error {
	of := l.store.idOf(o)
	if err := l.guard("delete", of); err != nil {
		return err
	}
	options := client.DeleteOptions{}
	options.ApplyOptions(opts)
	have := l.store.objects[of]
	if have == nil {
		return notFound(of)
	}
	if p := options.Preconditions; p != nil && p.UID != nil && *p.UID != have.GetUID() {
		return conflict(of, "Precondition failed: UID")
	}
	propagation := metav1.DeletePropagationBackground
	if options.PropagationPolicy != nil {
		propagation = *options.PropagationPolicy
	}
	return l.store.remove(of, propagation)
}

func (l *live) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	of := l.store.idOf(o)
	if err := l.guard("update", of); err != nil {
		return err
	}
	return l.replace(of, o, false)
}

// replace is an update of an object, or of its status alone, under its version.
func (l *live) replace(of id, o client.Object, status bool) error {
	have := l.store.objects[of]
	if have == nil {
		return notFound(of)
	}
	if v := o.GetResourceVersion(); v != "" && v != have.GetResourceVersion() {
		return conflict(of, "the object has been modified")
	}
	if o.GetUID() != "" && o.GetUID() != have.GetUID() {
		return conflict(of, "Precondition failed: UID")
	}
	from, to := have, o
	if status {
		from, to = o, have
	}
	next := to.DeepCopyObject().(client.Object)                                  //nolint:forcetypeassert // a copy is of the same type
	field := reflect.ValueOf(from.DeepCopyObject()).Elem().FieldByName("Status") // updates leave the status as it is
	if field.IsValid() {
		reflect.ValueOf(next).Elem().FieldByName("Status").Set(field)
	}
	if equality.Semantic.DeepEqual(next, have) {
		return nil
	}
	if problem := l.store.invalid(have, next); problem != "" {
		return apierrors.NewInvalid(schema.GroupKind{Kind: of.kind}, of.name+": "+problem, nil)
	}
	l.store.put(of, next)
	o.SetResourceVersion(next.GetResourceVersion())
	return nil
}

func (l *live) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.PatchOption) error {
	return l.patch(o, patch, false)
}

func (l *live) patch(o client.Object, patch client.Patch, status bool) error {
	of := l.store.idOf(o)
	verb := "patch"
	if status {
		verb = "status"
	}
	if err := l.guard(verb, of); err != nil {
		return err
	}
	if patch.Type() == types.JSONPatchType {
		raw, err := patch.Data(o)
		if err != nil {
			return err
		}
		have, err := l.store.patchConfig(of, raw)
		if err != nil {
			return err
		}
		return fill(of, have, o)
	}
	if patch.Type() != types.MergePatchType {
		return fmt.Errorf("patch of type %s is not served here", patch.Type())
	}
	raw, err := patch.Data(o)
	if err != nil {
		return err
	}
	have, err := l.store.patch(of, raw, status)
	if err != nil {
		return err
	}
	return fill(of, have, o)
}

func (l *live) Apply(_ context.Context, intent runtime.ApplyConfiguration, _ ...client.ApplyOption) error {
	u, ok := intent.(interface {
		GetKind() string
		GetName() string
		UnstructuredContent() map[string]any
		SetResourceVersion(string)
	})
	if !ok {
		return fmt.Errorf("%T can't be applied", intent)
	}
	of := id{u.GetKind(), u.GetName()}
	if err := l.guard("apply", of); err != nil {
		return err
	}
	have, err := l.store.apply(of, u.UnstructuredContent())
	if err != nil {
		return err
	}
	u.SetResourceVersion(have.GetResourceVersion())
	return nil
}

func (l *live) DeleteAllOf(context.Context, client.Object, ...client.DeleteAllOfOption) error {
	return errors.New("nobody deletes all of a kind")
}

func (l *live) Status() client.SubResourceWriter                { return statusWriter{l} }
func (l *live) SubResource(string) client.SubResourceClient     { return nil }
func (l *live) Scheme() *runtime.Scheme                         { return l.store.scheme }
func (l *live) RESTMapper() meta.RESTMapper                     { return nil }
func (l *live) IsObjectNamespaced(runtime.Object) (bool, error) { return true, nil }

func (l *live) GroupVersionKindFor(o runtime.Object) (schema.GroupVersionKind, error) {
	if _, ok := o.(*unstructured.Unstructured); ok {
		return o.GetObjectKind().GroupVersionKind(), nil
	}
	return apiutil.GVKForObject(o, l.store.scheme)
}

type statusWriter struct{ *live }

func (w statusWriter) Create(context.Context, client.Object, client.Object, ...client.SubResourceCreateOption) error {
	return errors.New("nobody creates a status")
}

func (w statusWriter) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	of := w.store.idOf(o)
	if err := w.guard("status", of); err != nil {
		return err
	}
	return w.replace(of, o, true)
}

func (w statusWriter) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
	return w.patch(o, patch, true)
}

func (w statusWriter) Apply(context.Context, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
	return errors.New("nobody applies a status")
}
