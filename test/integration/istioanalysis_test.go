package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	istioapi "istio.io/api/networking/v1"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/workload"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/ssa"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// analysisLimit is how long Istio's analysers may take, on a busy machine.
const analysisLimit = 2 * time.Minute

// finding is a message of Istio's analysers.
type finding struct {
	Level, Code, Origin, Message string
}

// analysed is one way to release, whose objects Istio's analysers look at.
type analysed struct {
	service  v1beta1.CanaryService
	analysis func(*v1beta1.CanaryAnalysis)
	traffic  providers.Traffic
	users    string // spec of the VirtualService that was there before
	rule     string // spec of the DestinationRule that was there before
	more     func(t *testing.T, e *environment, namespace string)
}

// testIstioAnalysis has the analysers of istioctl look at all that is written for
// each strategy, beside what users have. They say nothing worse than that something is
// worth knowing.
func testIstioAnalysis(t *testing.T, e *environment) {
	gateway := e.gateway(t)
	half := providers.Traffic{Primary: 50, Canary: 50}
	matched := func(a *v1beta1.CanaryAnalysis) {
		a.Iterations, a.StepWeight = 2, 0
		a.Match = []v1beta1.RawObject{
			raw(`{"headers":{"x-insider":{"exact":"yes"}}}`), raw(`{"sourceLabels":{"app":"web"}}`), raw(`{"uri":{"prefix":"/beta/"}}`),
		}
	}
	sessions := func(a *v1beta1.CanaryAnalysis) { a.SessionAffinity = &v1beta1.SessionAffinity{CookieName: "version"} }
	namespaces := map[string]string{}
	for name, tc := range map[string]analysed{
		"idle":            {traffic: providers.Traffic{Primary: 100}},
		"weighted":        {traffic: half},
		"full":            {traffic: providers.Traffic{Canary: 100}},
		"A/B":             {analysis: matched, traffic: providers.Traffic{Canary: 100, Matched: true}},
		"mirror":          {traffic: providers.Traffic{Primary: 100, Mirror: 30}},
		"sessions begin":  {analysis: sessions, traffic: withSessions(providers.Sessions{Canary: "b", Primary: "a"})},
		"sessions raised": {analysis: sessions, traffic: withSessions(providers.Sessions{Canary: "b", Primary: "a", Raised: 20})},
		"sessions ended":  {analysis: sessions, traffic: providers.Traffic{Primary: 100, Sessions: providers.Sessions{Ended: "b"}}},
		"TCP":             {service: v1beta1.CanaryService{AppProtocol: "tcp"}, traffic: half},
		"TCP of a port":   {service: v1beta1.CanaryService{AppProtocol: "tcp", Match: []v1beta1.RawObject{raw(`{"port":80}`)}}, traffic: half},
		"gRPC":            {service: v1beta1.CanaryService{PortName: "grpc", AppProtocol: "grpc"}, traffic: half},
		"gateway": {
			service: v1beta1.CanaryService{Gateways: []string{gateway}, Hosts: []string{"gateway.example.com"}}, traffic: half,
		},
		"gateway and mesh": {
			service: v1beta1.CanaryService{
				Gateways: []string{gateway, "mesh"}, Hosts: []string{"both.example.com"},
				Match: []v1beta1.RawObject{raw(`{"uri":{"prefix":"/api"}}`), raw(`{"sourceLabels":{"app":"web"},"gateways":["mesh"]}`)},
			},
			analysis: matched, traffic: providers.Traffic{Canary: 100, Matched: true},
		},
		"everything that a route has": {
			service: v1beta1.CanaryService{
				Timeout: "15s", Rewrite: new(raw(`{"uri":"/v2/"}`)), Match: []v1beta1.RawObject{raw(`{"uri":{"prefix":"/api/"}}`)},
				Retries:       new(raw(`{"attempts":3,"perTryTimeout":"1s","retryOn":"gateway-error,connect-failure"}`)),
				Headers:       new(raw(`{"request":{"set":{"x-a":"1"}},"response":{"remove":["server"]}}`)),
				CorsPolicy:    new(raw(`{"allowOrigins":[{"exact":"https://example.com"}],"allowMethods":["GET"],"maxAge":"24h"}`)),
				TrafficPolicy: new(raw(`{"tls":{"mode":"ISTIO_MUTUAL"},"outlierDetection":{"consecutive5xxErrors":5},"loadBalancer":{"simple":"LEAST_REQUEST"}}`)),
			},
			traffic: half,
		},
		"delegation": {
			service: v1beta1.CanaryService{Delegation: true}, traffic: half,
			more: func(t *testing.T, e *environment, namespace string) {
				e.create(t, &istionetworking.VirtualService{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "root"},
					Spec: istioapi.VirtualService{
						Hosts: []string{"delegated.example.com"}, Gateways: []string{gateway},
						Http: []*istioapi.HTTPRoute{{Delegate: &istioapi.Delegate{Name: app, Namespace: namespace}}},
					},
				})
			},
		},
		"a user's VirtualService": {
			users: `{"hosts":["adopted.example.com","podinfo"],"gateways":["` + gateway + `","mesh"],"exportTo":["."],"http":[
				{"match":[{"uri":{"prefix":"/old"}}],"redirect":{"uri":"/new"}},
				{"match":[{"uri":{"prefix":"/slow"}}],"timeout":"90s","route":[{"destination":{"host":"podinfo"}}]},
				{"route":[{"destination":{"host":"podinfo"}}]}]}`,
			rule:    `{"host":"podinfo","trafficPolicy":{"connectionPool":{"http":{"maxRetries":3}}}}`,
			traffic: half,
		},
		"a user's VirtualService with subsets": {
			users: `{"hosts":["podinfo"],"http":[{"route":[{"destination":{"host":"podinfo","subset":"v1"},"weight":90},{"destination":{"host":"podinfo","subset":"v2"},"weight":10}]}]}`,
			rule:  `{"host":"podinfo","subsets":[{"name":"v1","labels":{"app":"podinfo"}},{"name":"v2","labels":{"app":"podinfo"}}]}`, traffic: half,
		},
		// What is wrong is told: the analysers do look.
		mistaken: {service: v1beta1.CanaryService{Gateways: []string{"none"}, Hosts: []string{"mistaken.example.com"}}, traffic: half},
	} {
		namespaces[name] = e.writeAll(t, tc)
	}

	findings := e.analyse(t)
	for name, namespace := range namespaces {
		t.Run(name, func(t *testing.T) {
			var bad []string
			for _, f := range findings {
				if f.Level != "Info" && slices.Contains(strings.FieldsFunc(f.Origin, isSeparator), namespace) {
					bad = append(bad, fmt.Sprintf("%s %s: %s: %s", f.Level, f.Code, f.Origin, f.Message))
				}
			}
			if (name == mistaken) != (len(bad) > 0) {
				t.Errorf("Istio's analysers say %q", bad)
			}
		})
	}
}

func isSeparator(r rune) bool { return r == ' ' || r == '/' }

const mistaken = "a gateway that is not there"

func withSessions(s providers.Sessions) providers.Traffic {
	return providers.Traffic{Primary: 70, Canary: 30, Sessions: s}
}

// gateway creates an ingress gateway, its Service and its pod, and returns its full name.
func (e *environment) gateway(t *testing.T) string {
	t.Helper()
	namespace := e.namespace(t)
	labels := map[string]string{"istio": "ingress"}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "public", Labels: labels}
	e.create(t, &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "proxy", Image: "proxy"}}}})
	e.create(t, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Selector: labels, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(80)}},
	}})
	e.create(t, &istionetworking.Gateway{ObjectMeta: meta, Spec: istioapi.Gateway{
		Selector: labels,
		Servers:  []*istioapi.Server{{Hosts: []string{"*/*.example.com"}, Port: &istioapi.Port{Number: 80, Name: "http", Protocol: "HTTP"}}},
	}})
	return namespace + "/public"
}

// writeAll writes all that is written for a Canary, and returns its namespace.
func (e *environment) writeAll(t *testing.T, tc analysed) string {
	t.Helper()
	canary := e.canaryWith(t, tc.service, tc.analysis)
	namespace := canary.Namespace
	e.label(t, namespace, "istio-injection", "enabled") // else Deployments and Services are passed over
	target := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app, "version": "1"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{
					{Name: app, Image: "podinfo:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}},
					{Name: "istio-proxy", Image: "proxy"}, // as if injected
				}},
			},
		},
	}
	e.create(t, target)
	if tc.more != nil {
		tc.more(t, e, namespace)
	}
	e.createSpec(t, &istionetworking.VirtualService{}, namespace, tc.users)
	e.createSpec(t, &istionetworking.DestinationRule{}, namespace, tc.rule)
	applier := ssa.New(e.cached)
	options := workload.Options{SelectorLabels: []string{"app"}}
	revision, err := workload.Revision(target)
	if err != nil {
		t.Fatal(err)
	}
	primary, err := workload.Primary(canary, target, nil, revision, options)
	if err != nil {
		t.Fatal(err)
	}
	services, err := workload.BuildServices(canary, target, nil, options)
	if err != nil {
		t.Fatal(err)
	}
	objects := []client.Object{primary}
	for _, s := range services.All() {
		objects = append(objects, s)
	}
	for _, o := range objects {
		if err := applier.Apply(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, e.istio(e.cached), providers.Route{Canary: canary, Traffic: tc.traffic})
	return namespace
}

// canaryWith is canary with the analysis as edit has it.
func (e *environment) canaryWith(t *testing.T, service v1beta1.CanaryService, edit func(*v1beta1.CanaryAnalysis)) *v1beta1.Canary {
	t.Helper()
	canary := e.canary(t, service)
	if edit != nil {
		edit(canary.Spec.Analysis)
		if err := e.live.Update(t.Context(), canary); err != nil {
			t.Fatal(err)
		}
	}
	return canary
}

func (e *environment) label(t *testing.T, namespace, key, value string) {
	t.Helper()
	n := &corev1.Namespace{}
	e.read(t, "", namespace, n)
	n.Labels[key] = value
	if err := e.live.Update(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

// createSpec creates one of Istio's objects with the app's name, unless spec is empty,
// and waits for the cache to have it.
func (e *environment) createSpec(t *testing.T, o client.Object, namespace, spec string) {
	t.Helper()
	if spec == "" {
		return
	}
	whole := fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q},"spec":%s}`, namespace, app, spec)
	if err := json.Unmarshal([]byte(whole), o); err != nil {
		t.Fatal(err)
	}
	e.create(t, o)
	e.cachedAs(t, o)
}

// analyse runs Istio's analysers over the cluster.
func (e *environment) analyse(t *testing.T) []finding {
	t.Helper()
	binary, err := cluster.Binary("istio-analyze")
	if err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "-kubeconfig", e.Kubeconfig(), "-timeout", analysisLimit.String())
	cmd.Stdout, cmd.Stderr = &out, &log
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("%v\n%s", err, &log)
	}
	var findings []finding
	if err := json.Unmarshal(out.Bytes(), &findings); err != nil {
		t.Fatalf("%v\n%s\n%s", err, &out, &log)
	}
	return findings
}
