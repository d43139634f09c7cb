package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"testing"
	"time"

	istionetworking "istio.io/api/networking/v1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// testTraffic sends real requests through routes that istiod gave the client:
// to podinfo-old, which never fails, and podinfo-new, which fails half the time.
func testTraffic(t *testing.T, c *Cluster, api client.Client) {
	create(t, api, deployment("podinfo-old", "6.0.0", 2, nil))
	create(t, api, deployment("podinfo-new", "6.0.1", 1, func(pod *corev1.PodTemplateSpec) {
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "SLUICE_ERROR_PERCENT", Value: "50"}}
	}))
	for name, app := range map[string]string{"podinfo": "podinfo-old", "podinfo-old": "podinfo-old", "podinfo-new": "podinfo-new"} {
		create(t, api, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: testNamespace},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": app},
				Ports:    []corev1.ServicePort{{Name: "grpc", Port: 9999, TargetPort: intstr.FromString("grpc")}},
			},
		})
	}
	route := &networkingv1.VirtualService{
		ObjectMeta: metav1.ObjectMeta{Name: "podinfo", Namespace: testNamespace},
		Spec: istionetworking.VirtualService{
			Hosts: []string{"podinfo"},
			Http:  []*istionetworking.HTTPRoute{{Route: split(70)}},
		},
	}
	create(t, api, route)
	waitReady(t, api, "podinfo-old")
	waitReady(t, api, "podinfo-new")

	clock := time.Now()
	caller, err := c.StartClient(t.Context(), ClientOptions{
		Target: "podinfo.test.svc.cluster.local:9999", Namespace: testNamespace, Rate: 200,
	})
	if err != nil {
		t.Fatal(err)
	}
	report := awaitShare(t, caller, 0.7)
	t.Logf("70/30 after %v: %+v", time.Since(clock).Round(time.Millisecond), report)
	if failed := report.ByWorkload["podinfo-old"].Failed; failed != 0 {
		t.Errorf("%d requests to the good release failed", failed)
	}
	bad := report.ByWorkload["podinfo-new"]
	if !withinChance(bad.Failed, bad.Requests, 0.5) {
		t.Errorf("%d of %d requests to the bad release failed, want half", bad.Failed, bad.Requests)
	}

	route.Spec.Http[0].Route = split(20)
	if err := api.Update(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	clock = time.Now()
	report = awaitShare(t, caller, 0.2)
	t.Logf("20/80 after %v: %+v", time.Since(clock).Round(time.Millisecond), report)

	testRollingUpdate(t, api, caller)

	eventually(t, "Istio's metrics in Prometheus", func(ctx context.Context) error {
		const failures = `sum(rate(istio_requests_total{reporter="destination",destination_workload_namespace="test",` +
			`destination_workload="podinfo-new",grpc_response_status="13"}[5s]))`
		rate, err := query(ctx, c, failures)
		// 200 requests a second, of which 80 % go there and half of those fail.
		if err == nil && math.Abs(rate-80) > 25 {
			err = fmt.Errorf("%g failures a second, want about 80", rate)
		}
		return err
	})
}

// testRollingUpdate replaces pods under load: endings and beginnings that are
// as graceful as a kubelet's cost no request.
func testRollingUpdate(t *testing.T, api client.Client, c *Client) {
	t.Helper()
	before, err := c.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: "podinfo-old"}, &d); err != nil {
		t.Fatal(err)
	}
	pods, err := podsOf(t.Context(), api, "podinfo-old")
	if err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Annotations = map[string]string{"restarted": "yes"}
	if err := api.Update(t.Context(), &d); err != nil {
		t.Fatal(err)
	}
	for _, old := range pods {
		eventually(t, "the end of "+old.Name, func(ctx context.Context) error {
			err := api.Get(ctx, client.ObjectKeyFromObject(&old), &corev1.Pod{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(err, errors.New("it is still there"))
		})
	}
	after, err := c.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := after.Sub(before)
	if good := seen.ByWorkload["podinfo-old"]; good.Requests == 0 || good.Failed > 0 || seen.ByWorkload[UnknownWorkload].Failed > 0 {
		t.Errorf("want no failure while pods were replaced, got %+v", seen)
	}
}

func split(old int32) []*istionetworking.HTTPRouteDestination {
	to := func(host string, weight int32) *istionetworking.HTTPRouteDestination {
		return &istionetworking.HTTPRouteDestination{Destination: &istionetworking.Destination{Host: host}, Weight: weight}
	}
	return []*istionetworking.HTTPRouteDestination{to("podinfo-old", old), to("podinfo-new", 100-old)}
}

// awaitShare returns the first window of a thousand requests in which the share
// of podinfo-old is what chance allows. Windows begin anew until one is right,
// because a change of route takes its time.
func awaitShare(t *testing.T, c *Client, want float64) Report {
	t.Helper()
	const window = 1000
	base, err := c.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var seen Report
	eventually(t, fmt.Sprintf("a share of %g", want), func(ctx context.Context) error {
		now, err := c.Report(ctx)
		if err != nil {
			return err
		}
		seen = now.Sub(base)
		if seen.Total < window {
			return fmt.Errorf("only %d requests", seen.Total)
		}
		base = now
		if !withinChance(seen.ByWorkload["podinfo-old"].Requests, seen.Total, want) {
			return fmt.Errorf("share of podinfo-old is %g in %+v", seen.Share("podinfo-old"), seen)
		}
		return nil
	})
	return seen
}

// withinChance tells whether hits of total are within five standard deviations
// of a binomial distribution.
func withinChance(hits, total int64, p float64) bool {
	n := float64(total)
	return math.Abs(float64(hits)-n*p) <= 5*math.Sqrt(n*p*(1-p))
}

// query evaluates a PromQL expression that gives one value.
func query(ctx context.Context, c *Cluster, expression string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.PrometheusURL()+"/api/v1/query?query="+url.QueryEscape(expression), nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]any
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if len(answer.Data.Result) != 1 {
		return 0, fmt.Errorf("%d values", len(answer.Data.Result))
	}
	var value float64
	_, err = fmt.Sscan(fmt.Sprint(answer.Data.Result[0].Value[1]), &value)
	return value, err
}
