package sources

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/operator/secrets"
)

// made is a provider that knows what it was made from.
type made struct{ metrics.Config }

func (made) Query(context.Context, metrics.Query) (metrics.Sample, error) {
	return metrics.Sample{}, nil
}

func newSources(t *testing.T, objects ...client.Object) (*Sources, client.WithWatch) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	return &Sources{
		Reader:  api,
		Secrets: secrets.New(api, api, true),
		New: func(c metrics.Config) (metrics.Provider, error) {
			switch {
			case c.Address == "nonsense":
				return nil, &metrics.ConfigError{Field: "address", Message: "not a URL"}
			case c.Secret["token"] == nil && c.Secret["username"] != nil && c.Secret["password"] == nil:
				return nil, &metrics.ConfigError{Field: "secret.password", Message: "a username needs a password"}
			}
			return &made{c}, nil
		},
		Operator: Operator{
			Address: "https://own", InsecureSkipVerify: true,
			Secret: func() (map[string][]byte, error) { return map[string][]byte{"token": []byte("operator's")}, nil },
		},
	}, api
}

func newSecret(namespace, name string, data ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{}}
	for i := 0; i < len(data); i += 2 {
		s.Data[data[i]] = []byte(data[i+1])
	}
	return s
}

func newCanary(change ...func(*v1beta1.CanarySpec)) *v1beta1.Canary {
	c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}
	c.Spec.TargetRef = v1beta1.TargetReference{Kind: "Deployment", Name: "cart-app"}
	c.Spec.Service.Name = "cart-svc"
	for _, f := range change {
		f(&c.Spec)
	}
	return c
}

// Pain 15: who gets which credentials. Invariant: the operator's go to the
// operator's own server only.
func TestServer(t *testing.T) {
	ref := func(name string) *corev1.LocalObjectReference { return &corev1.LocalObjectReference{Name: name} }
	for name, tc := range map[string]struct {
		change       func(*v1beta1.CanarySpec)
		wantAddress  string
		wantSecret   string // KEY=VALUE
		wantInsecure bool
		wantProblem  string // reason, and a part of the message
	}{
		"the operator's":            {func(*v1beta1.CanarySpec) {}, "https://own", "token=operator's", true, ""},
		"the operator's, by name":   {func(s *v1beta1.CanarySpec) { s.MetricsServer = "https://own" }, "https://own", "token=operator's", true, ""},
		"the Canary's":              {func(s *v1beta1.CanarySpec) { s.MetricsServer = "https://theirs" }, "https://theirs", "", false, ""},
		"a look-alike":              {func(s *v1beta1.CanarySpec) { s.MetricsServer = "https://own.evil" }, "https://own.evil", "", false, ""},
		"the Canary's, any cert":    {func(s *v1beta1.CanarySpec) { s.MetricsServer, s.InsecureSkipVerify = "https://theirs", true }, "https://theirs", "", true, ""},
		"with its own credentials":  {func(s *v1beta1.CanarySpec) { s.MetricsServer, s.MetricsServerSecretRef = "https://theirs", ref("prom") }, "https://theirs", "username=u password=p", false, ""},
		"own credentials, our host": {func(s *v1beta1.CanarySpec) { s.MetricsServerSecretRef = ref("prom") }, "https://own", "username=u password=p", true, ""},
		"no such Secret": {
			func(s *v1beta1.CanarySpec) { s.MetricsServerSecretRef = ref("elsewhere") }, "", "", false,
			"SecretMissing: spec.metricsServerSecretRef: there is no Secret elsewhere in the namespace shop",
		},
		"a broken Secret": {
			func(s *v1beta1.CanarySpec) { s.MetricsServerSecretRef = ref("broken") }, "", "", false,
			"ProviderInvalid: spec.metricsServer: secret.password: a username needs a password",
		},
		"no URL": {func(s *v1beta1.CanarySpec) { s.MetricsServer = "nonsense" }, "", "", false, "ProviderInvalid: spec.metricsServer: address: not a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newSources(t, newSecret("shop", "prom", "username", "u", "password", "p"), newSecret("shop", "broken", "username", "u"),
				newSecret("other", "elsewhere", "token", "t"))
			provider, err := s.Server(t.Context(), newCanary(tc.change))
			if tc.wantProblem != "" {
				checkProblem(t, err, tc.wantProblem)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := provider.(*made)
			if got.Address != tc.wantAddress || got.InsecureSkipVerify != tc.wantInsecure || got.Type != "prometheus" {
				t.Errorf("made from %+v", got.Config)
			}
			if d := cmp.Diff(strings.Fields(tc.wantSecret), pairs(got.Secret), cmp.Transformer("sort", sorted)); d != "" {
				t.Error(d)
			}
		})
	}
}

func sorted(s []string) map[string]bool {
	out := map[string]bool{}
	for _, v := range s {
		out[v] = true
	}
	return out
}

func pairs(secret map[string][]byte) []string {
	out := []string{}
	for _, k := range slices.Sorted(maps.Keys(secret)) {
		out = append(out, k+"="+string(secret[k]))
	}
	return out
}

func checkProblem(t *testing.T, err error, want string) {
	t.Helper()
	problem := AsProblem(err)
	if problem == nil {
		t.Fatalf("error %v, want a Problem", err)
	}
	if got := problem.Reason + ": " + problem.Message; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func newTemplate(namespace, name, query string, change ...func(*v1beta1.MetricTemplateProvider)) *v1beta1.MetricTemplate {
	t := &v1beta1.MetricTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	t.Spec = v1beta1.MetricTemplateSpec{Query: query, Provider: v1beta1.MetricTemplateProvider{Type: "datadog", Address: "https://dog"}}
	for _, f := range change {
		f(&t.Spec.Provider)
	}
	return t
}

func withSecret(name string) func(*v1beta1.MetricTemplateProvider) {
	return func(p *v1beta1.MetricTemplateProvider) { p.SecretRef = &corev1.LocalObjectReference{Name: name} }
}

func raw(t *v1beta1.MetricTemplate, value string) *v1beta1.MetricTemplate {
	t.Annotations = map[string]string{VariablesAnnotation: value}
	return t
}

func TestTemplate(t *testing.T) {
	const all = "{{ name }} {{ namespace }} {{ target }} {{ service }} {{ ingress }} {{ route }} {{ interval }} {{ variables.v }}"
	ref := func(namespace, name string) *v1beta1.CrossNamespaceObjectReference {
		return &v1beta1.CrossNamespaceObjectReference{Namespace: namespace, Name: name}
	}
	objects := []client.Object{
		newTemplate("shop", "here", all),
		newTemplate("shared", "there", "{{ namespace }}", withSecret("dog")),
		newTemplate("shop", "quoted", `x{a="{{ variables.v }}"}`, func(p *v1beta1.MetricTemplateProvider) { p.Type = typePrometheus }),
		newTemplate("shop", "bare", "{{ variables.v }}"),
		newTemplate("shared", "bare", "{{ variables.v }}"),
		raw(newTemplate("shared", "raw", `x{a="{{ variables.v }}"}`), RawVariables),
		newTemplate("shop", "wrong", "{{ .Namespace }}"),
		newTemplate("shop", "no-secret", "q", withSecret("dog")),
		newTemplate("shop", "no-url", "q", func(p *v1beta1.MetricTemplateProvider) { p.Address = "nonsense" }),
		newTemplate("shop", "no-password", "q", withSecret("user")),
		newSecret("shared", "dog", "token", "t"),
		newSecret("shop", "user", "username", "u"),
	}
	for name, tc := range map[string]struct {
		ref         *v1beta1.CrossNamespaceObjectReference
		variables   map[string]string
		change      func(*Sources)
		canary      func(*v1beta1.CanarySpec)
		wantQuery   string
		wantSecret  []string
		wantProblem string
	}{
		"every variable": {ref: ref("", "here"), variables: map[string]string{"v": "x"}, wantQuery: "cart shop cart-app cart-svc cart-app cart-app 1m x"},
		"ingress and route": {
			ref: ref("shop", "here"), variables: map[string]string{"v": "x"},
			canary: func(s *v1beta1.CanarySpec) {
				s.IngressRef, s.RouteRef, s.Service.Name = &v1beta1.LocalObjectReference{Name: "ing"}, &v1beta1.LocalObjectReference{Name: "rt"}, ""
			},
			wantQuery: "cart shop cart-app cart-app ing rt 1m x",
		},
		"of another namespace, with its Secret": {ref: ref("shared", "there"), wantQuery: "shop", wantSecret: []string{"token=t"}},
		"a variable has no value": {
			ref:         ref("", "here"),
			wantProblem: "TemplateInvalid: templateRef: MetricTemplate shop/here: templateVariables has no value for v, which the query of the template needs",
		},
		"a value that ends its quotes":          {ref: ref("", "quoted"), variables: map[string]string{"v": `b"} or up`}, wantQuery: `x{a="b\"} or up"}`},
		"an expression of whoever may write it": {ref: ref("", "bare"), variables: map[string]string{"v": "a or b"}, wantQuery: "a or b"},
		"an expression for another namespace": {
			ref: ref("shared", "bare"), variables: map[string]string{"v": "a or b"},
			wantProblem: `TemplateInvalid: templateRef: MetricTemplate shared/bare: {{ variables.v }} is not in quotes, so its value may have letters, digits and _ . : - only, and neither .. nor --: it is "a or b"`,
		},
		"an expression where tenants are kept apart": {
			ref: ref("", "bare"), variables: map[string]string{"v": "a or b"}, change: func(s *Sources) { s.NoCrossNamespace = true },
			wantProblem: `TemplateInvalid: templateRef: MetricTemplate shop/bare: {{ variables.v }} is not in quotes, so its value may have letters, digits and _ . : - only, and neither .. nor --: it is "a or b"`,
		},
		"an expression that the template's owner allows": {ref: ref("shared", "raw"), variables: map[string]string{"v": `b",c="d`}, wantQuery: `x{a="b",c="d"}`},
		"missing": {ref: ref("", "none"), wantProblem: "TemplateMissing: templateRef: there is no MetricTemplate none in the namespace shop"},
		"invariant 5: another namespace, which is off": {
			ref: ref("shared", "there"), change: func(s *Sources) { s.NoCrossNamespace = true },
			wantProblem: "CrossNamespaceRef: templateRef: MetricTemplate shared/there is in another namespace, and references to other namespaces are off",
		},
		"its own namespace is never off": {
			ref: ref("shop", "here"), variables: map[string]string{"v": "x"}, change: func(s *Sources) { s.NoCrossNamespace = true },
			wantQuery: "cart shop cart-app cart-svc cart-app cart-app 1m x",
		},
		"another namespace, which is not watched": {
			ref: ref("shared", "there"), change: func(s *Sources) { s.Namespaces = []string{"shop", "store"} },
			wantProblem: "CrossNamespaceRef: templateRef: MetricTemplate shared/there is in a namespace that the operator does not watch; it watches shop, store",
		},
		"another namespace, which is watched too": {
			ref: ref("shared", "there"), change: func(s *Sources) { s.Namespaces = []string{"shop", "shared"} },
			wantQuery: "shop", wantSecret: []string{"token=t"},
		},
		"a mistake in the query": {
			ref:         ref("", "wrong"),
			wantProblem: "TemplateInvalid: templateRef: MetricTemplate shop/wrong: spec.query: {{ .Namespace }}: write {{ namespace }}, without the dot",
		},
		"no Secret": {
			ref:         ref("", "no-secret"),
			wantProblem: "SecretMissing: templateRef: MetricTemplate shop/no-secret: spec.provider.secretRef: there is no Secret dog in the namespace shop",
		},
		"no URL": {ref: ref("", "no-url"), wantProblem: "ProviderInvalid: templateRef: MetricTemplate shop/no-url: spec.provider.address: not a URL"},
		"a key is missing": {
			ref:         ref("", "no-password"),
			wantProblem: "ProviderInvalid: templateRef: MetricTemplate shop/no-password: spec.provider.secretRef (user, key password): a username needs a password",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newSources(t, objects...)
			if tc.change != nil {
				tc.change(s)
			}
			c := newCanary()
			if tc.canary != nil {
				tc.canary(&c.Spec)
			}
			provider, query, err := s.Template(t.Context(), c, v1beta1.CanaryMetric{Name: "m", TemplateRef: tc.ref, TemplateVariables: tc.variables})
			if tc.wantProblem != "" {
				checkProblem(t, err, tc.wantProblem)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if query.Expr != tc.wantQuery {
				t.Errorf("query %q", query.Expr)
			}
			if d := cmp.Diff(tc.wantSecret, pairs(provider.(*made).Secret)); d != "" && len(tc.wantSecret) > 0 {
				t.Error(d)
			}
		})
	}
}

// What is the same is made once; what is rotated is made anew.
func TestProvidersAreKept(t *testing.T) {
	template := newTemplate("shop", "m", "q", withSecret("dog"))
	s, api := newSources(t, template, newSecret("shop", "dog", "token", "1"))
	get := func() metrics.Provider {
		t.Helper()
		p, _, err := s.Template(t.Context(), newCanary(), v1beta1.CanaryMetric{TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: "m"}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := get()
	if get() != first {
		t.Error("made twice of the same")
	}
	if err := api.Update(t.Context(), newSecret("shop", "dog", "token", "2")); err != nil {
		t.Fatal(err)
	}
	second := get()
	if second == first || string(second.(*made).Secret["token"]) != "2" {
		t.Error("a rotated Secret is not used")
	}
	for i := range 2 * most {
		if _, err := s.provider(metrics.Config{Address: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.providers.known); n > most {
		t.Errorf("%d providers are kept", n)
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		template *v1beta1.MetricTemplate
		want     string
	}{
		"good":                     {newTemplate("shop", "m", "{{ target }} {{ variables.whatever }}", withSecret("dog")), ""},
		"wrong with any values":    {newTemplate("shop", "m", "{{ index name 99 }}"), "TemplateInvalid: spec.query: query: 1:3: executing \"query\" at <index name 99>: error calling index: index out of range: 99"},
		"a word about variables":   {raw(newTemplate("shop", "m", "q"), "any"), `TemplateInvalid: metadata.annotations[sluice.dev/variables]: "any" has no meaning: allowed is raw`},
		"a mistake":                {newTemplate("shop", "m", "{{ Target }}"), "TemplateInvalid: spec.query: {{ Target }}: write {{ target }}, in small letters"},
		"a Secret that is missing": {newTemplate("shop", "m", "q", withSecret("cat")), "SecretMissing: spec.provider.secretRef: there is no Secret cat in the namespace shop"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newSources(t, newSecret("shop", "dog", "token", "1"))
			err := s.Check(t.Context(), tc.template)
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkProblem(t, err, tc.want)
		})
	}
}

// Pain 15: a rotated Secret that is mounted is there without a restart.
func TestFiles(t *testing.T) {
	directory := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	clk := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	f := &Files{Directory: directory, Clock: clk}
	want := func(want ...string) {
		t.Helper()
		data, err := f.Data()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, pairs(data)); d != "" && len(want)+len(data) > 0 {
			t.Error(d)
		}
	}
	write("token", "1")
	write("..data", "not a key")
	want("token=1")
	write("token", "2")
	want("token=1")
	clk.SetTime(time.Unix(5, 0))
	want("token=2")
	if err := os.Remove(filepath.Join(directory, "token")); err != nil {
		t.Fatal(err)
	}
	clk.SetTime(time.Unix(10, 0))
	want()

	if err := os.Mkdir(filepath.Join(directory, "token"), 0o700); err != nil {
		t.Fatal(err)
	}
	clk.SetTime(time.Unix(15, 0))
	if _, err := f.Data(); err == nil {
		t.Error("a directory is taken for a token")
	}
	s, _ := newSources(t)
	s.Operator.Secret = f.Data
	if _, err := s.Server(t.Context(), newCanary()); !metrics.IsUnavailable(err) || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestPlace(t *testing.T) {
	s, _ := newSources(t, newTemplate("shop", "m", "q"))
	for name, tc := range map[string]struct {
		server   string
		template string
		want     string
	}{
		"operator's": {want: "https://own"},
		"own":        {server: "http://x", want: "http://x"},
		"template":   {server: "http://x", template: "m", want: "datadog https://dog"},
		"missing":    {template: "n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := v1beta1.CanaryMetric{}
			if tc.template != "" {
				m.TemplateRef = &v1beta1.CrossNamespaceObjectReference{Name: tc.template}
			}
			if got := s.Place(t.Context(), newCanary(func(s *v1beta1.CanarySpec) { s.MetricsServer = tc.server }), m); got != tc.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestCount(t *testing.T) {
	counts := func(requests, bad string) *v1beta1.MetricTemplateCounts {
		return &v1beta1.MetricTemplateCounts{Requests: requests, Bad: bad}
	}
	with := func(name string, c *v1beta1.MetricTemplateCounts) *v1beta1.MetricTemplate {
		template := newTemplate("shop", name, "q")
		template.Spec.Counts = c
		return template
	}
	good := with("good", counts("{{ workload }} {{ version }} {{ interval }} {{ variables.v }}", "bad {{ workload }} {{ version }}"))
	wrong := with("wrong", counts("{{ nobody }}", "x"))
	s, _ := newSources(t, good, wrong, with("none", nil))
	c := newCanary()
	for name, tc := range map[string]struct {
		template, version string
		bad               bool
		want, problem     string
	}{
		"the canary's":         {template: "good", version: "canary", want: c.Spec.TargetRef.Name + " canary 15s x"},
		"the primary's":        {template: "good", version: "primary", want: c.PrimaryName() + " primary 15s x"},
		"the primary's bad":    {template: "good", version: "primary", bad: true, want: "bad " + c.PrimaryName() + " primary"},
		"no counts":            {template: "none", version: "canary", problem: "templateRef: MetricTemplate shop/none: it has no spec.counts, which comparison needs"},
		"counts that are none": {template: "wrong", version: "canary", problem: "templateRef: MetricTemplate shop/wrong: spec.counts.requests: {{ nobody }} is not a variable"},
		"no template":          {template: "gone", version: "canary", problem: "there is no MetricTemplate gone"},
	} {
		t.Run(name, func(t *testing.T) {
			metric := v1beta1.CanaryMetric{Name: "m", TemplateRef: &v1beta1.CrossNamespaceObjectReference{Name: tc.template}, TemplateVariables: map[string]string{"v": "x"}}
			_, query, err := s.Count(t.Context(), c, metric, tc.version, tc.bad, "15s")
			if tc.problem == "" && (err != nil || query.Expr != tc.want) {
				t.Errorf("got %q, %v; want %q", query.Expr, err, tc.want)
			}
			if p := AsProblem(err); tc.problem != "" && (p == nil || !strings.Contains(p.Message, tc.problem)) {
				t.Errorf("got %v, want %q", err, tc.problem)
			}
		})
	}
	if err := s.Check(t.Context(), good); err != nil {
		t.Errorf("a template with counts: %v", err)
	}
	if p := AsProblem(s.Check(t.Context(), wrong)); p == nil || !strings.Contains(p.Message, "spec.counts.requests: ") {
		t.Errorf("a template with wrong counts: %v", p)
	}
}
