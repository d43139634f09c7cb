package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// selectors are objects that select the application's pods, one of each kind,
// with what is said of them and the copy for the primary.
var selectors = []struct{ manifest, seen, copied string }{
	{
		"{apiVersion: policy/v1, kind: PodDisruptionBudget, spec: {minAvailable: 1, selector: {matchLabels: {app: podinfo}}}}",
		"PodDisruptionBudget web (app=podinfo)", "{minAvailable: 1, selector: {matchLabels: {app: podinfo-primary}}}",
	},
	{
		"{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {matchLabels: {app: podinfo}}, policyTypes: [Ingress], ingress: [{ports: [{port: 80}]}]}}",
		"NetworkPolicy web (app=podinfo)",
		"{podSelector: {matchLabels: {app: podinfo-primary}}, policyTypes: [Ingress], ingress: [{ports: [{port: 80, protocol: TCP}]}]}",
	},
	{
		"{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, spec: {selector: {matchLabels: {app: podinfo}}, rules: [{to: [{operation: {methods: [GET]}}]}]}}",
		"AuthorizationPolicy web (app=podinfo)", "{selector: {matchLabels: {app: podinfo-primary}}, rules: [{to: [{operation: {methods: [GET]}}]}]}",
	},
	{
		"{apiVersion: security.istio.io/v1, kind: PeerAuthentication, spec: {selector: {matchLabels: {app: podinfo}}, mtls: {mode: STRICT}}}",
		"PeerAuthentication web (app=podinfo)", "{selector: {matchLabels: {app: podinfo-primary}}, mtls: {mode: STRICT}}",
	},
	{
		"{apiVersion: security.istio.io/v1, kind: RequestAuthentication, spec: {selector: {matchLabels: {app: podinfo}}, jwtRules: [{issuer: me}]}}",
		"RequestAuthentication web (app=podinfo)", "{selector: {matchLabels: {app: podinfo-primary}}, jwtRules: [{issuer: me}]}",
	},
	{
		"{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, spec: {workloadSelector: {labels: {app: podinfo}}, priority: 3}}",
		"EnvoyFilter web (app=podinfo)", "{workloadSelector: {labels: {app: podinfo-primary}}, priority: 3}",
	},
	{
		"{apiVersion: networking.istio.io/v1, kind: Sidecar, spec: {workloadSelector: {labels: {app: podinfo}}, egress: [{hosts: ['./*']}]}}",
		"Sidecar web (app=podinfo)", "{workloadSelector: {labels: {app: podinfo-primary}}, egress: [{hosts: ['./*']}]}",
	},
	{
		"{apiVersion: telemetry.istio.io/v1, kind: Telemetry, spec: {selector: {matchLabels: {app: podinfo}}, accessLogging: [{disabled: true}]}}",
		"Telemetry web (app=podinfo)", "{selector: {matchLabels: {app: podinfo-primary}}, accessLogging: [{disabled: true}]}",
	},
	{
		"{apiVersion: policy.linkerd.io/v1beta1, kind: Server, spec: {port: http, podSelector: {matchLabels: {app: podinfo}}}}",
		"Server web (app=podinfo)", "",
	},
	{
		"{apiVersion: monitoring.coreos.com/v1, kind: PodMonitor, spec: {selector: {matchLabels: {app: podinfo}}}}",
		"PodMonitor web (app=podinfo)", "{selector: {matchLabels: {app: podinfo-primary}}}",
	},
	{
		"{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor, spec: {endpoints: [{port: http}], selector: {matchLabels: {app: podinfo}}}}",
		"ServiceMonitor web (app=podinfo)", "{endpoints: [{port: http}], selector: {matchLabels: {app: podinfo-svc}}}",
	},
	{
		"{apiVersion: v1, kind: Service, spec: {selector: {app: podinfo}, ports: [{port: 80}]}}",
		"Service web (app=podinfo)", "",
	},
}

// stageLimit is how long anything may take that takes a second, where dozens of operators start at once on two processors.
const stageLimit = 2 * time.Minute

// stage is a namespace with the application, what selects its pods, and an
// operator for the whole cluster.
type stage struct {
	t         *testing.T
	api       client.Client
	namespace string
}

// operate runs an operator until the test ends and returns its writes.
func operate(t *testing.T, c *cluster.Cluster, args ...string) *fuse {
	t.Helper()
	o, err := parseFlags(append([]string{"-port", "0", "-allowed-addresses", loopback}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	writes := &fuse{how: undisturbed}
	ended := make(chan error, 1)
	go func() {
		ended <- start(ctx, c.Config(), o, wiring{wrap: writes.client(cancel), registry: prometheus.NewRegistry(), oneOfMany: true})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("operator: %v", err)
		}
	})
	return writes
}

func testCoverage(t *testing.T, c *cluster.Cluster, api client.Client) {
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.InstallCRDs(t.Context(), filepath.Join(root, "operator", "testdata", "selectors.yaml")); err != nil {
		t.Fatal(err)
	}
	writes := operate(t, c, "-coverage", "copy", "-enable-leader-election", "-leader-election-namespace", "kube-system") // as the chart has it
	t.Run("report", func(t *testing.T) { testCoverageReport(newStage(t, api, "coverage-report", v1beta1.CoverageReport)) })
	t.Run("copy", func(t *testing.T) { testCoverageCopy(newStage(t, api, "coverage-copy", v1beta1.CoverageCopy)) })
	t.Logf("%d writes:\n%s", writes.count(), strings.Join(writes.writes, "\n"))
}

// newStage waits until the Canary is at rest.
func newStage(t *testing.T, api client.Client, namespace string, mode v1beta1.CoverageMode) *stage {
	t.Helper()
	s := &stage{t: t, api: api, namespace: namespace}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	for _, each := range selectors {
		s.create(s.object(each.manifest))
	}
	s.create((&trial{namespace: namespace}).deployment(oldImage))
	s.create(s.canary(mode))
	s.awaitPhase(v1beta1.PhaseInitialized)
	return s
}

func (s *stage) canary(mode v1beta1.CoverageMode) *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: app},
		Spec: v1beta1.CanarySpec{
			TargetRef:         v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: app},
			DrainDelaySeconds: new(int32(1)),
			Service:           v1beta1.CanaryService{Name: "podinfo-svc", Port: 9898},
			Analysis:          &v1beta1.CanaryAnalysis{Interval: "1s", Threshold: 2, StepWeight: 50, MaxWeight: 50},
			Coverage:          &v1beta1.CoverageSpec{Mode: mode},
		},
	}
}

// object makes one, named web, from YAML.
func (s *stage) object(manifest string) *unstructured.Unstructured {
	s.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &u.Object); err != nil {
		s.t.Fatal(err)
	}
	u.SetNamespace(s.namespace)
	u.SetName("web")
	return u
}

func (s *stage) create(o client.Object) {
	s.t.Helper()
	if err := s.api.Create(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: name}
}

func (s *stage) await(what string, check func(context.Context) error) {
	s.t.Helper()
	if err := rig.Await(s.t.Context(), what, stageLimit, check); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) awaitPhase(phase v1beta1.CanaryPhase) {
	s.t.Helper()
	s.await("phase "+string(phase), func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		err := s.api.Get(ctx, s.key(app), c)
		if err == nil && c.Status.Phase != phase {
			err = fmt.Errorf("it is %+v", c.Status)
		}
		return err
	})
}

// awaitCovered waits for the condition Covered with this status, that names
// these objects and not those.
func (s *stage) awaitCovered(status corev1.ConditionStatus, names, not []string) {
	s.t.Helper()
	s.await("the condition", func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		if err := s.api.Get(ctx, s.key(app), c); err != nil {
			return err
		}
		covered := c.Status.GetCondition(v1beta1.ConditionCovered)
		if covered == nil || covered.Status != status {
			return fmt.Errorf("Covered is %+v", covered)
		}
		return namesAll(covered.Message, names, not)
	})
}

// awaitEvent waits for an event that names these objects and not those.
func (s *stage) awaitEvent(reason string, names, not []string) {
	s.t.Helper()
	s.await("an event", func(ctx context.Context) error {
		var list eventsv1.EventList
		if err := s.api.List(ctx, &list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		var last error
		for _, e := range list.Items {
			if e.Reason != reason || e.Regarding.Name != app {
				continue
			}
			if last = namesAll(e.Note, names, not); last == nil {
				return nil
			}
		}
		return fmt.Errorf("no event %s does: %w", reason, last)
	})
}

func namesAll(message string, names, not []string) error {
	for _, name := range names {
		if !strings.Contains(message, name) {
			return fmt.Errorf("%q does not name %q", message, name)
		}
	}
	for _, name := range not {
		if strings.Contains(message, name) {
			return fmt.Errorf("%q names %q", message, name)
		}
	}
	return nil
}

func testCoverageReport(s *stage) {
	var all []string
	for _, each := range selectors {
		all = append(all, each.seen)
	}
	s.awaitCovered(corev1.ConditionFalse, all, nil)
	s.awaitEvent("NotCovered", all, nil)
	for _, each := range selectors {
		if o := s.object(each.manifest); s.exists(o, "web-primary") {
			s.t.Errorf("%s was copied", o.GetKind())
		}
	}

	// One goes, another comes, in another namespace.
	budget := s.object(selectors[0].manifest)
	if err := s.api.Delete(s.t.Context(), budget); err != nil {
		s.t.Fatal(err)
	}
	s.awaitEvent("NotCovered", all[1:], all[:1])
	policy := s.object(`{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, ingress: [{from: [
		{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: coverage-report}}, podSelector: {matchLabels: {app: podinfo}}}]}]}}`)
	policy.SetNamespace("default")
	s.create(policy)
	s.t.Cleanup(func() {
		if err := s.api.Delete(context.WithoutCancel(s.t.Context()), policy); err != nil {
			s.t.Error(err)
		}
	})
	peer := "NetworkPolicy default/web (ingress peer app=podinfo)"
	s.awaitCovered(corev1.ConditionFalse, append([]string{peer}, all[1:]...), nil)
	s.awaitEvent("NotCovered", []string{peer}, nil)
	c := &v1beta1.Canary{}
	if err := s.api.Get(s.t.Context(), s.key(app), c); err != nil {
		s.t.Fatal(err)
	}
	if ready := c.Status.GetCondition(v1beta1.ConditionReady); ready == nil || ready.Status != corev1.ConditionTrue {
		s.t.Errorf("Ready is %+v", ready)
	}
}

func (s *stage) exists(like *unstructured.Unstructured, name string) bool {
	s.t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(like.GroupVersionKind())
	err := s.api.Get(s.t.Context(), s.key(name), o)
	if client.IgnoreNotFound(err) != nil {
		s.t.Fatal(err)
	}
	return err == nil
}

// awaitCopy waits for the copy of an object, or for none where spec is empty.
func (s *stage) awaitCopy(like *unstructured.Unstructured, spec string) *unstructured.Unstructured {
	s.t.Helper()
	var want any
	if err := yaml.Unmarshal([]byte(spec), &want); err != nil {
		s.t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(like.GroupVersionKind())
	s.await("the copy of "+like.GetKind(), func(ctx context.Context) error {
		err := s.api.Get(ctx, s.key("web-primary"), o)
		switch {
		case client.IgnoreNotFound(err) != nil:
			return err
		case spec == "" && err == nil:
			return errors.New("it is there")
		case spec == "":
			return nil
		case err != nil:
			return err
		}
		var got any
		raw, err := yaml.Marshal(o.Object["spec"])
		if err == nil {
			err = yaml.Unmarshal(raw, &got)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("(-want +got)\n%s", diff)
		}
		return err
	})
	return o
}

func testCoverageCopy(s *stage) {
	ctx := s.t.Context()
	primary := &appsv1.Deployment{}
	route := &istionetworking.VirtualService{}
	for name, o := range map[string]client.Object{"podinfo-svc": route, app + "-primary": primary} {
		if err := s.api.Get(ctx, s.key(name), o); err != nil {
			s.t.Fatal(err)
		}
	}
	var uncopied []string
	for _, each := range selectors {
		o := s.object(each.manifest)
		if each.copied == "" {
			uncopied = append(uncopied, each.seen)
		}
		if each.copied == "" || s.t.Failed() {
			continue
		}
		made := s.awaitCopy(o, each.copied)
		if versionOf(s.t, made) > versionOf(s.t, route) {
			s.t.Errorf("the copy of %s came after the route to what it covers", o.GetKind())
		}
		if owner := ownership.CanaryOf(made); owner != app || len(made.GetOwnerReferences()) > 0 {
			s.t.Errorf("the copy of %s is of Canary %q and has owners %+v", o.GetKind(), owner, made.GetOwnerReferences())
		}
	}
	s.awaitCovered(corev1.ConditionFalse, uncopied, []string{"PodDisruptionBudget"})

	// Another edit, and the end, of the original.
	mtls := s.object(selectors[3].manifest)
	if err := s.api.Patch(ctx, mtls, client.RawPatch("application/merge-patch+json", []byte(`{"spec": {"mtls": {"mode": "PERMISSIVE"}}}`))); err != nil {
		s.t.Fatal(err)
	}
	s.awaitCopy(mtls, "{selector: {matchLabels: {app: podinfo-primary}}, mtls: {mode: PERMISSIVE}}")
	if err := s.api.Delete(ctx, mtls); err != nil {
		s.t.Fatal(err)
	}
	s.awaitCopy(mtls, "")

	// The copy is edited, and deleted, by hand.
	budget := s.object(selectors[0].manifest)
	for _, drift := range []func() error{
		func() error {
			o := s.object(selectors[0].manifest)
			o.SetName("web-primary")
			return s.api.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(`{"spec": {"minAvailable": 7}}`)))
		},
		func() error {
			o := s.object(selectors[0].manifest)
			o.SetName("web-primary")
			return s.api.Delete(ctx, o)
		},
	} {
		if err := drift(); err != nil {
			s.t.Fatal(err)
		}
		s.awaitCopy(budget, selectors[0].copied)
	}

	if err := s.api.Patch(ctx, s.canary(""), client.RawPatch("application/merge-patch+json", []byte(`{"spec": {"coverage": {"mode": "Report"}}}`))); err != nil {
		s.t.Fatal(err)
	}
	for _, each := range selectors {
		s.awaitCopy(s.object(each.manifest), "")
	}
	names := slices.Collect(func(yield func(string) bool) {
		for i, each := range selectors {
			if i != 3 && !yield(each.seen) {
				return
			}
		}
	})
	s.awaitCovered(corev1.ConditionFalse, names, nil)
}

func versionOf(t *testing.T, o client.Object) int {
	t.Helper()
	v, err := strconv.Atoi(o.GetResourceVersion())
	if err != nil {
		t.Fatal(err)
	}
	return v
}
