package simulation

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// namespace is the only one there is.
const namespace = "test"

// id names an object.
type id struct{ kind, name string }

// change is one event of the watches.
type change struct {
	at     time.Time
	name   string
	object client.Object // nil: it was deleted
}

// store is the API server: objects with versions, generations, finalizers and owners, optimistic locks, server-side
// apply, and a log of all changes. Stored objects are never changed, only replaced.
type store struct {
	scheme  *runtime.Scheme
	objects map[id]client.Object
	logs    map[string][]change // by kind
	version int
	uids    int
	// intents are what each object's last server-side apply asked for, by which a field that is asked for no longer goes.
	intents map[id]map[string]any
	// changed is called after every change.
	changed func(id)
}

func newStore(scheme *runtime.Scheme) *store {
	return &store{
		scheme: scheme, objects: map[id]client.Object{}, logs: map[string][]change{}, version: 1000,
		intents: map[id]map[string]any{}, changed: func(id) {},
	}
}

func (s *store) kindOf(o runtime.Object) string {
	if kind := o.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		return kind
	}
	kinds, _, err := s.scheme.ObjectKinds(o)
	if err != nil {
		panic(err) // the scheme has all kinds
	}
	return kinds[0].Kind
}

func (s *store) idOf(o client.Object) id { return id{s.kindOf(o), o.GetName()} }

// resource is for errors.
func resource(of id) schema.GroupResource {
	return schema.GroupResource{Resource: strings.ToLower(of.kind)}
}

func notFound(of id) error { return apierrors.NewNotFound(resource(of), of.name) }

func conflict(of id, why string) error {
	return apierrors.NewConflict(resource(of), of.name, fmt.Errorf("%s", why))
}

// all gives the objects of a kind, sorted by name.
func all[T client.Object](s *store) []T {
	var out []T
	for of, o := range s.objects {
		if typed, ok := o.(T); ok && of.name == o.GetName() {
			out = append(out, typed)
		}
	}
	slices.SortFunc(out, func(a, b T) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// served are the kinds that are written.
var served = map[string]schema.GroupVersionKind{
	"Deployment":              appsv1.SchemeGroupVersion.WithKind("Deployment"),
	"Service":                 corev1.SchemeGroupVersion.WithKind("Service"),
	"HorizontalPodAutoscaler": autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"),
	"ConfigMap":               corev1.SchemeGroupVersion.WithKind("ConfigMap"),
	"Secret":                  corev1.SchemeGroupVersion.WithKind("Secret"),
	"PodDisruptionBudget":     policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
	"Canary":                  v1beta1.GroupVersion.WithKind("Canary"),
	"CanaryAction":            v1alpha1.GroupVersion.WithKind("CanaryAction"),
	"ReleasePolicy":           v1alpha1.GroupVersion.WithKind("ReleasePolicy"),
}

// get gives an object as it is, the zero value if there is none.
func get[T client.Object](s *store, kind, name string) T {
	o, _ := s.objects[id{kind, name}].(T)
	return o
}

// put replaces an object, counting version and generation. A deleted one without finalizers goes.
func (s *store) put(of id, o client.Object) {
	before := s.objects[of]
	s.version++
	o.SetResourceVersion(strconv.Itoa(s.version))
	o.SetNamespace(namespace)
	if before == nil {
		s.uids++
		if o.GetUID() == "" {
			o.SetUID(types.UID("uid-" + strconv.Itoa(s.uids)))
		}
		if o.GetCreationTimestamp().Time.IsZero() {
			o.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
		}
		o.SetGeneration(1)
	} else {
		o.SetGeneration(before.GetGeneration())
		if !equality.Semantic.DeepEqual(specOf(before), specOf(o)) || before.GetDeletionTimestamp().IsZero() != o.GetDeletionTimestamp().IsZero() {
			o.SetGeneration(before.GetGeneration() + 1)
		}
	}
	if !o.GetDeletionTimestamp().IsZero() && len(o.GetFinalizers()) == 0 {
		s.drop(of)
		return
	}
	s.objects[of] = o
	s.logs[of.kind] = append(s.logs[of.kind], change{time.Now(), of.name, o})
	s.changed(of)
}

func (s *store) drop(of id) {
	delete(s.objects, of)
	delete(s.intents, of)
	s.version++
	s.logs[of.kind] = append(s.logs[of.kind], change{time.Now(), of.name, nil})
	s.changed(of)
}

// specOf is what a generation counts.
func specOf(o client.Object) any {
	v := reflect.ValueOf(o).Elem()
	if v.Kind() != reflect.Struct {
		return nil
	}
	if f := v.FieldByName("Spec"); f.IsValid() {
		return f.Interface()
	}
	return nil
}

// create adds an object.
func (s *store) create(o client.Object) error {
	of := s.idOf(o)
	if s.objects[of] != nil {
		return apierrors.NewAlreadyExists(resource(of), of.name)
	}
	o = o.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	s.complete(o)
	s.put(of, o)
	return nil
}

// complete sets the defaults that matter.
func (s *store) complete(o client.Object) {
	switch o := o.(type) {
	case *appsv1.Deployment:
		if o.Spec.Replicas == nil {
			o.Spec.Replicas = new(int32(1))
		}
	case *corev1.Service:
		if o.Spec.ClusterIP == "" && o.Spec.Type != corev1.ServiceTypeExternalName {
			o.Spec.ClusterIP = "10.0.0.1"
		}
	}
}

// edit changes an object as somebody with kubectl would. It returns whether there is one.
func edit[T client.Object](s *store, kind, name string, with func(T)) bool {
	of := id{kind, name}
	o, ok := s.objects[of].(T)
	if !ok {
		return false
	}
	next := o.DeepCopyObject().(T) //nolint:forcetypeassert // a copy is of the same type
	with(next)
	if s.invalid(o, next) != "" {
		return false
	}
	s.put(of, next)
	return true
}

// invalid says which field of a change the API server refuses.
func (s *store) invalid(before, after client.Object) string {
	switch after := after.(type) {
	case *appsv1.Deployment:
		if before, ok := before.(*appsv1.Deployment); ok && !reflect.DeepEqual(before.Spec.Selector, after.Spec.Selector) {
			return "spec.selector: field is immutable"
		}
	case *corev1.Service:
		if before, ok := before.(*corev1.Service); ok && before.Spec.ClusterIP != after.Spec.ClusterIP {
			return "spec.clusterIP: field is immutable"
		}
	}
	return ""
}

// remove deletes an object as propagation says, which the garbage collector carries out.
func (s *store) remove(of id, propagation metav1.DeletionPropagation) error {
	o := s.objects[of]
	if o == nil {
		return notFound(of)
	}
	next := o.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	add := map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents,
		metav1.DeletePropagationOrphan:     metav1.FinalizerOrphanDependents,
	}[propagation]
	if add != "" && !slices.Contains(next.GetFinalizers(), add) {
		next.SetFinalizers(append(next.GetFinalizers(), add))
	}
	if next.GetDeletionTimestamp().IsZero() {
		next.SetDeletionTimestamp(new(metav1.NewTime(time.Now().Truncate(time.Second))))
	}
	s.put(of, next)
	return nil
}

// patch applies a JSON merge patch, of the status alone or of all but the status.
func (s *store) patch(of id, raw []byte, status bool) (client.Object, error) {
	live := s.objects[of]
	if live == nil {
		return nil, notFound(of)
	}
	patch := map[string]any{}
	if err := json.Unmarshal(raw, &patch); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return nil, err
	}
	if err := s.precondition(of, live, patch); err != nil {
		return nil, err
	}
	for key := range patch {
		if key != "metadata" && (key == "status") != status {
			delete(patch, key)
		}
	}
	if status {
		delete(patch, "metadata")
	}
	return s.store(of, live, merged(object, patch))
}

// patchConfig applies a JSON patch as the operator writes it: of whole fields, after a check of UID and version.
func (s *store) patchConfig(of id, raw []byte) (client.Object, error) {
	live := s.objects[of]
	if live == nil {
		return nil, notFound(of)
	}
	var ops []struct {
		Path  string
		Value any
	}
	if err := json.Unmarshal(raw, &ops); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return nil, err
	}
	for _, op := range ops {
		switch name, value := strings.TrimPrefix(op.Path, "/"), fmt.Sprint(op.Value); {
		case op.Path == "/metadata/uid" && value != string(live.GetUID()), op.Path == "/metadata/resourceVersion" && value != live.GetResourceVersion():
			return nil, conflict(of, "the object has been modified")
		case strings.Contains(name, "/"):
		default:
			object[name] = op.Value
		}
	}
	return s.store(of, live, object)
}

// precondition checks version and UID in a patch, and takes them out.
func (s *store) precondition(of id, live client.Object, patch map[string]any) error {
	meta, _ := patch["metadata"].(map[string]any)
	if uid, ok := meta["uid"].(string); ok && live != nil && uid != string(live.GetUID()) {
		return apierrors.NewInvalid(schema.GroupKind{Kind: of.kind}, of.name, nil)
	}
	if version, ok := meta["resourceVersion"].(string); ok && live != nil && version != live.GetResourceVersion() {
		return conflict(of, "the object has been modified")
	}
	delete(meta, "resourceVersion")
	return nil
}

// store writes the JSON form of an object in place of live, which is nil for a new one. What differs in nothing is
// no change.
func (s *store) store(of id, live client.Object, object map[string]any) (client.Object, error) {
	gvk, known := served[of.kind]
	if !known {
		return nil, apierrors.NewBadRequest("kind " + of.kind + " is not served")
	}
	made, err := s.scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	next := made.(client.Object) //nolint:forcetypeassert // the scheme has nothing else of these kinds
	if live != nil {
		next = reflect.New(reflect.TypeOf(live).Elem()).Interface().(client.Object) //nolint:forcetypeassert // of live's type
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, next); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	next.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	s.complete(next)
	if live != nil {
		if field := s.invalid(live, next); field != "" {
			return nil, apierrors.NewInvalid(schema.GroupKind{Kind: of.kind}, of.name+": "+field, nil)
		}
		if equality.Semantic.DeepEqual(live, next) {
			return live, nil
		}
	}
	s.put(of, next)
	if now := s.objects[of]; now != nil {
		return now, nil
	}
	return next, nil
}

// apply is server-side apply with force by the operator, the only one who uses it here.
func (s *store) apply(of id, intent map[string]any) (client.Object, error) {
	live := s.objects[of]
	intent = runtime.DeepCopyJSON(intent)
	meta, _ := intent["metadata"].(map[string]any)
	if uid, ok := meta["uid"].(string); ok && (live == nil || uid != string(live.GetUID())) {
		return nil, conflict(of, "Precondition failed: UID")
	}
	if err := s.precondition(of, live, intent); err != nil {
		return nil, err
	}
	delete(intent, "status")
	object := map[string]any{}
	if live != nil {
		var err error
		if object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(live); err != nil {
			return nil, err
		}
	}
	object, _ = applied("", object, s.intents[of], intent).(map[string]any)
	out, err := s.store(of, live, object)
	if err != nil {
		return nil, err
	}
	s.intents[of] = intent
	return out, nil
}

// atomic are the maps that are replaced as a whole.
var atomic = map[string]bool{".spec.selector": true}

// listKeys are the keys by which the elements of lists are told apart; all other lists are atomic.
var listKeys = map[string]string{
	".metadata.ownerReferences": "uid", ".metadata.finalizers": "", ".spec.ports": "port",
	".spec.template.spec.containers": "name", ".spec.template.spec.volumes": "name",
}

// applied is what an apply makes of a live value: what is asked for now, without what was asked for before.
func applied(path string, live, before, now any) any {
	switch now := now.(type) {
	case map[string]any:
		liveMap, ok := live.(map[string]any)
		if !ok || atomic[path] {
			return now
		}
		beforeMap, _ := before.(map[string]any)
		out := maps.Clone(liveMap)
		for k := range beforeMap {
			if _, still := now[k]; !still {
				delete(out, k)
			}
		}
		for k, v := range now {
			out[k] = applied(path+"."+k, liveMap[k], beforeMap[k], v)
		}
		return out
	case []any:
		key, keyed := listKeys[path]
		liveList, ok := live.([]any)
		if !keyed || !ok {
			return now
		}
		beforeList, _ := before.([]any)
		return appliedList(path, key, liveList, beforeList, now)
	default:
		return now
	}
}

func appliedList(path, key string, live, before, now []any) any {
	name := func(e any) any {
		if m, ok := e.(map[string]any); ok {
			return m[key]
		}
		return e
	}
	find := func(in []any, e any) any {
		if i := slices.IndexFunc(in, func(o any) bool { return fmt.Sprint(name(o)) == fmt.Sprint(name(e)) }); i >= 0 {
			return in[i]
		}
		return nil
	}
	var out []any
	for _, e := range live {
		switch {
		case find(now, e) != nil:
			out = append(out, applied(path+"[]", e, find(before, e), find(now, e)))
		case find(before, e) == nil:
			out = append(out, e) // somebody else's
		}
	}
	for _, e := range now {
		if find(live, e) == nil {
			out = append(out, e)
		}
	}
	return out
}

// merged is a JSON merge patch.
func merged(object, patch map[string]any) map[string]any {
	out := maps.Clone(object)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			inner, _ := out[k].(map[string]any)
			out[k] = merged(inner, v)
		default:
			out[k] = v
		}
	}
	return out
}
