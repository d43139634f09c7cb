package cluster

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testScripts has a container's script call a Service by its names, and reads by the API server what it has written.
func testScripts(t *testing.T, c *Cluster, api client.Client) {
	clients, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	create(t, api, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "called", Namespace: testNamespace}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "called"}, Ports: []corev1.ServicePort{{Name: "other", Port: 1}, {Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
	}})
	create(t, api, deployment("caller", "6.0.0", 1, func(pod *corev1.PodTemplateSpec) {
		pod.Spec.TerminationGracePeriodSeconds = new(int64)
		pod.Spec.Containers[0].Command = []string{"sh", "-c"}
		pod.Spec.Containers[0].Args = []string{`
			until curl -s -o /dev/null --max-time 2 http://called/readyz; do echo refused; sleep 0.1; done
			for url in http://called/readyz http://called.$SPACE/readyz http://called.$SPACE.svc.cluster.local:80/readyz http://called:1/ http://nobody/ http://called.elsewhere/; do
				curl -s -o /dev/null --max-time 2 -w '%{http_code}\n' $url
			done
			echo end; while true; do sleep 1; done`}
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SPACE", Value: testNamespace}}
	}))
	logs := func(ctx context.Context, options *corev1.PodLogOptions) (string, error) {
		pods, err := podsOf(ctx, api, "caller")
		if err != nil || len(pods) != 1 {
			return "", fmt.Errorf("%d pods, %w", len(pods), err)
		}
		log, err := clients.CoreV1().Pods(testNamespace).GetLogs(pods[0].Name, options).DoRaw(ctx)
		return string(log), err
	}
	until := func(want string) {
		t.Helper()
		eventually(t, want, func(ctx context.Context) error {
			log, err := logs(ctx, &corev1.PodLogOptions{})
			if err == nil && !strings.Contains(log, want) {
				err = fmt.Errorf("the log is %q", log)
			}
			return err
		})
	}
	until("refused") // nothing is behind the Service
	create(t, api, deployment("called", "6.0.0", 2, nil))
	until("end")
	tail, err := logs(t.Context(), &corev1.PodLogOptions{TailLines: new(int64(7))})
	if err != nil {
		t.Fatal(err)
	}
	// The pods have no server at their port of the first port's number.
	if want := []string{"200", "200", "200", "000", "000", "000", "end"}; !slices.Equal(strings.Fields(tail), want) {
		t.Errorf("the last lines are %q, want %q", strings.Fields(tail), want)
	}
	t.Run("their logs are followed to their end", func(t *testing.T) { testFollow(t, clients, api) })
}

func testFollow(t *testing.T, clients kubernetes.Interface, api client.Client) {
	pods, err := podsOf(t.Context(), api, "caller")
	if err != nil || len(pods) != 1 {
		t.Fatal(len(pods), err)
	}
	stream, err := clients.CoreV1().Pods(testNamespace).GetLogs(pods[0].Name, &corev1.PodLogOptions{Follow: true, TailLines: new(int64(1))}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	if !lines.Scan() || lines.Text() != "end" {
		t.Errorf("the first line is %q, %v", lines.Text(), lines.Err())
	}
	d := deployment("caller", "6.0.0", 0, nil)
	if err := api.Delete(t.Context(), d, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		t.Errorf("a line %q", lines.Text())
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
}

func TestLastLines(t *testing.T) {
	for _, tc := range []struct {
		text  string
		count int
		want  string
	}{
		{"", 1, ""}, {"a\n", 0, ""}, {"a\n", 1, "a\n"}, {"a\n", 2, "a\n"}, {"a\nb\nc\n", 2, "b\nc\n"}, {"a\nb", 1, "b"}, {"\n\n", 1, "\n"},
	} {
		if got := tc.text[lastLines([]byte(tc.text), tc.count):]; got != tc.want {
			t.Errorf("%q, %d lines: %q, want %q", tc.text, tc.count, got, tc.want)
		}
	}
}
