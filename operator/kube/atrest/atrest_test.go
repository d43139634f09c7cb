package atrest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	goruntime "runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/testing/protocmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube/atrest"
)

// source is what an API server has of a kind.
type source struct {
	list   runtime.Object
	events *watch.FakeWatcher
}

func (s *source) List(metav1.ListOptions) (runtime.Object, error)   { return s.list, nil }
func (s *source) Watch(metav1.ListOptions) (watch.Interface, error) { return s.events, nil }
func (s *source) IsWatchListSemanticsUnSupported() bool             { return true }

// caches are as the operator has them.
func caches() *atrest.Caches { return &atrest.Caches{Plain: []client.Object{&v1beta1.Canary{}}} }

// start runs an informer of Caches with what a list has.
func start(t *testing.T, example, list runtime.Object, indexers toolscache.Indexers, handlers ...toolscache.ResourceEventHandler) (toolscache.SharedIndexInformer, *watch.FakeWatcher) {
	t.Helper()
	s := &source{list: list, events: watch.NewFake()}
	i := caches().NewInformer(s, example, 0, indexers)
	for _, h := range handlers {
		if _, err := i.AddEventHandler(h); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		i.RunWithContext(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	deadline, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if !toolscache.WaitForCacheSync(deadline.Done(), i.HasSynced) {
		t.Fatal("it has not been read")
	}
	return i, s.events
}

func service(namespace, name, version, app string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: version, UID: "7d0f32bb-6f2f-4b3a-9a39-2b8b3b8a8a11", Labels: map[string]string{"app": app}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// byApp is an index as controller-runtime makes them.
func byApp(o any) ([]string, error) {
	s := o.(*corev1.Service)
	return []string{s.Namespace + "/" + s.Labels["app"], "__all_namespaces/" + s.Labels["app"]}, nil
}

func names(objects []any) (out []string) {
	for _, o := range objects {
		out = append(out, o.(client.Object).GetNamespace()+"/"+o.(client.Object).GetName())
	}
	slices.Sort(out)
	return out
}

// TestIndexes: all reads of an informer find what they find of one whose objects are as they came.
func TestIndexes(t *testing.T) {
	var list corev1.ServiceList
	plain := toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{"field:app": byApp, toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	for i := range 3000 {
		s := service(fmt.Sprintf("ns-%d", i%7), fmt.Sprintf("s-%d", i), strconv.Itoa(i+1), fmt.Sprintf("app-%d", i/3))
		list.Items = append(list.Items, *s)
		if err := plain.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	i, _ := start(t, &corev1.Service{}, &list, toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
	if err := i.AddIndexers(toolscache.Indexers{"field:app": byApp}); err != nil {
		t.Fatal(err)
	}
	got := i.GetIndexer()
	if is, want := names(got.List()), names(plain.List()); !slices.Equal(is, want) {
		t.Errorf("List has %d, not %d", len(is), len(want))
	}
	for _, look := range [][2]string{
		{toolscache.NamespaceIndex, "ns-3"}, {toolscache.NamespaceIndex, "none"},
		{"field:app", "ns-3/app-1"}, {"field:app", "__all_namespaces/app-700"}, {"field:app", "ns-1/none"},
	} {
		is, err := got.ByIndex(look[0], look[1])
		if err != nil {
			t.Fatal(err)
		}
		want, err := plain.ByIndex(look[0], look[1])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(names(is), names(want)) {
			t.Errorf("ByIndex(%s, %s): %v, not %v", look[0], look[1], names(is), names(want))
		}
		keys, err := got.IndexKeys(look[0], look[1])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(keys, names(want)) {
			t.Errorf("IndexKeys(%s, %s): %v, not %v", look[0], look[1], keys, names(want))
		}
	}
	of := service("ns-3", "another", "", "app-1")
	is, err := got.Index("field:app", of)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := plain.Index("field:app", of); !slices.Equal(names(is), names(want)) {
		t.Errorf("Index: %v, not %v", names(is), names(want))
	}
	values, want := got.ListIndexFuncValues("field:app"), plain.ListIndexFuncValues("field:app")
	slices.Sort(values)
	slices.Sort(want)
	if !slices.Equal(values, want) {
		t.Errorf("ListIndexFuncValues has %d, not %d", len(values), len(want))
	}
	if _, err := got.ByIndex("field:none", "a"); err == nil {
		t.Error("an index that there is none of is no mistake")
	}
	if values, err := got.GetIndexers()["field:app"](of); err != nil || len(values) != 2 {
		t.Errorf("GetIndexers gives %v, %v", values, err)
	}
	for _, key := range []string{"ns-0/s-0", "ns-1/s-1", "ns-1/none"} {
		is, exists, err := got.GetByKey(key)
		want, there, _ := plain.GetByKey(key)
		if err != nil || exists != there || exists && !equality.Semantic.DeepEqual(is, want) {
			t.Errorf("GetByKey(%s): %v, %v, %v, not %v", key, is, exists, err, want)
		}
	}
}

// TestEvents: handlers get objects as they came, before and after, those of a list too.
func TestEvents(t *testing.T) {
	first, second := service("a", "one", "1", "x"), service("a", "one", "2", "y")
	seen := make(chan string, 10)
	say := func(o any) string {
		s := o.(*corev1.Service)
		return s.Namespace + "/" + s.Name + "@" + s.ResourceVersion + " " + s.Spec.Selector["app"]
	}
	i, events := start(t, &corev1.Service{}, &corev1.ServiceList{Items: []corev1.Service{*first}}, toolscache.Indexers{"field:app": byApp},
		toolscache.ResourceEventHandlerDetailedFuncs{
			AddFunc:    func(o any, initial bool) { seen <- fmt.Sprint("added ", say(o), " ", initial) },
			UpdateFunc: func(before, o any) { seen <- "changed " + say(before) + " to " + say(o) },
			DeleteFunc: func(o any) { seen <- "deleted " + say(o) },
		})
	events.Modify(second)
	next := func() string {
		select {
		case event := <-seen:
			return event
		case <-time.After(time.Minute):
			return "nothing"
		}
	}
	for _, want := range []string{"added a/one@1 x true", "changed a/one@1 x to a/one@2 y"} {
		if event := next(); event != want {
			t.Errorf("%s, not %s", event, want)
		}
	}
	for value, want := range map[string]int{"a/x": 0, "a/y": 1} {
		if found, err := i.GetIndexer().ByIndex("field:app", value); err != nil || len(found) != want {
			t.Errorf("%s finds %v, %v, not %d", value, found, err, want)
		}
	}
	gone := second.DeepCopy()
	gone.ResourceVersion = "3"
	events.Delete(gone)
	if event := next(); event != "deleted a/one@3 y" {
		t.Errorf("%s, not its deletion", event)
	}
	if found, err := i.GetIndexer().ByIndex("field:app", "a/y"); err != nil || len(found) != 0 {
		t.Errorf("what is gone is found: %v, %v", found, err)
	}
}

// streaming is a source that an API server of today is: what there is comes as events of a watch.
type streaming struct{ of *corev1.Service }

func (s streaming) List(metav1.ListOptions) (runtime.Object, error) {
	return &corev1.ServiceList{}, nil
}

func (s streaming) Watch(metav1.ListOptions) (watch.Interface, error) {
	events := watch.NewFakeWithChanSize(2, false)
	events.Add(s.of)
	end := &corev1.Service{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "9", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
	events.Action(watch.Bookmark, end)
	return events, nil
}

// TestTransform: what a transform makes of an object is what is at rest, and no object comes to it twice.
func TestTransform(t *testing.T) {
	of := service("a", "one", "1", "x")
	for name, from := range map[string]toolscache.ListerWatcher{
		"a list":  &source{list: &corev1.ServiceList{Items: []corev1.Service{*of}}, events: watch.NewFake()},
		"a watch": streaming{of.DeepCopy()},
	} {
		t.Run(name, func(t *testing.T) {
			i := caches().NewInformer(from, &corev1.Service{}, 0, toolscache.Indexers{})
			times := 0
			if err := i.SetTransform(func(o any) (any, error) {
				times++
				o.(*corev1.Service).Spec.Selector = nil
				return o, nil
			}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				i.RunWithContext(ctx)
			}()
			if !toolscache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
				t.Fatal("it has not been read")
			}
			o, exists, err := i.GetStore().GetByKey("a/one")
			if err != nil || !exists || o.(*corev1.Service).Spec.Selector != nil || len(o.(*corev1.Service).Spec.Ports) != 1 {
				t.Errorf("%v, %v, %v", o, exists, err)
			}
			cancel()
			<-ended
			if times != 1 {
				t.Errorf("the transform was called %d times", times)
			}
		})
	}
}

// many is more objects than are remembered as they came.
const many = 1200

// TestNothingIsLost: whatever an object of Kubernetes has is there when it is read, without having been looked at lately.
func TestNothingIsLost(t *testing.T) {
	named := &metav1.PartialObjectMetadata{}
	named.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	for _, tc := range []struct {
		example client.Object
		list    runtime.Object
	}{
		{&appsv1.Deployment{}, &appsv1.DeploymentList{}},
		{&appsv1.StatefulSet{}, &appsv1.StatefulSetList{}},
		{&appsv1.DaemonSet{}, &appsv1.DaemonSetList{}},
		{&corev1.Service{}, &corev1.ServiceList{}},
		{&discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{}},
		{&autoscalingv2.HorizontalPodAutoscaler{}, &autoscalingv2.HorizontalPodAutoscalerList{}},
		{named, &metav1.PartialObjectMetadataList{}},
	} {
		t.Run(reflect.TypeOf(tc.example).Elem().Name(), func(t *testing.T) {
			fill := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), serializer.NewCodecFactory(clientgoscheme.Scheme))
			want := map[string]client.Object{}
			var items []runtime.Object
			for n := range many {
				o := reflect.New(reflect.TypeOf(tc.example).Elem()).Interface().(client.Object)
				if n < 100 { // the others take the place of these
					fill.Fill(o)
				}
				o.GetObjectKind().SetGroupVersionKind(tc.example.GetObjectKind().GroupVersionKind())
				o.SetNamespace([]string{"", "a", "b"}[n%3])
				o.SetName(fmt.Sprint("o-", n))
				o.SetResourceVersion(strconv.Itoa(n + 1))
				key, err := toolscache.MetaNamespaceKeyFunc(o)
				if err != nil {
					t.Fatal(err)
				}
				want[key] = o.DeepCopyObject().(client.Object)
				items = append(items, o)
			}
			if err := meta.SetList(tc.list, items); err != nil {
				t.Fatal(err)
			}
			i, _ := start(t, tc.example, tc.list, toolscache.Indexers{})
			for n := range 100 {
				key, _ := toolscache.MetaNamespaceKeyFunc(items[n])
				is, exists, err := i.GetIndexer().GetByKey(key)
				if err != nil || !exists {
					t.Fatalf("%s: %v, %v", key, exists, err)
				}
				if diff := cmp.Diff(want[key], is, cmpopts.EquateEmpty()); diff != "" && !equality.Semantic.DeepEqual(is, want[key]) {
					t.Fatalf("%s: %s", key, diff)
				}
			}
		})
	}
}

// TestSmall: objects at rest weigh a fraction of what they weigh as structures.
func TestSmall(t *testing.T) {
	weigh := func(informer func(toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer) uint64 {
		heap := func() uint64 {
			goruntime.GC()
			goruntime.GC()
			var m goruntime.MemStats
			goruntime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		var list corev1.ServiceList
		for i := range 10 * many {
			list.Items = append(list.Items, *service("namespace", fmt.Sprintf("service-%d", i), strconv.Itoa(i+1), fmt.Sprintf("app-%d", i)))
		}
		s := &source{list: &list, events: watch.NewFake()}
		i := informer(s, &corev1.Service{}, 0, toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
		if err := i.AddIndexers(toolscache.Indexers{"field:app": byApp}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			i.RunWithContext(ctx)
		}()
		if !toolscache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
			t.Fatal("it has not been read")
		}
		list.Items, s.list = nil, nil
		weight := heap() - before
		cancel()
		<-ended
		goruntime.KeepAlive(i)
		return weight / (10 * many)
	}
	plain, rested := weigh(toolscache.NewSharedIndexInformer), weigh((&atrest.Caches{}).NewInformer)
	t.Logf("an object has %d bytes, and %d at rest", plain, rested)
	if rested*3 > plain {
		t.Errorf("an object at rest has %d bytes, and %d otherwise", rested, plain)
	}
}

// fillers take the place of an object among those that are remembered as they came.
func fillers(of client.Object) (out []runtime.Object) {
	for n := range many {
		o := reflect.New(reflect.TypeOf(of).Elem()).Interface().(client.Object)
		o.SetName(fmt.Sprint("filler-", n))
		o.SetResourceVersion("1")
		out = append(out, o)
	}
	return out
}

// restored is what has become of an object that was at rest.
func restored(t *testing.T, o client.Object, list runtime.Object) client.Object {
	t.Helper()
	if err := meta.SetList(list, append([]runtime.Object{o.DeepCopyObject()}, fillers(o)...)); err != nil {
		t.Fatal(err)
	}
	i, _ := start(t, o, list, toolscache.Indexers{})
	key, _ := toolscache.MetaNamespaceKeyFunc(o)
	is, exists, err := i.GetIndexer().GetByKey(key)
	if err != nil || !exists {
		t.Fatalf("%s: %v, %v", key, exists, err)
	}
	return is.(client.Object)
}

// TestCanaries: all that a Canary can have is there when it is read.
func TestCanaries(t *testing.T) {
	tried := 0
	for _, folder := range []string{"../../../api/v1beta1/testdata/accepted", "../../../docs/reference/examples"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := &v1beta1.Canary{}
			if err := yaml.Unmarshal(raw, c); err != nil || c.Kind != "Canary" {
				continue
			}
			tried++
			c.Namespace, c.Name, c.ResourceVersion = "test", "web", "7"
			c.Status = v1beta1.CanaryStatus{
				Phase: v1beta1.PhaseProgressing, CanaryWeight: 10, LastAppliedSpec: "s2-abc", TrackedConfigs: &map[string]string{},
				LastTransitionTime: metav1.NewTime(time.Unix(1_700_000_000, 0)),
			}
			if diff := cmp.Diff(c, restored(t, c, &v1beta1.CanaryList{})); diff != "" {
				t.Errorf("%s: %s", file, diff)
			}
		}
	}
	if tried < 15 {
		t.Errorf("there are %d Canaries to be tried", tried)
	}
}

// TestMeshObjects: what is decoded from JSON of a mesh's object is there when it is read.
func TestMeshObjects(t *testing.T) {
	o := &networkingv1.VirtualService{}
	if err := json.Unmarshal([]byte(`{
		"metadata": {"namespace": "test", "name": "web", "resourceVersion": "7", "uid": "a", "labels": {"a": "b"}},
		"spec": {"hosts": ["web", "web.example.com"], "gateways": ["mesh"], "http": [
			{"name": "canary", "match": [{"uri": {"prefix": "/"}, "headers": {"x": {"exact": "y"}}, "port": 80}], "timeout": "5s", "retries": {"attempts": 3, "perTryTimeout": "2s"},
			 "route": [{"destination": {"host": "web-primary", "port": {"number": 80}}, "weight": 90}, {"destination": {"host": "web-canary"}, "weight": 10, "headers": {"request": {"add": {"a": "b"}}}}],
			 "mirror": {"host": "other"}, "mirrorPercentage": {"value": 12.5}, "corsPolicy": {"allowOrigins": [{"regex": ".*"}], "allowCredentials": true}}],
			"tls": [{"match": [{"sniHosts": ["web"]}], "route": [{"destination": {"host": "web"}}]}]},
		"status": {"conditions": [{"type": "Reconciled", "status": "True", "lastProbeTime": "2026-01-01T00:00:00Z"}], "observedGeneration": "3"}}`), o); err != nil {
		t.Fatal(err)
	}
	if len(o.Spec.Http) != 1 || len(o.Status.Conditions) != 1 {
		t.Fatal("it is not what it is to be")
	}
	if diff := cmp.Diff(o, restored(t, o, &networkingv1.VirtualServiceList{}), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// TestFilledCanaries: whatever is in a Canary is there when it is read, what is empty and what is not there at all included.
func TestFilledCanaries(t *testing.T) {
	fill := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, func(serializer.CodecFactory) []any {
		return []any{
			func(q *resource.Quantity, c randfill.Continue) {
				*q = *resource.NewMilliQuantity(c.Int63n(100_000), resource.DecimalSI)
			},
			func(o *apiextensionsv1.JSON, c randfill.Continue) { o.Raw = []byte(`{"a": 1}`) },
			func(o *intstr.IntOrString, c randfill.Continue) { *o = intstr.FromString(c.String(5)) },
		}
	}), rand.NewSource(1), serializer.NewCodecFactory(clientgoscheme.Scheme))
	for n := range 30 {
		c := &v1beta1.Canary{}
		fill.Fill(c)
		c.TypeMeta = metav1.TypeMeta{}
		c.Namespace, c.Name, c.ResourceVersion = "test", "web", strconv.Itoa(n+1)
		if diff := cmp.Diff(c, restored(t, c, &v1beta1.CanaryList{})); diff != "" {
			t.Fatal(diff)
		}
	}
}

func BenchmarkCanary(b *testing.B) {
	raw, err := os.ReadFile("../../../docs/reference/examples/canary.yaml")
	if err != nil {
		b.Fatal(err)
	}
	c := &v1beta1.Canary{}
	if err := yaml.Unmarshal(raw, c); err != nil {
		b.Fatal(err)
	}
	content, err := json.Marshal(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("JSON", func(b *testing.B) {
		for b.Loop() {
			if err := json.Unmarshal(content, &v1beta1.Canary{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plain", func(b *testing.B) { atrest.DecodePlain(b, c) })
}
