package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/test/cluster"
)

const (
	// demoNamespace is where everything is that the demo makes in a cluster, but for kinds.
	demoNamespace = "sluice-demo"
	// managedBy marks what the demo has made, so that nothing of others is ever removed.
	managedBy, managedByDemo = "app.kubernetes.io/managed-by", "sluice-demo"
)

// findings are what a cluster has, as far as it matters to the demo.
type findings struct {
	version string
	// provider divides the requests: istio, or kubernetes where nothing can.
	provider string
	// injection is the label by which pods of a namespace get Istio's sidecar.
	injection labels.Set
	// noMesh says why the provider is not istio.
	noMesh string
	// missing are the kinds of Sluice's that the cluster lacks.
	missing []*apiextensionsv1.CustomResourceDefinition
	// obstacles are what keeps the demo from running there.
	obstacles []string
}

// look reads what a cluster has. It changes nothing.
func (t *target) look(ctx context.Context) (*findings, error) {
	version, err := t.clients.Discovery().ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("the cluster of context %s, %s: %w", t.context, t.server, err)
	}
	f := &findings{version: version.GitVersion}
	if err := f.findMesh(ctx, t.clients); err != nil {
		return nil, err
	}
	crds, err := ownCRDs()
	if err != nil {
		return nil, err
	}
	for _, crd := range crds {
		err := t.api.Get(ctx, client.ObjectKeyFromObject(crd), &apiextensionsv1.CustomResourceDefinition{})
		switch {
		case apierrors.IsNotFound(err):
			f.missing = append(f.missing, crd)
		case err != nil:
			return nil, fmt.Errorf("look for the kinds of Sluice: %w", err)
		}
	}
	for _, find := range []func(context.Context, kubernetes.Interface) error{f.findNamespace, f.findOperators, f.findRights} {
		if err := find(ctx, t.clients); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// ownCRDs are the kinds of Sluice, as the chart has them.
func ownCRDs() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	root, err := cluster.Root()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(root, "charts", "sluice", "crds", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []*apiextensionsv1.CustomResourceDefinition
	for _, file := range files {
		content, err := os.ReadFile(file) //nolint:gosec // of the repository
		if err != nil {
			return nil, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(content, crd); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, crd)
	}
	return out, nil
}

// findMesh looks for Istio, and for what gives pods its sidecar.
func (f *findings) findMesh(ctx context.Context, clients kubernetes.Interface) error {
	f.provider = "kubernetes"
	groups, err := clients.Discovery().ServerGroups()
	if err != nil {
		return fmt.Errorf("look for a mesh: %w", err)
	}
	if !slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == "networking.istio.io" }) {
		f.noMesh = "Istio is not there"
		return nil
	}
	webhooks, err := clients.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	switch {
	case apierrors.IsForbidden(err):
		f.noMesh = "you may not see whether Istio gives pods its sidecar"
		return nil
	case err != nil:
		return fmt.Errorf("look for Istio's injection: %w", err)
	}
	if f.injection = injectionLabel(webhooks.Items); f.injection == nil {
		f.noMesh = "Istio gives pods no sidecar by a label of their namespace"
		return nil
	}
	f.provider = "istio"
	return nil
}

// injectionLabel is the label of a namespace by which one of Istio's webhooks gives pods a sidecar; nil where none does.
func injectionLabel(webhooks []admissionv1.MutatingWebhookConfiguration) labels.Set {
	for i := range webhooks {
		if webhooks[i].Labels["app"] != "sidecar-injector" {
			continue
		}
		for _, label := range []labels.Set{{"istio-injection": "enabled"}, {"istio.io/rev": webhooks[i].Labels["istio.io/rev"]}} {
			for _, w := range webhooks[i].Webhooks {
				if selects(w.NamespaceSelector, label) && selects(w.ObjectSelector, nil) {
					return label
				}
			}
		}
	}
	return nil
}

func selects(selector *metav1.LabelSelector, set labels.Set) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return selector == nil || err == nil && s.Matches(set)
}

// findNamespace objects where the demo's namespace is taken.
func (f *findings) findNamespace(ctx context.Context, clients kubernetes.Interface) error {
	n, err := clients.CoreV1().Namespaces().Get(ctx, demoNamespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("look for namespace %s: %w", demoNamespace, err)
	case n.Labels[managedBy] == managedByDemo:
		f.obstacles = append(f.obstacles, fmt.Sprintf("namespace %s is there: a demo runs, or one was killed. What that left is removed by CLEAN=1 CLUSTER=current make demo", demoNamespace))
	default:
		f.obstacles = append(f.obstacles, fmt.Sprintf("there is a namespace %s that is none of the demo's", demoNamespace))
	}
	return nil
}

// operatorApps are those that serve Canaries, by the label app.kubernetes.io/name of their charts.
const operatorApps = "app.kubernetes.io/name in (sluice,flagger)"

// findOperators objects where somebody serves Canaries already: two on one undo each other's work.
func (f *findings) findOperators(ctx context.Context, clients kubernetes.Interface) error {
	deployments, err := clients.AppsV1().Deployments("").List(ctx, metav1.ListOptions{LabelSelector: operatorApps})
	if err != nil && !apierrors.IsForbidden(err) {
		return fmt.Errorf("look for operators: %w", err)
	}
	for i := range deployments.Items {
		if d := &deployments.Items[i]; d.Spec.Replicas == nil || *d.Spec.Replicas > 0 {
			f.serves(fmt.Sprintf("Deployment %s/%s", d.Namespace, d.Name))
		}
	}
	leases, err := clients.CoordinationV1().Leases("").List(ctx, metav1.ListOptions{})
	if err != nil && !apierrors.IsForbidden(err) {
		return fmt.Errorf("look for operators: %w", err)
	}
	for i := range leases.Items {
		l := &leases.Items[i]
		ours := strings.HasPrefix(l.Name, "sluice-leader-election") || l.Name == "flagger-leader-election"
		if ours && l.Spec.RenewTime != nil && time.Since(l.Spec.RenewTime.Time) < time.Minute {
			f.serves(fmt.Sprintf("the holder of lease %s/%s", l.Namespace, l.Name))
		}
	}
	return nil
}

func (f *findings) serves(who string) {
	f.obstacles = append(f.obstacles, who+" serves Canaries there, and would serve the demo's too. Try the tutorials with it: docs/tutorials")
}

// findRights objects to rights that the demo needs and the user has not.
func (f *findings) findRights(ctx context.Context, clients kubernetes.Interface) error {
	for _, right := range f.needed() {
		review, err := clients.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right},
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("look for your rights: %w", err)
		}
		if review.Status.Allowed {
			continue
		}
		what := right.Resource
		if right.Subresource != "" {
			what += "/" + right.Subresource
		}
		if right.Group != "" {
			what += " of " + right.Group
		}
		f.obstacles = append(f.obstacles, fmt.Sprintf("you may not %s %s", right.Verb, what))
	}
	return nil
}

// needed are the rights that the demo can't do without; an operator with the user's rights needs some that go unnamed.
func (f *findings) needed() []authorizationv1.ResourceAttributes {
	in := func(verb, group, resource, subresource string) authorizationv1.ResourceAttributes {
		return authorizationv1.ResourceAttributes{Namespace: demoNamespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource}
	}
	out := []authorizationv1.ResourceAttributes{
		{Verb: "create", Resource: "namespaces"}, {Verb: "delete", Resource: "namespaces"},
		in("create", "apps", "deployments", ""), in("create", "", "services", ""), in("create", "flagger.app", "canaries", ""),
		in("get", "", "pods", "log"), in("get", "", "pods", "proxy"), // where its requests are counted
		{Verb: "list", Group: "sluice.dev", Resource: "clusterreleasepolicies"},
	}
	if f.provider == "istio" {
		out = append(out, in("create", "networking.istio.io", "virtualservices", ""))
	}
	if len(f.missing) > 0 {
		const group, resource = "apiextensions.k8s.io", "customresourcedefinitions"
		out = append(out, authorizationv1.ResourceAttributes{Verb: "create", Group: group, Resource: resource}, authorizationv1.ResourceAttributes{Verb: "delete", Group: group, Resource: resource})
	}
	return out
}
