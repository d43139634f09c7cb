package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers/factory"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// TestChart is about what the chart installs. That the operator can work with
// it is shown by all tests: each of them has it under the chart's ServiceAccount,
// with the arguments of the chart's Deployment.
func TestChart(t *testing.T) {
	s := setUp(t)
	t.Run("is accepted by helm", func(t *testing.T) { chartIsAccepted(t, s) })
	t.Run("brings up a pod behind the Service", func(t *testing.T) { chartBringsUp(t, s) })
	t.Run("gives no more rights than needed", func(t *testing.T) { chartRights(t, s) })
	t.Run("it is known who acts on releases", func(t *testing.T) { chartKnowsWhoActs(t, s) })
	t.Run("the operator does not start beside Flagger", func(t *testing.T) { notBesideFlagger(t, s) })
	t.Run("a release under the chart's rights", func(t *testing.T) {
		a, h := begin(t, "chart", func(*v1beta1.Canary) {})
		a.release("6.0.1")
		a.awaitPhase(v1beta1.PhaseSucceeded)
		wantWeights(t, h, 0, 10, 20, 30, 40, 50, 0)
		a.wantPrimary("6.0.1")
	})
}

func chartIsAccepted(t *testing.T, s *suite) {
	chart, err := rig.Chart()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.Helm(t.Context(), "lint", "--strict", chart); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, tc := range []struct {
		set       string
		want, not []string
	}{
		{set: "logLevel=debug", want: []string{"-log-level=debug", "kind: ClusterRole", "replicas: 2", "-leader-election-namespace=" + releaseNamespace, "name: sluice-leases", "kind: PodDisruptionBudget", "- apply-crds\n", "- canaries.flagger.app\n"}},
		{set: "namespace=shop", want: []string{"-namespace=shop", "kind: Role\n"}, not: []string{"kind: ClusterRole", "apply-crds"}},
		{set: "namespace={shop,store}", want: []string{"-namespace=shop,store", "namespace: shop\n", "namespace: store\n", "values: [\"shop\",\"store\"]", "name: sluice-actions.b8758df8\n"}, not: []string{"kind: ClusterRole", "apply-crds", "clusterreleasepolicies"}},
		{set: "crd.upgrade=false", not: []string{"apply-crds", "apiextensions.k8s.io"}},
		{set: "crd.create=true", want: []string{"kind: CustomResourceDefinition"}, not: []string{"apply-crds"}},
		{set: "leaderElection.enabled=false", want: []string{"replicas: 1", "type: Recreate"}, not: []string{"enable-leader-election", "name: sluice-leases", "kind: PodDisruptionBudget"}},
		{set: "leaderElection.replicaCount=1", not: []string{"kind: PodDisruptionBudget"}},
		{set: "rbac.create=false", not: []string{"kind: ClusterRole", "kind: Role"}},
		{set: "coverage=report", want: []string{"-coverage=report", "[networkpolicies]\n    verbs: [list, watch]\n"}},
		{set: "coverage=copy", want: []string{"-coverage=copy", "[networkpolicies]\n    verbs: [list, watch, create, patch, delete]\n"}},
		{set: "coverage=none", want: []string{"-coverage=none"}, not: []string{"networkpolicies"}},
		{set: "istioRootNamespace=mesh", want: []string{"-istio-root-namespace=mesh"}},
		{set: "controlplane.kubeconfig.secretName=mesh", want: []string{"-kubeconfig-service-mesh=/etc/sluice/controlplane/kubeconfig", "secretName: mesh\n"}},
		{set: "logLevel=info", not: []string{"kubeconfig-service-mesh", "volumes:"}},
		{set: "configTracking.enabled=true", want: []string{"secrets"}, not: []string{"enable-config-tracking"}},
		{set: "configTracking.enabled=false", want: []string{"-enable-config-tracking=false", "[secrets]\n    verbs: [get, list, watch]\n"}, not: []string{"configmaps"}},
		{set: "metricsServerSecret=prom", want: []string{"-metrics-server-secret-dir=/etc/sluice/metrics-server", "secretName: prom", "mountPath: /etc/sluice/metrics-server"}},
		{set: "actions.verifyRequester=true", want: []string{"kind: ValidatingAdmissionPolicy\n", "kind: ClusterRole"}, not: []string{"kind: MutatingAdmissionPolicy", "aggregate-to-edit", "namespaceSelector"}},
		{set: "actions.verifyRequester=false,applyWarnings=false", not: []string{"AdmissionPolicy"}},
		{set: "actions.aggregateToEdit=true", want: []string{"aggregate-to-edit"}},
		{set: "namespace=store", want: []string{"kubernetes.io/metadata.name: store", "name: sluice-actions.store\n"}},
		{set: "providers={istio,kubernetes}", want: []string{`"-providers=istio,kubernetes"`, "virtualservices"}, not: []string{"traefikservices", "grpcroutes", "serviceprofiles", "ingresses"}},
		{set: "namespace=shop,providers={istio,kuma}", want: []string{`"-providers=istio,kuma"`, "kind: ClusterRole\nmetadata:\n  name: sluice.shop-kuma\n", "kind: ClusterRoleBinding", "trafficroutes"}},
		{set: "namespace=shop,meshProvider=kuma", want: []string{"name: sluice.shop-kuma\n"}, not: []string{"-providers="}},
		{set: "namespace=shop,logLevel=info", want: []string{"\"-providers=" + withoutKuma() + "\""}, not: []string{"trafficroutes", "kuma"}},
		{set: "namespace=shop,providers={istio}", not: []string{"trafficroutes", "kind: ClusterRole"}},
		{set: "metricProviders.keptn=false,metricProviders.externalMetrics=false", not: []string{"keptn", "external.metrics"}},
		{set: "configTracking.enabled=false,secretNamespaces={shop,mesh}", want: []string{`"-secret-namespaces=shop,mesh"`, "name: sluice-secrets\n  namespace: mesh\n"}},
		{set: "networkPolicy.enabled=true", want: []string{"kind: NetworkPolicy\n", "policyTypes: [Ingress]"}},
		{set: "networkPolicy.enabled=true,networkPolicy.to[0].podSelector.matchLabels.app=x", want: []string{"policyTypes: [Ingress, Egress]", "port: 6443"}},
		{set: "telemetry.tlsSecret=tls,telemetry.tokenSecret=token,serviceMonitor.enabled=true", want: []string{"-telemetry-tls-dir=/etc/sluice/telemetry-tls", "-telemetry-token-file=/etc/sluice/telemetry-token/token", "scheme: HTTPS", "scheme: https", "credentials:\n          name: token"}},
		{set: "tracing.endpoint=http://collector:4318", want: []string{`"-otlp-endpoint=http://collector:4318"`}},
		{set: "dashboard.enabled=false", not: []string{"otlp"}},
		{set: "dashboard.enabled=false", not: []string{"dashboard", "impersonate"}},
		{set: "dashboard.enabled=true,networkPolicy.enabled=true,dashboard.tlsSecret=tls,dashboard.links.Logs=https://l", want: []string{"-dashboard-address=:8090", "name: sluice-dashboard\n", "- port: dashboard\n", "-dashboard-tls-dir=/etc/sluice/dashboard-tls", "secretName: tls\n", "appProtocol: https", `"-dashboard-link=Logs=https://l"`}, not: []string{"impersonate", "dashboard-anonymous", "[events, pods]"}},
		{set: "slack.approvals.enabled=false", not: []string{"slack-approvals", "impersonate", "slack-users"}},
		{set: "networkPolicy.enabled=true,slack.approvals.enabled=true,slack.approvals.signingSecret=app,slack.approvals.team=T1,slack.approvals.users.U1.user=alice,slack.approvals.users.U1.groups={on-call}", want: []string{"-slack-approvals-address=:8091", "name: sluice-slack\n", "- port: slack\n", "name: app\n                  key: signing-secret", "-slack-approvals-users=/etc/sluice/slack-users/users.yaml", "[users]\n    verbs: [impersonate]\n    resourceNames:\n      - alice\n", "[groups]\n    verbs: [impersonate]\n    resourceNames:\n      - on-call\n", "team: T1\n"}},
		{set: "extraArgs={-zap-encoding=console}", want: []string{`- "-zap-encoding=console"` + "\n          "}},
		{set: "watchLabelSelector=sluice.dev/shard=a", want: []string{`"-watch-label-selector=sluice.dev/shard=a"`, "resourceNames: [sluice-leader-election-857ec9d5]"}},
		{set: "dashboard.enabled=true,dashboard.anonymous=true", want: []string{"-dashboard-anonymous", "[events, pods]\n    verbs: [list]\n"}},
		{set: "dashboard.enabled=true,dashboard.proxy.addresses={10.0.0.0/8},dashboard.proxy.users={alice},dashboard.proxy.groups={*}", want: []string{`"-dashboard-proxies=10.0.0.0/8"`, "[users]\n    verbs: [impersonate]\n    resourceNames:\n      - alice\n", "[groups]\n    verbs: [impersonate]\n"}},
		{set: "podMonitor.enabled=true", want: []string{"kind: PodMonitor"}},
	} {
		out, err := s.Helm(t.Context(), "template", releaseName, chart, "--namespace", releaseNamespace, "--set", tc.set)
		if err != nil {
			t.Error(err)
			continue
		}
		wantAccepted(t, s, out)
		for _, want := range tc.want {
			if !strings.Contains(out, want) {
				t.Errorf("with %s there is no %q in\n%s", tc.set, want, out)
			}
		}
		for _, not := range tc.not {
			if strings.Contains(out, not) {
				t.Errorf("with %s there is %q in\n%s", tc.set, not, out)
			}
		}
	}
	if out, err := s.Helm(t.Context(), "template", releaseName, chart, "--set", "meshProvidr=istio"); err == nil {
		t.Errorf("a value that does not exist was accepted:\n%s", out)
	}
}

// withoutKuma are the providers of Canaries in one namespace, joined by commas.
func withoutKuma() string {
	all := factory.Names()
	return strings.Join(slices.DeleteFunc(all, func(name string) bool { return name == v1beta1.ProviderKuma }), ",")
}

// chartBringsUp looks at the Deployment's pod. The node has no container
// runtime, so it stands for an image like this one with nothing.
func chartBringsUp(t *testing.T, s *suite) {
	err := rig.Await(t.Context(), "the chart's pod", limit, func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: releaseNamespace, Name: releaseName}, &d); err != nil {
			return err
		}
		var slices discoveryv1.EndpointSliceList
		if err := s.API.List(ctx, &slices, client.InNamespace(releaseNamespace), client.MatchingLabels{discoveryv1.LabelServiceName: releaseName}); err != nil {
			return err
		}
		if d.Status.AvailableReplicas != 1 || len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != 1 {
			return fmt.Errorf("%d pods are available, the Service leads to %+v", d.Status.AvailableReplicas, slices.Items)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(s.Dir(), "logs", "pods", releaseNamespace+"_*"))
	if err != nil || len(logs) > 0 {
		t.Errorf("want the pod to be nothing, but it has a log: %v %v", logs, err)
	}
}

func chartRights(t *testing.T, s *suite) {
	var d appsv1.Deployment
	if err := s.API.Get(t.Context(), client.ObjectKey{Namespace: releaseNamespace, Name: releaseName}, &d); err != nil {
		t.Fatal(err)
	}
	config, err := s.ConfigFor(t.Context(), releaseNamespace, d.Spec.Template.Spec.ServiceAccountName)
	if err != nil {
		t.Fatal(err)
	}
	account, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	type right = authorizationv1.ResourceAttributes
	const istio = "networking.istio.io"
	for _, tc := range []struct {
		right
		verbs string
		want  bool
	}{
		{right{Group: "flagger.app", Resource: "canaries"}, "list watch patch", true},
		{right{Group: "flagger.app", Resource: "canaries", Subresource: "status"}, "update", true},
		{right{Group: "flagger.app", Resource: "canaries", Subresource: "finalizers"}, "update", false},
		{right{Group: "sluice.dev", Resource: "canaryactions"}, "get list watch patch delete", true},
		{right{Group: "sluice.dev", Resource: "canaryactions", Subresource: "status"}, "patch", true},
		{right{Group: "sluice.dev", Resource: "canaryactions"}, "create update deletecollection", false},
		{right{Group: "apps", Resource: "deployments"}, "list watch create patch delete", true},
		{right{Group: "apps", Resource: "statefulsets"}, "list watch create patch delete", true},
		{right{Group: "apps", Resource: "daemonsets"}, "list watch create patch delete", true},
		{right{Group: "apps", Resource: "replicasets"}, "list", true},
		{right{Group: "apps", Resource: "replicasets"}, "get watch create update patch delete", false},
		{right{Group: "apps", Resource: "controllerrevisions"}, "list", true},
		{right{Group: "apps", Resource: "controllerrevisions"}, "get watch create update patch delete", false},
		{right{Resource: "services"}, "list watch create patch delete", true},
		{right{Group: istio, Resource: "virtualservices"}, "list watch create patch delete", true},
		{right{Group: istio, Resource: "destinationrules"}, "list watch create patch delete", true},
		{right{Group: "gateway.networking.k8s.io", Resource: "httproutes"}, "list watch create patch delete", true},
		{right{Group: "gateway.networking.k8s.io", Resource: "grpcroutes"}, "list watch create patch delete", true},
		{right{Group: "gateway.networking.k8s.io", Resource: "gateways"}, "get", true},
		{right{Group: "gateway.networking.k8s.io", Resource: "gatewayclasses"}, "get", true},
		{right{Group: "gateway.networking.k8s.io", Resource: "gateways"}, "list watch create patch delete", false},
		{right{Group: "networking.k8s.io", Resource: "ingresses"}, "list watch create patch delete", true},
		{right{Group: "traefik.io", Resource: "traefikservices"}, "list watch create patch delete", true},
		{right{Group: "apisix.apache.org", Resource: "apisixroutes"}, "list watch create patch delete", true},
		{right{Group: "serving.knative.dev", Resource: "services"}, "list watch patch", true},
		{right{Group: "serving.knative.dev", Resource: "services"}, "create delete", false},
		{right{Group: "kuma.io", Resource: "trafficroutes"}, "list watch create patch delete", true},
		{right{Group: "projectcontour.io", Resource: "httpproxies"}, "list watch create patch delete", true},
		{right{Group: "policy.linkerd.io", Resource: "httproutes"}, "list watch create patch delete", true},
		{right{Group: "linkerd.io", Resource: "serviceprofiles"}, "list watch create patch delete", true},
		{right{Group: "autoscaling", Resource: "horizontalpodautoscalers"}, "list watch create patch delete", true},
		{right{Group: "keda.sh", Resource: "scaledobjects"}, "list watch create patch delete", true},
		{right{Resource: "events"}, "create patch", true},
		{right{Group: "events.k8s.io", Resource: "events"}, "create patch", false},
		{right{Group: istio, Resource: "virtualservices"}, "get", true},
		{right{Group: istio, Resource: "destinationrules"}, "get", false},
		{right{Group: "flagger.app", Resource: "canaries"}, "get update", false},
		{right{Group: "flagger.app", Resource: "canaries", Subresource: "status"}, "patch", false},
		{right{Group: "flagger.app", Resource: "metrictemplates"}, "list watch", true},
		{right{Group: "flagger.app", Resource: "metrictemplates", Subresource: "status"}, "update", true},
		{right{Group: "policy", Resource: "poddisruptionbudgets"}, "list watch", true},
		{right{Group: "security.istio.io", Resource: "authorizationpolicies"}, "list watch", true},

		{right{Group: "policy", Resource: "poddisruptionbudgets"}, "create update patch delete", false},
		{right{Group: "security.istio.io", Resource: "authorizationpolicies"}, "create update patch delete", false},
		{right{Group: "flagger.app", Resource: "canaries"}, "create delete deletecollection", false},
		{right{Group: "flagger.app", Resource: "metrictemplates"}, "create update patch delete", false},
		{right{Group: "flagger.app", Resource: "alertproviders"}, "create update patch delete", false},
		{right{Resource: "secrets"}, "get list watch create patch delete", true},
		{right{Resource: "configmaps"}, "get list watch create patch delete", true},
		{right{Resource: "secrets"}, "update deletecollection", false},
		{right{Resource: "configmaps"}, "update deletecollection", false},
		{right{Resource: "pods"}, "get list create update patch delete", false},
		{right{Resource: "pods", Subresource: "exec"}, "create get", false},
		{right{Resource: "pods", Subresource: "log"}, "get", false},
		{right{Resource: "nodes"}, "get list patch", false},
		{right{Resource: "namespaces"}, "list watch", true}, // by their labels cluster-wide release policies choose Canaries
		{right{Resource: "namespaces"}, "create delete patch update", false},
		{right{Resource: "services"}, "deletecollection", false},
		{right{Resource: "services", Subresource: "proxy"}, "get create", false},
		{right{Resource: "events"}, "get list delete", false},
		{right{Resource: "serviceaccounts"}, "get list create impersonate", false},
		{right{Resource: "serviceaccounts", Subresource: "token"}, "create", false},
		{right{Resource: "users"}, "impersonate", false},
		{right{Group: "apps", Resource: "deployments"}, "update deletecollection", false},
		{right{Group: "apps", Resource: "statefulsets"}, "update deletecollection", false},
		{right{Group: "apps", Resource: "daemonsets"}, "update deletecollection", false},
		{right{Group: "gateway.networking.k8s.io", Resource: "httproutes"}, "list watch create patch delete", true},
		{right{Group: "gateway.networking.k8s.io", Resource: "grpcroutes"}, "list watch create patch delete", true},
		{right{Group: "policy.linkerd.io", Resource: "httproutes"}, "list watch create patch delete", true},
		{right{Group: "linkerd.io", Resource: "serviceprofiles"}, "list watch create patch delete", true},
		{right{Group: "autoscaling", Resource: "horizontalpodautoscalers"}, "deletecollection", false},
		{right{Group: "keda.sh", Resource: "triggerauthentications"}, "get list create patch delete", false},
		{right{Group: istio, Resource: "gateways"}, "get list create patch delete", false},
		{right{Group: istio, Resource: "envoyfilters"}, "create patch delete", false},
		{right{Group: "coordination.k8s.io", Resource: "leases"}, "list get create update delete", false},
		{right{Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}, "get list create update patch delete bind escalate", false},
		{right{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}, "get list create update patch delete", false},
		{right{Group: "rbac.authorization.k8s.io", Resource: "roles"}, "get list create update patch delete bind escalate", false},
		{right{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}, "get list create update patch delete", false},
		{right{Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations"}, "get list create patch delete", false},
		{right{Group: "*", Resource: "*"}, "*", false},
	} {
		for verb := range strings.FieldsSeq(tc.verbs) {
			attributes := tc.right
			attributes.Verb, attributes.Namespace = verb, "default"
			review, err := account.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if review.Status.Allowed != tc.want {
				t.Errorf("%s %s.%s/%s: allowed is %t, want %t (%s)", verb, tc.Resource, tc.Group, tc.Subresource,
					review.Status.Allowed, tc.want, review.Status.Reason)
			}
		}
	}
}

// chartKnowsWhoActs finds the policies that helm chose for this API server.
func chartKnowsWhoActs(t *testing.T, s *suite) {
	a := &v1alpha1.CanaryAction{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"},
		Spec:       v1alpha1.CanaryActionSpec{Canary: "x", Action: v1beta1.ActionPause},
	}
	// The API server's admission learns of a new kind up to half a minute after the rest of it.
	if err := rig.Await(t.Context(), "an action without a name", limit, func(ctx context.Context) error {
		return s.API.Create(ctx, a.DeepCopy(), client.DryRunAll, client.FieldValidation("Strict"))
	}); err != nil {
		t.Error(err)
	}
	a.Spec.RequestedBy = "mallory"
	const want = "spec.requestedBy must be who creates the action: admin"
	if err := s.API.Create(t.Context(), a, client.DryRunAll); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("with another name: got error %v, want %q", err, want)
	}
}

// notBesideFlagger has a Flagger at work in some other namespace.
func notBesideFlagger(t *testing.T, s *suite) {
	ctx := t.Context()
	if err := s.API.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "flagger-system"}}); err != nil {
		t.Fatal(err)
	}
	now := metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "flagger-system", Name: "flagger-leader-election"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("flagger-7d9c_1f0e"), RenewTime: &now, LeaseDurationSeconds: new(int32(3600)),
		},
	}
	if err := s.API.Create(ctx, lease); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.API.Delete(context.WithoutCancel(ctx), lease); err != nil {
			t.Error(err)
		}
	}()
	binary, err := cluster.Binary("sluice")
	if err != nil {
		t.Fatal(err)
	}
	argv := append([]string{binary, "-kubeconfig", s.kubeconfig}, s.args...)
	second, err := s.StartProgram("sluice-beside-flagger", nil, append(argv, "-port=0")...)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop(time.Second)
	if err := rig.Await(ctx, "its end", limit, func(context.Context) error {
		if second.Err() == nil {
			return errors.New("it is running")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(second.Log())
	if err != nil {
		t.Fatal(err)
	}
	const want = "Flagger is running: flagger-7d9c_1f0e holds lease flagger-system/flagger-leader-election; scale it to zero first"
	if !strings.Contains(string(log), want) {
		t.Errorf("it did not say %q but\n%s", want, log)
	}
}
