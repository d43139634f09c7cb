package workload_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// newDaemonSet is podinfo on two nodes, as ready as it can be.
func newDaemonSet() *appsv1.DaemonSet {
	d := newDeployment()
	return &appsv1.DaemonSet{
		ObjectMeta: d.ObjectMeta,
		Spec:       appsv1.DaemonSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template, MinReadySeconds: 7},
		Status: appsv1.DaemonSetStatus{
			ObservedGeneration: d.Generation, DesiredNumberScheduled: 2, CurrentNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberAvailable: 2,
		},
	}
}

// newStatefulSet is podinfo with two pods and a claim each, as ready as it can be.
func newStatefulSet() *appsv1.StatefulSet {
	d := newDeployment()
	return &appsv1.StatefulSet{
		ObjectMeta: d.ObjectMeta,
		Spec: appsv1.StatefulSetSpec{
			Replicas: new(int32(2)), Selector: d.Spec.Selector, Template: d.Spec.Template, ServiceName: "peers", MinReadySeconds: 7,
			PodManagementPolicy: appsv1.ParallelPodManagement,
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
				},
			}},
		},
		Status: appsv1.StatefulSetStatus{ObservedGeneration: d.Generation, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2},
	}
}

// newService is what leads to podinfo.
func newService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "t1", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "a", "tier": "web"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(9898)}},
		},
	}
}

func TestKinds(t *testing.T) {
	for _, kind := range workload.Kinds() {
		o := workload.New(kind)
		if o == nil || workload.Kind(o) != kind {
			t.Errorf("an empty %s is %T of kind %q", kind, o, workload.Kind(o))
		}
	}
	if o := workload.New("Job"); o != nil {
		t.Errorf("a Job is %T", o)
	}
	if kind := workload.Kind(&corev1.Pod{}); kind != "" {
		t.Errorf("a Pod is a workload of kind %s", kind)
	}
}

func TestVersion(t *testing.T) {
	d := newDeployment().Deployment
	before := workload.Version(d)
	d.ResourceVersion = "9"
	if workload.Version(d) != before {
		t.Error("a change of the status is another version")
	}
	d.Generation++
	if workload.Version(d) == before {
		t.Error("another generation is the same version")
	}
	s := newService()
	before = workload.Version(s)
	s.ResourceVersion = "9"
	if workload.Version(s) == before {
		t.Error("what has no generation is the same version after a change")
	}
}

func TestObserveKinds(t *testing.T) {
	daemons := func(change func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
		d := newDaemonSet()
		change(d)
		return d
	}
	stateful := func(change func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
		s := newStatefulSet()
		change(s)
		return s
	}
	for name, tc := range map[string]struct {
		of            client.Object
		threshold     int32
		want          string // in the message; empty: ready
		wantReplicas  int32
		wantAvailable int32
	}{
		"DaemonSet, complete": {of: newDaemonSet(), threshold: 100, wantReplicas: 2, wantAvailable: 2},
		"DaemonSet, last change not acted on yet": {
			of:   daemons(func(d *appsv1.DaemonSet) { d.Generation++ }),
			want: "not acted on", wantReplicas: 2, wantAvailable: 2,
		},
		"DaemonSet, an old pod is left": {
			of:   daemons(func(d *appsv1.DaemonSet) { d.Status.UpdatedNumberScheduled = 1 }),
			want: "1 of 2 pods are of the present revision, 1 are of older ones", wantReplicas: 2, wantAvailable: 2,
		},
		"DaemonSet, a pod is not available": {
			of:        daemons(func(d *appsv1.DaemonSet) { d.Status.NumberAvailable = 1 }),
			threshold: 51, want: "1 of 2 pods are available", wantReplicas: 2, wantAvailable: 1,
		},
		"DaemonSet, at the threshold": {
			of:        daemons(func(d *appsv1.DaemonSet) { d.Status.NumberAvailable = 1 }),
			threshold: 50, wantReplicas: 2, wantAvailable: 1,
		},
		"DaemonSet, scaled to zero": {
			of: daemons(func(d *appsv1.DaemonSet) {
				d.Spec.Template.Spec.NodeSelector = map[string]string{workload.ScaleToZeroLabel: "true"}
				d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 3}
			}),
			want: "scaled to zero",
		},
		"DaemonSet, waking": {
			of:   daemons(func(d *appsv1.DaemonSet) { d.Generation, d.Status = 4, appsv1.DaemonSetStatus{ObservedGeneration: 3} }),
			want: "not acted on", wantReplicas: 1,
		},
		"DaemonSet, without a node": {
			of:   daemons(func(d *appsv1.DaemonSet) { d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 3} }),
			want: "no node meets", wantReplicas: 1,
		},
		"StatefulSet, complete": {of: newStatefulSet(), threshold: 100, wantReplicas: 2, wantAvailable: 2},
		"StatefulSet, last change not acted on yet": {
			of:   stateful(func(s *appsv1.StatefulSet) { s.Generation++ }),
			want: "not acted on", wantReplicas: 2, wantAvailable: 2,
		},
		"StatefulSet, an old pod is left": {
			of:   stateful(func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 1 }),
			want: "1 of 2 pods are of the present revision", wantReplicas: 2, wantAvailable: 2,
		},
		"StatefulSet, a pod is not available": {
			of:        stateful(func(s *appsv1.StatefulSet) { s.Status.AvailableReplicas = 1 }),
			threshold: 100, want: "1 of 2 pods are available", wantReplicas: 2, wantAvailable: 1,
		},
		"StatefulSet, scaled to zero": {
			of: stateful(func(s *appsv1.StatefulSet) {
				s.Spec.Replicas, s.Status = new(int32), appsv1.StatefulSetStatus{ObservedGeneration: 3}
			}),
			want: "scaled to zero",
		},
		"Service": {of: newService(), threshold: 100, wantReplicas: 1, wantAvailable: 1},
		"Deployment, paused": {
			of:   newDeployment().status(2, 0, 2).with(func(d *appsv1.Deployment) { d.Spec.Paused = true }).Deployment,
			want: "paused by spec.paused", wantReplicas: 2, wantAvailable: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := workload.Observe(tc.of, "s2-a", tc.threshold)
			if got.Ready != (tc.want == "") || !strings.Contains(got.Message, tc.want) {
				t.Errorf("ready %v, message %q; want %q", got.Ready, got.Message, tc.want)
			}
			if got.Replicas != tc.wantReplicas || got.Available != tc.wantAvailable || !got.Exists || got.Revision != "s2-a" {
				t.Errorf("%+v, want %d replicas, %d available", got, tc.wantReplicas, tc.wantAvailable)
			}
		})
	}
	if got := workload.Observe(newService(), "s2-a", 100); got.UID != "" || got.Images != "app=a,tier=web" {
		t.Errorf("a Service has no generation to remember: %+v", got)
	}
	var none client.Object
	if got := workload.Observe(none, "", 100); got != (release.Workload{}) {
		t.Errorf("nothing: %+v", got)
	}
}

func TestScale(t *testing.T) {
	asleep := func() *appsv1.DaemonSet {
		d := newDaemonSet()
		d.Spec.Template.Spec.NodeSelector = map[string]string{workload.ScaleToZeroLabel: "true", "disk": "ssd"}
		return d
	}
	selector := func(value any) map[string]any {
		return map[string]any{"template": map[string]any{"spec": map[string]any{"nodeSelector": map[string]any{workload.ScaleToZeroLabel: value}}}}
	}
	for name, tc := range map[string]struct {
		target client.Object
		to     int32
		want   map[string]any
	}{
		"Deployment":                 {target: newDeployment().Deployment, to: 5, want: map[string]any{"replicas": int64(5)}},
		"Deployment, to zero":        {target: newDeployment().Deployment, to: 0, want: map[string]any{"replicas": int64(0)}},
		"Deployment, has them":       {target: newDeployment().Deployment, to: 2},
		"StatefulSet":                {target: newStatefulSet(), to: 0, want: map[string]any{"replicas": int64(0)}},
		"StatefulSet, has them":      {target: newStatefulSet(), to: 2},
		"DaemonSet, to zero":         {target: newDaemonSet(), to: 0, want: selector("true")},
		"DaemonSet, is at zero":      {target: asleep(), to: 0},
		"DaemonSet, wakes":           {target: asleep(), to: 7, want: selector(nil)},
		"DaemonSet, is on its nodes": {target: newDaemonSet(), to: 7},
		"Service":                    {target: newService(), to: 0},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, workload.Scale(tc.target, tc.to)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestPrimaryDaemonSet(t *testing.T) {
	target := newDaemonSet()
	target.Spec.Template.Spec.NodeSelector = map[string]string{workload.ScaleToZeroLabel: "true", "disk": "ssd"}
	before := target.DeepCopy()
	got := primary(t, target, nil, defaults)
	wantTemplate := target.Spec.Template.DeepCopy()
	wantTemplate.Labels["app"] = "podinfo-primary"
	wantTemplate.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	want := appsv1.DaemonSetSpec{
		Selector:        &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo-primary"}},
		Template:        *wantTemplate,
		MinReadySeconds: 7,
	}
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got.Kind != "DaemonSet" || got.APIVersion != "apps/v1" || got.Name != "podinfo-primary" || got.Annotations["sluice.dev/canary"] != "release" {
		t.Errorf("%+v %+v", got.TypeMeta, got.ObjectMeta)
	}
	if diff := cmp.Diff(before, target); diff != "" {
		t.Errorf("the target was changed: -before +after\n%s", diff)
	}
}

// Pain 22: the primary of a StatefulSet is one of its own, with its own claims.
func TestPrimaryStatefulSet(t *testing.T) {
	target := newStatefulSet()
	got := primary(t, target, nil, defaults)
	want := target.DeepCopy().Spec
	want.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "podinfo-primary"}}
	want.Template.Labels["app"] = "podinfo-primary"
	want.ServiceName = "podinfo-primary" // which selects its pods, as "peers" does not
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}

	live := got.DeepCopy()
	live.Spec.ServiceName = "shop-primary" // as the Canary had it before
	live.Spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	live.Spec.VolumeClaimTemplates[0].Spec.VolumeMode = new(corev1.PersistentVolumeFilesystem)
	live.Spec.Replicas = new(int32(5))
	got = primary(t, target, live, defaults)
	if diff := cmp.Diff(live.Spec, got.Spec); diff != "" {
		t.Errorf("what can't be changed was: -live +got\n%s", diff)
	}
}

func TestPrimaryService(t *testing.T) {
	target := newService()
	target.Spec.Type, target.Spec.Ports[0].NodePort = corev1.ServiceTypeLoadBalancer, 30000
	target.Spec.ClusterIP, target.Spec.LoadBalancerIP = "10.0.0.7", "1.2.3.4"
	wantSpec := corev1.ServiceSpec{
		Type:     corev1.ServiceTypeClusterIP,
		Selector: map[string]string{"app": "a", "tier": "web"},
		Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(9898)}},
	}
	got := primary(t, target, nil, defaults)
	if diff := cmp.Diff(wantSpec, got.Spec); diff != "" {
		t.Errorf("primary: -want +got\n%s", diff)
	}
	if got.Name != "podinfo-primary" || got.Labels["team"] != "" || got.Annotations[workload.RevisionAnnotation] == "" {
		t.Errorf("primary: %+v", got.ObjectMeta)
	}

	c := newCanary().service(func(s *v1beta1.CanaryService) {
		s.Canary = &v1beta1.CustomMetadata{Labels: map[string]string{"x": "y"}}
	})
	services, err := workload.BuildServices(c.Canary, target, nil, defaults)
	if err != nil {
		t.Fatal(err)
	}
	if services.Apex != nil || services.Primary != nil || !slices.Equal(services.All(), []*corev1.Service{services.Canary}) {
		t.Errorf("%+v: the apex is the target, the primary is the workload", services)
	}
	if diff := cmp.Diff(wantSpec, services.Canary.Spec); diff != "" {
		t.Errorf("canary: -want +got\n%s", diff)
	}
	if services.Canary.Name != "podinfo-canary" || services.Canary.Labels["x"] != "y" || services.Canary.Annotations["sluice.dev/canary"] != "release" {
		t.Errorf("canary: %+v", services.Canary.ObjectMeta)
	}

	target.Spec.ClusterIP = corev1.ClusterIPNone
	if got := primary(t, target, nil, defaults); got.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Error("the copy of a headless Service is not headless")
	}
	target.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "b.example"}
	if got := primary(t, target, nil, defaults); got.Spec.Type != corev1.ServiceTypeExternalName || workload.Images(target) != "b.example" {
		t.Errorf("%+v, %q", got.Spec, workload.Images(target))
	}
}

// The pods of target and primary, and of other workloads that share the
// selector label, must stay apart.
func TestSelectorsStayApart(t *testing.T) {
	for name, selector := range map[string]metav1.LabelSelector{
		"one label":      {MatchLabels: map[string]string{"app": "podinfo"}},
		"several labels": {MatchLabels: map[string]string{"app": "podinfo", "team": "a"}},
		"expressions too": {
			MatchLabels: map[string]string{"app": "podinfo"},
			MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"podinfo", "other"}},
				{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"podinfo-primary"}},
				{Key: "team", Operator: metav1.LabelSelectorOpExists},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			target := newDeployment().with(func(d *appsv1.Deployment) { d.Spec.Selector = &selector })
			built := primaryOf(t, target, nil, defaults)
			finds := func(s *metav1.LabelSelector, pod map[string]string) bool {
				of, err := metav1.LabelSelectorAsSelector(s)
				if err != nil {
					t.Fatal(err)
				}
				return of.Matches(labels.Set(pod))
			}
			own, copied := target.Spec.Template.Labels, built.Spec.Template.Labels
			if !finds(built.Spec.Selector, copied) || finds(built.Spec.Selector, own) {
				t.Errorf("the primary's selector %v: pods %v and %v", built.Spec.Selector, copied, own)
			}
			if !finds(target.Spec.Selector, own) || finds(target.Spec.Selector, copied) {
				t.Errorf("the target's selector %v: pods %v and %v", target.Spec.Selector, own, copied)
			}
			if len(selector.MatchLabels) > 1 {
				neighbour := map[string]string{"app": "podinfo-primary", "team": "b"}
				if finds(built.Spec.Selector, neighbour) {
					t.Errorf("the primary's selector %v finds the pods of another one, %v", built.Spec.Selector, neighbour)
				}
			}
			services := buildServices(t, newCanary(), target)
			for _, s := range []*corev1.Service{services.Apex, services.Primary} {
				if sel := labels.SelectorFromSet(s.Spec.Selector); !sel.Matches(labels.Set(copied)) || sel.Matches(labels.Set(own)) || len(s.Spec.Selector) != len(selector.MatchLabels) {
					t.Errorf("Service %s selects %v", s.Name, s.Spec.Selector)
				}
			}
			if sel := labels.SelectorFromSet(services.Canary.Spec.Selector); sel.Matches(labels.Set(copied)) || !sel.Matches(labels.Set(own)) {
				t.Errorf("Service %s selects %v", services.Canary.Name, services.Canary.Spec.Selector)
			}
		})
	}
}

// All of a pod goes over to the primary's pods as it is, for each kind.
func TestCarriedOver(t *testing.T) {
	for name, spec := range map[string]corev1.PodSpec{
		"init containers":    {InitContainers: []corev1.Container{{Name: "migrate", Image: "migrate:1", Args: []string{"up"}}}},
		"sidecar containers": {InitContainers: []corev1.Container{{Name: "proxy", Image: "proxy:1", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}},
		"volumes": {
			Volumes:    []corev1.Volume{{Name: "cache", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory"}}}},
			Containers: []corev1.Container{{Name: "a", VolumeMounts: []corev1.VolumeMount{{Name: "cache", MountPath: "/cache"}}}},
		},
		"service account":   {ServiceAccountName: "podinfo", DeprecatedServiceAccount: "podinfo", AutomountServiceAccountToken: new(false)},
		"image pull secret": {ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}},
		"spread by a key of the pods' own": {TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: "zone", MatchLabelKeys: []string{"pod-template-hash"}, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}},
		}}},
		"affinity to others": {Affinity: &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "database"}}, TopologyKey: "zone", NamespaceSelector: &metav1.LabelSelector{}},
		}}}},
		"node selector, tolerations, priority": {
			NodeSelector: map[string]string{"disk": "ssd"}, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, PriorityClassName: "high",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, ds, ss := newDeployment(), newDaemonSet(), newStatefulSet()
			for _, target := range []client.Object{d.Deployment, ds, ss} {
				workload.Template(target).Spec = *spec.DeepCopy()
			}
			for _, built := range []client.Object{primary(t, d.Deployment, nil, defaults), primary(t, ds, nil, defaults), primary(t, ss, nil, defaults)} {
				if diff := cmp.Diff(spec, workload.Template(built).Spec); diff != "" {
					t.Errorf("%T: -want +got\n%s", built, diff)
				}
			}
		})
	}
}

func TestCheck(t *testing.T) {
	daemons := func(strategy appsv1.DaemonSetUpdateStrategyType) *appsv1.DaemonSet {
		d := newDaemonSet()
		d.Spec.UpdateStrategy.Type = strategy
		return d
	}
	stateful := func(change func(*appsv1.StatefulSetSpec)) *appsv1.StatefulSet {
		s := newStatefulSet()
		change(&s.Spec)
		return s
	}
	own := newCanary().service(func(s *v1beta1.CanaryService) { s.Name = "shop" })
	live := func() *appsv1.StatefulSet { return primary(t, newStatefulSet(), nil, defaults) }
	for name, tc := range map[string]struct {
		canary       *canary
		target, live client.Object
		want         []string // in the error; nil: nothing is wrong
	}{
		"Deployment":                  {target: newDeployment().Deployment},
		"DaemonSet":                   {target: newDaemonSet()},
		"DaemonSet, rolling":          {target: daemons(appsv1.RollingUpdateDaemonSetStrategyType)},
		"DaemonSet, on delete":        {target: daemons(appsv1.OnDeleteDaemonSetStrategyType), want: []string{"DaemonSet/podinfo", "spec.updateStrategy.type", `"OnDelete"`, "RollingUpdate"}},
		"StatefulSet":                 {target: newStatefulSet()},
		"StatefulSet and its primary": {target: newStatefulSet(), live: live()},
		"StatefulSet, on delete":      {target: stateful(func(s *appsv1.StatefulSetSpec) { s.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }), want: []string{"spec.updateStrategy.type", `"OnDelete"`}},
		"pain 22: StatefulSet in partitions": {
			target: stateful(func(s *appsv1.StatefulSetSpec) {
				s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(1))}
			}),
			want: []string{"spec.updateStrategy.rollingUpdate.partition", "1", "must be 0"},
		},
		"StatefulSet, partition 0": {target: stateful(func(s *appsv1.StatefulSetSpec) {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32)}
		})},
		"StatefulSet, other claims": {
			target: stateful(func(s *appsv1.StatefulSetSpec) {
				s.VolumeClaimTemplates[0].Spec.Resources.Requests["storage"] = resource.MustParse("2Gi")
			}),
			live: live(), want: []string{"StatefulSet/podinfo", "spec.volumeClaimTemplates", "podinfo-primary", "--cascade=orphan"},
		},
		"StatefulSet, no claims any more": {
			target: stateful(func(s *appsv1.StatefulSetSpec) { s.VolumeClaimTemplates = nil }),
			live:   live(), want: []string{"spec.volumeClaimTemplates"},
		},
		"StatefulSet, other policy": {
			target: stateful(func(s *appsv1.StatefulSetSpec) { s.PodManagementPolicy = "" }),
			live:   live(), want: []string{"spec.podManagementPolicy", `"OrderedReady"`, "podinfo-primary"},
		},
		"StatefulSet, other governing service": {target: stateful(func(s *appsv1.StatefulSetSpec) { s.ServiceName = "others" }), live: live()},
		"Service":                              {target: newService()},
		"Service under another name":           {canary: &own, target: newService(), want: []string{"spec.service.name", `"shop"`}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCanary()
			if tc.canary != nil {
				c = *tc.canary
			}
			err := workload.Check(c.Canary, tc.target, tc.live)
			if tc.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if unsupported := (*workload.UnsupportedTargetError)(nil); !errors.As(err, &unsupported) {
				t.Fatalf("error %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}

func TestMadeByFlagger(t *testing.T) {
	d := newDeployment().Deployment
	if workload.MadeByFlagger(d) || workload.MadeByFlagger(newService()) {
		t.Error("what has no mark of Flagger's was made by it")
	}
	d.Spec.Template.Annotations["flagger-id"] = "1f0e"
	if !workload.MadeByFlagger(d) {
		t.Error("Flagger's primary was not made by it")
	}
}
