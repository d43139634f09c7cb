package routertest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Object is the Kubernetes object by which a router moves traffic.
type Object struct {
	// Client writes as somebody else would, and reads what is stored.
	Client client.Client
	// Users is one that a user could have: of the name and namespace that the router needs.
	Users client.Object
	// Rival is one of another name that takes the requests first, whose name comes before that of
	// Users; nil where there can be none.
	Rival client.Object
	// Seen waits until the router sees an object as it is; nil where it does at once.
	Seen func(t *testing.T, o client.Object)
}

const note = "example.com/note"

// OfFlagger marks an object as one that Flagger has made for the Canary of the name, with the UID "c1".
func OfFlagger(o client.Object, canary string) {
	o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: canary, UID: "c1", Controller: new(true)}})
}

// With fills in what the suite does with the router's object.
func (w World) With(o Object) World {
	w.Foreign, w.Users, w.Others, w.Replay = o.foreign, o.users, o.others, o.replay
	if o.Rival != nil {
		w.Rival = o.rival
	}
	return w
}

func (o Object) rival(t *testing.T) func(t *testing.T) {
	object := o.create(t, o.Rival)
	return func(t *testing.T) {
		t.Helper()
		if err := o.Client.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
}

func (o Object) foreign(t *testing.T) func(t *testing.T) {
	live := o.read(t)
	live.SetAnnotations(with(live.GetAnnotations()))
	live.SetLabels(with(live.GetLabels()))
	if err := o.Client.Update(t.Context(), live, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	o.seen(t, live)
	return func(t *testing.T) {
		t.Helper()
		if now := o.read(t); now.GetAnnotations()[note] != "kept" || now.GetLabels()[note] != "kept" {
			t.Errorf("what somebody added is gone: labels %v, annotations %v", now.GetLabels(), now.GetAnnotations())
		}
	}
}

func (o Object) users(t *testing.T) func(t *testing.T) {
	o.create(t, o.Users)
	return o.unchanged(t)
}

// replay writes the spec as it is now, but no labels and no annotations.
func (o Object) replay(t *testing.T) func(t *testing.T) {
	was := o.read(t)
	return func(t *testing.T) {
		t.Helper()
		live := o.read(t)
		live.Object["spec"] = runtime.DeepCopyJSONValue(was.Object["spec"])
		if err := o.Client.Update(t.Context(), live, client.FieldOwner("somebody")); err != nil {
			t.Fatal(err)
		}
		o.seen(t, live)
	}
}

func (o Object) others(t *testing.T) func(t *testing.T) {
	object := o.Users.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	object.SetOwnerReferences([]metav1.OwnerReference{o.other(t)})
	o.create(t, object)
	return o.unchanged(t)
}

// other is an owner that is not the Canary. Where there is a real cluster it is the namespace: what
// has an owner that does not exist is collected as garbage.
func (o Object) other(t *testing.T) metav1.OwnerReference {
	t.Helper()
	namespace := &unstructured.Unstructured{}
	namespace.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Namespace"})
	if err := o.Client.Get(t.Context(), client.ObjectKey{Name: o.Users.GetNamespace()}, namespace); err != nil {
		return metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "other", UID: "other", Controller: new(true)}
	}
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Namespace", Name: namespace.GetName(), UID: namespace.GetUID(), Controller: new(true)}
}

func (o Object) create(t *testing.T, object client.Object) client.Object {
	t.Helper()
	object = object.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	object.SetAnnotations(with(object.GetAnnotations()))
	if err := o.Client.Create(t.Context(), object, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	o.seen(t, object)
	return object
}

// unchanged checks that what is the user's is as it is now.
func (o Object) unchanged(t *testing.T) func(t *testing.T) {
	t.Helper()
	was := o.read(t)
	return func(t *testing.T) {
		t.Helper()
		now := o.read(t)
		for what, pair := range map[string][2]any{
			"spec":        {was.Object["spec"], now.Object["spec"]},
			"labels":      {was.GetLabels(), now.GetLabels()},
			"annotations": {was.GetAnnotations(), now.GetAnnotations()},
			"owners":      {was.GetOwnerReferences(), now.GetOwnerReferences()},
		} {
			if d := cmp.Diff(pair[0], pair[1]); d != "" {
				t.Errorf("the %s of a user's object changed (-was +is)\n%s", what, d)
			}
		}
	}
}

func (o Object) read(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	gvk, err := apiutil.GVKForObject(o.Users, o.Client.Scheme())
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	if err := o.Client.Get(t.Context(), client.ObjectKeyFromObject(o.Users), u); err != nil {
		t.Fatal(err)
	}
	return u
}

func (o Object) seen(t *testing.T, object client.Object) {
	t.Helper()
	if o.Seen != nil {
		o.Seen(t, object)
	}
}

func with(m map[string]string) map[string]string {
	out := map[string]string{note: "kept"}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// Mapper is a RESTMapper of a cluster that serves exactly these kinds.
func Mapper(kinds ...schema.GroupVersionKind) meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range kinds {
		m.Add(kind, meta.RESTScopeNamespace)
	}
	return m
}
