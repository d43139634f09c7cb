package kube

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// large is a workload's template of about 8 KB, with all that a transform must not lose.
func large(name string) corev1.PodTemplateSpec {
	t := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}, Annotations: map[string]string{"b": "2", "a": "1"}},
		Spec: corev1.PodSpec{
			Volumes:                       []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			TerminationGracePeriodSeconds: new(int64(0)),
			Containers:                    []corev1.Container{{Name: "app", Image: "app:1", Command: []string{}}},
		},
	}
	for i := range 70 {
		t.Spec.Containers[0].Env = append(t.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%03d", i), Value: strings.Repeat(name, 64/len(name))})
	}
	return t
}

func workloadsOf(name string) []client.Object {
	meta := metav1.ObjectMeta{
		Namespace: "test", Name: name, UID: types.UID("uid of " + name), Generation: 1,
		Annotations: map[string]string{lastApplied: "{}", "kept": "yes"},
	}
	return []client.Object{
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: large(name)}},
		&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Template: large(name)}},
	}
}

func same(o any) (any, error) { return o, nil }

// TestPack has what is read by its name be what the API server has, in each of its versions, while the cache has next to
// nothing of it.
func TestPack(t *testing.T) {
	pack := Pack(same)
	for _, o := range workloadsOf("web") {
		c := &briefClient{unpacker: newUnpacker()}
		for generation := int64(1); generation <= 3; generation++ {
			o.SetGeneration(generation)
			templateOf(o).Spec.Containers[0].Image = fmt.Sprint("app:", generation)
			want := templateOf(o).DeepCopy()
			cached := o.DeepCopyObject().(client.Object)
			if _, err := pack(cached); err != nil {
				t.Fatal(err)
			}
			again := cached.DeepCopyObject().(client.Object)
			if _, err := pack(again); err != nil || !equality.Semantic.DeepEqual(again, cached) {
				t.Errorf("%T: what is packed changes when it is packed again: %v", o, err)
			}
			is := templateOf(cached)
			if n := len(is.Spec.Containers); n != 0 || len(is.Annotations[packedAnnotation]) > 2000 {
				t.Errorf("%T: it has %d containers and %d bytes are packed", o, n, len(is.Annotations[packedAnnotation]))
			}
			if is.Labels["app"] != "web" {
				t.Errorf("%T: the labels of its pods are %v", o, is.Labels)
			}
			if got := cached.GetAnnotations(); got["kept"] == "" || got[lastApplied] != "" {
				t.Errorf("%T: its annotations are %v", o, got)
			}
			c.WithWatch = cacheOf{object: cached}
			for range 2 {
				got := o.DeepCopyObject().(client.Object)
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), got); err != nil {
					t.Fatal(err)
				}
				if !equality.Semantic.DeepEqual(templateOf(got), want) {
					t.Errorf("%T of generation %d: it is read as %+v", o, generation, templateOf(got).Spec)
				}
			}
		}
	}
}

// cacheOf is a cache of one object, which it hands out as it is.
type cacheOf struct {
	client.WithWatch

	object client.Object
}

func (c cacheOf) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(c.object).Elem())
	return nil
}

// A user's template that looks as if it were packed is taken for what it is.
func TestPackedByUser(t *testing.T) {
	d := workloadsOf("web")[0].(*appsv1.Deployment)
	d.Spec.Template.Annotations[packedAnnotation] = "what is this?"
	want := d.Spec.Template.DeepCopy()
	u := &unpacker{}
	if err := u.unpack(d); err != nil || !equality.Semantic.DeepEqual(&d.Spec.Template, want) {
		t.Errorf("as it is: %v, %+v", err, d.Spec.Template.Annotations)
	}
	if _, err := Pack(same)(d); err != nil {
		t.Fatal(err)
	}
	if err := u.unpack(d); err != nil || !equality.Semantic.DeepEqual(&d.Spec.Template, want) {
		t.Errorf("packed and unpacked: %v, %+v", err, d.Spec.Template.Annotations)
	}
	d.Spec.Template = corev1.PodTemplateSpec{}
	d.Spec.Template.Annotations = map[string]string{packedAnnotation: "what is this?"}
	if err := u.unpack(d); err == nil {
		t.Error("what can't be unpacked is read as a template without containers")
	}
}

// What nobody packs passes, and so does what comes in place of a deleted object.
func TestPackOthers(t *testing.T) {
	pack := Pack(same)
	for _, o := range []any{&corev1.Service{}, &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: large("agent")}}, "a key"} {
		if got, err := pack(o); err != nil || got != o {
			t.Errorf("%T: %v, %v", o, got, err)
		}
	}
	d := &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: large("agent")}}
	if _, err := pack(d); err != nil || len(d.Spec.Template.Spec.Containers) != 1 {
		t.Error("the template of a DaemonSet says on which nodes it has pods")
	}
}

// TestPackedWeight holds what a Deployment weighs in the cache, whoever's it is. What the runtime does beside it can only add to that, so that
// the least of a few is taken.
func TestPackedWeight(t *testing.T) {
	const most = 4 << 10
	least := uint64(math.MaxUint64)
	for range 3 {
		least = min(least, packedWeight(t))
	}
	t.Logf("a Deployment with a template of 8 KB weighs %d bytes", least)
	if least > most {
		t.Errorf("a Deployment weighs %d bytes, more than %d", least, most)
	}
}

// packedWeight is what each of many Deployments adds to the heap.
func packedWeight(t *testing.T) uint64 {
	t.Helper()
	const many = 500
	pack := Pack(same)
	all := make([]any, many)
	weigh := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what pools have is let go by the second
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := weigh()
	for i := range all {
		raw, err := workloadsOf(fmt.Sprint("web-", i))[0].(*appsv1.Deployment).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		d := &appsv1.Deployment{}
		if err := d.Unmarshal(raw); err != nil {
			t.Fatal(err)
		}
		if all[i], err = pack(d); err != nil {
			t.Fatal(err)
		}
	}
	each := (weigh() - before) / many
	runtime.KeepAlive(all)
	return each
}

// What is read again and again is unpacked once; what is read by many more names than are remembered is let go.
func TestUnpackedOnce(t *testing.T) {
	d := workloadsOf("web")[0].(*appsv1.Deployment)
	if _, err := Pack(same)(d); err != nil {
		t.Fatal(err)
	}
	cached := d.Spec.Template
	u := &unpacker{}
	read := func(uid string) {
		d.UID, d.Spec.Template = types.UID(uid), cached
		if err := u.unpack(d); err != nil {
			t.Fatal(err)
		}
	}
	read("web")
	if n := testing.AllocsPerRun(100, func() { read("web") }); n > 1 {
		t.Errorf("a template that was read before costs %v allocations", n)
	}
	for i := range 10 * recently {
		read(fmt.Sprint("other ", i))
	}
	if n := len(u.last.now) + len(u.last.before); n > 2*recently {
		t.Errorf("%d are remembered", n)
	}
}

func BenchmarkUnpack(b *testing.B) {
	d := workloadsOf("web")[0].(*appsv1.Deployment)
	if _, err := Pack(same)(d); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := inflated(d.Spec.Template.Annotations[packedAnnotation]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPack(b *testing.B) {
	t := large("web")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := deflated(&t); err != nil {
			b.Fatal(err)
		}
	}
}
