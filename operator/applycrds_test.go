package main

import (
	"bytes"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/test/cluster"
)

// testAppliedCRDs has the chart's Job, with its rights, bring a CRD up to date that Helm has left alone, as it is there, and
// leave a newer one as it is.
func testAppliedCRDs(t *testing.T, c *cluster.Cluster, admin client.WithWatch) {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(c.Config(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	crd := func() *apiextensionsv1.CustomResourceDefinition {
		t.Helper()
		got := &apiextensionsv1.CustomResourceDefinition{}
		if err := api.Get(t.Context(), client.ObjectKey{Name: "alertproviders.flagger.app"}, got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	account, err := kubeConfig(kubeconfigOf(t, c, admin, metav1.NamespaceDefault, "crds", rulesNamed(t, func(name string) bool { return name == "sluice-crds" })), options{})
	if err != nil {
		t.Fatal(err)
	}
	job, err := client.New(account, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	shown := len(crd().Spec.Versions[0].AdditionalPrinterColumns)
	for _, tc := range []struct {
		its, says string
		columns   int
	}{
		{its: "", says: "alertproviders.flagger.app is applied", columns: shown},
		{its: "1.2.2", says: "alertproviders.flagger.app is applied", columns: shown},
		{its: "1.3.0", says: "alertproviders.flagger.app stays, as it is of version 1.3.0 and this is 1.2.3", columns: 1},
		{its: "dev", says: "alertproviders.flagger.app is applied", columns: shown},
	} {
		there := crd()
		before := there.DeepCopy()
		there.Spec.Versions[0].AdditionalPrinterColumns = there.Spec.Versions[0].AdditionalPrinterColumns[:1]
		there.Annotations[crdVersion] = tc.its
		if err := api.Patch(t.Context(), there, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := applyAll(t.Context(), job, "1.2.3", &out); err != nil {
			t.Fatal(err)
		}
		if got := len(crd().Spec.Versions[0].AdditionalPrinterColumns); got != tc.columns || !strings.Contains(out.String(), tc.says+"\n") {
			t.Errorf("beside version %q there are %d columns, want %d, and it says\n%s", tc.its, got, tc.columns, out.String())
		}
	}
}
