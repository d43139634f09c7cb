package v1alpha1_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// testPolicies has the API server refuse what can be seen to be wrong, and say what is allowed.
func testPolicies(t *testing.T, c client.Client) {
	for name, tc := range map[string]struct{ spec, wantErr string }{
		"nothing":                             {"{}", ""},
		"complete":                            {`{selector: {matchLabels: {tier: gold}, matchExpressions: [{key: a, operator: In, values: [b]}]}, maxReleases: 3, timeZone: Europe/Berlin, windows: [{days: [Mon, Fri], from: "09:00", to: "17:30"}, {from: "22:00", to: "24:00"}], freeze: {reason: Christmas, author: alice, from: "2026-12-20T00:00:00Z", until: "2026-12-27T00:00:00+01:00"}}`, ""},
		"many windows":                        {`{windows: [` + strings.Repeat(`{days: [Mon, Tue, Wed, Thu, Fri, Sat, Sun], from: "09:00", to: "17:30"},`, 21) + `]}`, ""},
		"a maximum of none":                   {"{maxReleases: 0}", "spec.maxReleases: Invalid value: 0"},
		"no such zone":                        {"{timeZone: Europe/Atlantis}", "there is no such time zone in the IANA database"},
		"the machine's zone":                  {"{timeZone: Local}", "there is no such time zone in the IANA database"},
		"UTC":                                 {"{timeZone: UTC}", ""},
		"a zone with a path":                  {"{timeZone: ../../etc/passwd}", "spec.timeZone"},
		"no such day":                         {`{windows: [{days: [Monday], from: "09:00", to: "17:00"}]}`, `supported values: "Mon"`},
		"a day twice":                         {`{windows: [{days: [Mon, Mon], from: "09:00", to: "17:00"}]}`, "Duplicate value"},
		"no such time":                        {`{windows: [{from: "9:00", to: "17:00"}]}`, "spec.windows[0].from"},
		"a time of no day":                    {`{windows: [{from: "24:00", to: "17:00"}]}`, "spec.windows[0].from"},
		"no end":                              {`{windows: [{from: "09:00"}]}`, "spec.windows[0].to: Required value"},
		"from and to are the same":            {`{windows: [{from: "09:00", to: "09:00"}]}`, "from and to are the same time"},
		"a freeze without author":             {"{freeze: {reason: r}}", "spec.freeze.author: Required value"},
		"a freeze without reason":             {`{freeze: {author: a, reason: ""}}`, "spec.freeze.reason"},
		"a freeze that ends before it begins": {`{freeze: {author: a, reason: r, from: "2026-12-27T00:00:00Z", until: "2026-12-26T00:00:00Z"}}`, "until must be after from"},
		"a freeze by another clock":           {`{freeze: {author: a, reason: r, from: "2026-12-27T00:00:00+01:00", until: "2026-12-26T23:30:00Z"}}`, ""},
		"no such operator":                    {"{selector: {matchExpressions: [{key: a, operator: Like, values: [b]}]}}", "an operator of matchExpressions is one of In, NotIn, Exists and DoesNotExist"},
		"no such field":                       {"{maxRelease: 1}", `unknown field "spec.maxRelease"`},
		"namespaces of one":                   {"{namespaces: {}}", `unknown field "spec.namespaces"`},
	} {
		t.Run(name, func(t *testing.T) {
			tryPolicy(t, c, "ReleasePolicy", tc.spec, tc.wantErr)
			if !strings.Contains(tc.spec, "namespaces") {
				tryPolicy(t, c, "ClusterReleasePolicy", tc.spec, tc.wantErr)
			}
		})
	}
	tryPolicy(t, c, "ClusterReleasePolicy", "{namespaces: {matchLabels: {env: production}}, maxReleases: 10}", "")
	tryPolicy(t, c, "ClusterReleasePolicy", "{namespaces: {matchExpressions: [{key: a, operator: Like}]}}", "an operator of matchExpressions is one of")
}

func tryPolicy(t *testing.T, c client.Client, kind, spec, wantErr string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("{apiVersion: sluice.dev/v1alpha1, kind: "+kind+", metadata: {name: p}, spec: "+spec+"}"), &u.Object); err != nil {
		t.Fatal(err)
	}
	if kind == "ReleasePolicy" {
		u.SetNamespace("default")
	}
	err := c.Create(timeout(t), u, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))
	if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
		t.Errorf("%s: got error %v, want %q", kind, err, wantErr)
	}
}
