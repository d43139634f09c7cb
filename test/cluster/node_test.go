package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func testPods(t *testing.T, api client.Client) {
	t.Run("answer in the version of their image", func(t *testing.T) {
		create(t, api, deployment("plain", "6.0.0", 2, nil))
		waitReady(t, api, "plain")
		pods, err := podsOf(t.Context(), api, "plain")
		if err != nil || len(pods) != 2 || pods[0].Status.PodIP == pods[1].Status.PodIP {
			t.Fatalf("want two pods with an address each, got %d (%v)", len(pods), err)
		}
		for _, pod := range pods {
			code, body, err := get(t.Context(), http.MethodGet, pod.Status.PodIP, "/version")
			if err != nil || code != http.StatusOK || !strings.Contains(body, `"6.0.0"`) {
				t.Errorf("%s answers %d %q (%v), want version 6.0.0", pod.Name, code, body, err)
			}
		}
	})

	t.Run("are ready when their probe says so", func(t *testing.T) {
		create(t, api, deployment("unready", "6.0.0", 1, func(pod *corev1.PodTemplateSpec) {
			c := &pod.Spec.Containers[0]
			c.Command = append(c.Command, "--unready")
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
				Exec: &corev1.ExecAction{Command: []string{"podcli", "check", "http", "localhost:9898/readyz"}},
			}}
		}))
		pod := waitAnswering(t, api, "unready")
		if ready, reason := readiness(pod); ready || reason != "ContainersNotReady" {
			t.Errorf("ready is %v (%s) while /readyz fails", ready, reason)
		}
		if code, _, err := get(t.Context(), http.MethodPost, pod.Status.PodIP, "/readyz/enable"); err != nil || code != http.StatusAccepted {
			t.Fatalf("enable readiness: %d, %v", code, err)
		}
		waitReady(t, api, "unready")
		pods, err := podsOf(t.Context(), api, "unready")
		if err != nil {
			t.Fatal(err)
		}
		if ready, reason := readiness(&pods[0]); !ready || reason != "" {
			t.Errorf("ready is %v with the reason %q after readiness was enabled", ready, reason)
		}
	})

	t.Run("with a gRPC probe", func(t *testing.T) {
		service := "podinfo"
		create(t, api, deployment("health", "6.0.0", 1, func(pod *corev1.PodTemplateSpec) {
			pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
				GRPC: &corev1.GRPCAction{Port: 9999, Service: &service},
			}}
		}))
		waitReady(t, api, "health")
		pods, err := podsOf(t.Context(), api, "health")
		if err != nil {
			t.Fatal(err)
		}
		address := net.JoinHostPort(pods[0].Status.PodIP, "9999")
		if err := checkGRPC(t.Context(), address, "nobody"); err == nil {
			t.Error("the health check of an unknown gRPC service succeeded")
		}
	})

	t.Run("fail when told to, and stay ready", func(t *testing.T) {
		create(t, api, deployment("faulty", "6.0.2", 1, func(pod *corev1.PodTemplateSpec) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SLUICE_ERROR_PERCENT", Value: "100"}}
		}))
		waitReady(t, api, "faulty")
		pod := waitAnswering(t, api, "faulty")
		if code, _, err := get(t.Context(), http.MethodGet, pod.Status.PodIP, "/version"); err != nil || code != http.StatusInternalServerError {
			t.Errorf("want 500, got %d (%v)", code, err)
		}
		if code, _, err := get(t.Context(), http.MethodGet, pod.Status.PodIP, "/readyz"); err != nil || code != http.StatusOK {
			t.Errorf("readyz: want 200, got %d (%v)", code, err)
		}
	})

	t.Run("that crash are started again", func(t *testing.T) {
		create(t, api, deployment("crashing", "6.0.0", 1, func(pod *corev1.PodTemplateSpec) {
			pod.Spec.Containers[0].Args = []string{"--level=nonsense"}
		}))
		eventually(t, "a restart", func(ctx context.Context) error {
			pods, err := podsOf(ctx, api, "crashing")
			if err != nil || len(pods) != 1 || len(pods[0].Status.ContainerStatuses) != 1 {
				return fmt.Errorf("%d pods with a container: %w", len(pods), err)
			}
			status := pods[0].Status.ContainerStatuses[0]
			if status.RestartCount == 0 || status.State.Waiting == nil || status.State.Waiting.Reason != "CrashLoopBackOff" {
				return fmt.Errorf("%d restarts, state %v", status.RestartCount, status.State)
			}
			if ready, _ := readiness(&pods[0]); ready {
				return errors.New("the pod is ready")
			}
			return nil
		})
	})

	t.Run("end with their objects", func(t *testing.T) {
		pods, err := podsOf(t.Context(), api, "plain")
		if err != nil {
			t.Fatal(err)
		}
		// A request in flight outlives the beginning of the end.
		slow := make(chan error, 1)
		go func() {
			code, _, err := get(t.Context(), http.MethodGet, pods[0].Status.PodIP, "/delay/2")
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("status %d", code)
			}
			slow <- err
		}()
		removeAll(t, api, "plain", "unready", "health", "faulty", "crashing")
		if err := <-slow; err != nil {
			t.Errorf("a request during termination failed: %v", err)
		}
		for _, pod := range pods {
			if err := checkTCP(t.Context(), net.JoinHostPort(pod.Status.PodIP, "9898")); err == nil {
				t.Errorf("%s is gone, but its server still listens", pod.Name)
			}
		}
	})
}

func testManyPods(t *testing.T, api client.Client) {
	create(t, api, deployment("many", "6.0.0", 200, func(pod *corev1.PodTemplateSpec) {
		pod.Annotations = map[string]string{ProcessAnnotation: "none"}
	}))
	waitReady(t, api, "many")
	removeAll(t, api, "many")
}

// removeAll deletes Deployments and waits until their pods are gone.
func removeAll(t *testing.T, api client.Client, names ...string) {
	t.Helper()
	for _, name := range names {
		object := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: testNamespace}}
		if err := api.Delete(t.Context(), object, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		eventually(t, "deletion of "+name, func(ctx context.Context) error {
			pods, err := podsOf(ctx, api, name)
			if err == nil && len(pods) > 0 {
				err = fmt.Errorf("%d pods are left", len(pods))
			}
			return err
		})
	}
}

// waitAnswering returns the Deployment's pod once its server answers at all.
func waitAnswering(t *testing.T, api client.Client, name string) *corev1.Pod {
	t.Helper()
	var found *corev1.Pod
	eventually(t, "a server of "+name, func(ctx context.Context) error {
		pods, err := podsOf(ctx, api, name)
		if err != nil || len(pods) != 1 {
			return fmt.Errorf("%d pods: %w", len(pods), err)
		}
		found = &pods[0]
		_, _, err = get(ctx, http.MethodGet, found.Status.PodIP, "/healthz")
		return err
	})
	return found
}

func readiness(pod *corev1.Pod) (ready bool, reason string) {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue, condition.Reason
		}
	}
	return false, ""
}

func TestSchedule(t *testing.T) {
	named := func(names ...string) *corev1.Affinity {
		var terms []corev1.NodeSelectorTerm
		for _, name := range names {
			terms = append(terms, corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{name}},
			}})
		}
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	}
	for name, tc := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"anywhere":                 {want: "node"},
		"a DaemonSet's":            {spec: corev1.PodSpec{Affinity: named("node-2")}, want: "node-2"},
		"one of several":           {spec: corev1.PodSpec{Affinity: named("nowhere", "node-2")}, want: "node-2"},
		"a node that is not there": {spec: corev1.PodSpec{Affinity: named("nowhere")}},
		"by label":                 {spec: corev1.PodSpec{NodeSelector: map[string]string{corev1.LabelHostname: "node-2"}}, want: "node-2"},
		"a label that no node has": {spec: corev1.PodSpec{NodeSelector: map[string]string{"flagger.app/scale-to-zero": "true"}}},
		"other affinity":           {spec: corev1.PodSpec{Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{}}}, want: "node"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := schedule(&corev1.Pod{Spec: tc.spec}); got != tc.want {
				t.Errorf("node %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSplitImage(t *testing.T) {
	for name, tc := range map[string]struct{ image, wantRepository, wantTag string }{
		"tag":           {"podinfo:6.0.0", "podinfo", "6.0.0"},
		"registry":      {"ghcr.io/stefanprodan/podinfo:6.0.0", "ghcr.io/stefanprodan/podinfo", "6.0.0"},
		"registry port": {"localhost:5000/podinfo", "localhost:5000/podinfo", "latest"},
		"digest":        {"podinfo:6.0.0@sha256:abc", "podinfo", "6.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			repository, tag := splitImage(tc.image)
			if repository != tc.wantRepository || tag != tc.wantTag {
				t.Errorf("got %q, %q, want %q, %q", repository, tag, tc.wantRepository, tc.wantTag)
			}
		})
	}
}

func TestPreStopDelay(t *testing.T) {
	for name, tc := range map[string]struct {
		hook *corev1.LifecycleHandler
		want time.Duration
	}{
		"none":     {nil, 0},
		"sleep":    {&corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3}}, 3 * time.Second},
		"command":  {&corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/sleep", "2"}}}, 2 * time.Second},
		"shell":    {&corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "sleep 1.5"}}}, 1500 * time.Millisecond},
		"no sleep": {&corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"drain"}}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := preStopDelay(&corev1.Container{Lifecycle: &corev1.Lifecycle{PreStop: tc.hook}})
			if got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAddressesAreReusedLast(t *testing.T) {
	var a addresses
	first, err := a.take()
	if err != nil || first != "10.244.1.1" {
		t.Fatalf("first address %q, %v", first, err)
	}
	a.give(first)
	seen := map[string]bool{first: true}
	for {
		next, err := a.take()
		if errors.Is(err, errNoAddress) {
			break
		}
		if seen[next] && next != first {
			t.Fatalf("%s was handed out twice", next)
		}
		if next == first && len(seen) != 255*254 {
			t.Fatalf("%s came again after %d others", first, len(seen))
		}
		seen[next] = true
	}
	if len(seen) != 255*254 {
		t.Errorf("%d addresses, want %d", len(seen), 255*254)
	}
}
