package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/preflight"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// lookedAt runs the preflight and gives its report and its exit status.
func lookedAt(t *testing.T, stdin io.Reader, args ...string) (preflight.Report, int) {
	t.Helper()
	var out bytes.Buffer
	err := runPreflight(t.Context(), append([]string{"-o", "json"}, args...), stdin, &out, t.Output())
	status := 0
	var exit *exitError
	switch {
	case errors.As(err, &exit) && exit.err == nil:
		status = exit.status
	case err != nil:
		t.Fatal(err)
	}
	var report preflight.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return report, status
}

// corpusResults are the results of the table in the documentation, which are tested to be what initialization and a
// release came to.
func corpusResults(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "<!-- corpus:begin -->")
	table, _, _ = strings.Cut(table, "<!-- corpus:end -->")
	out := map[string]string{}
	for line := range strings.SplitSeq(table, "\n") {
		if cells := strings.Split(line, " | "); len(cells) == 3 {
			out[strings.TrimPrefix(cells[0], "| ")] = strings.TrimSuffix(cells[2], " |")
		}
	}
	return out
}

// What the preflight says of each Canary of Flagger's documentation and tests is what becomes of it.
func TestPreflightCorpus(t *testing.T) {
	results := corpusResults(t)
	files, err := filepath.Glob("../api/v1beta1/testdata/corpus/*.yaml")
	if err != nil || len(files) < 130 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file) //nolint:gosec // of the corpus
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"-f", file}
			if provider, ok := strings.CutPrefix(strings.SplitN(string(raw), "\n", 2)[0], "# "); ok {
				args = append(args, provider)
			}
			report, status := lookedAt(t, nil, args...)
			if len(report.Findings) != 1 {
				t.Fatalf("%d findings", len(report.Findings))
			}
			f := report.Findings[0]
			got := string(f.Verdict)
			want, wantStatus := "", 0
			switch result := results[name]; {
			case strings.HasPrefix(result, "refused"):
				want, wantStatus = string(preflight.Refused), 1
			case result == "released":
				want = string(preflight.Served)
			case strings.HasPrefix(result, "released; "):
				want = string(preflight.Differs) + ": " + strings.TrimPrefix(result, "released; ")
				got += ": " + strings.Join(f.Differences, "; ")
			}
			if got != want || status != wantStatus {
				t.Errorf("%s, exit status %d, want %s, %d\n%+v", got, status, want, wantStatus, f)
			}
		})
	}
}

// flaggersObjects are all that Flagger leaves in a phase, as a manifest.
func flaggersObjects(t *testing.T, left leftBehind) []byte {
	t.Helper()
	s := &stage{t: t, namespace: "shop"}
	canary := s.flaggersCanary(left)
	canary.UID, canary.Generation, canary.Status = "uid", 1, flaggersStatus(left)
	owner := []metav1.OwnerReference{formerOwner(canary)}
	target, primary := s.flaggersTarget(left.target), s.flaggersPrimary(left.primary, owner)
	target.Spec.Replicas = new(left.pods)
	for _, d := range []*metav1.ObjectMeta{&target.ObjectMeta, &primary.ObjectMeta} {
		d.Generation = 1
	}
	target.Status.ObservedGeneration, primary.Status.ObservedGeneration = 1, 1
	target.Status.Replicas, target.Status.UpdatedReplicas, target.Status.ReadyReplicas, target.Status.AvailableReplicas = left.pods, left.pods, left.pods, left.pods
	primary.Status.Replicas, primary.Status.UpdatedReplicas, primary.Status.ReadyReplicas, primary.Status.AvailableReplicas = 2, 2, 2, 2
	settings := func(name string, owner ...metav1.OwnerReference) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, OwnerReferences: owner}, Data: map[string]string{"COLOR": "blue"}}
	}
	all := []client.Object{canary, target, primary, settings("settings"), settings("settings-primary", owner...), s.flaggersRoute(left, owner)}
	for name, selected := range map[string]string{app: app + "-primary", app + "-primary": app + "-primary", app + "-canary": app} {
		all = append(all, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, OwnerReferences: owner},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": selected},
				Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 9898, TargetPort: intstr.FromInt32(9898)}},
			},
		})
	}
	return manifest(t, all...)
}

// manifest writes objects as YAML.
func manifest(t *testing.T, all ...client.Object) []byte {
	t.Helper()
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, o := range all {
		gvk, err := apiutil.GVKForObject(o, scheme)
		if err != nil {
			t.Fatal(err)
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			t.Fatal(err)
		}
		content["apiVersion"], content["kind"] = gvk.GroupVersion().String(), gvk.Kind
		raw, err := yaml.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("---\n")
		out.Write(raw)
	}
	return out.Bytes()
}

// What a takeover does to what Flagger has left is said beforehand, for each phase. That it does so is tested in
// testTakeover.
func TestPreflightTakeover(t *testing.T) {
	want := map[string]string{
		"initializing":                 "it is Initializing, and nothing is released",
		"initialized":                  "it is Initialized, and nothing is released",
		"waiting":                      "it is Waiting and goes on in ",
		"progressing-weighted":         "it is Progressing and goes on in Progressing, with 30 % of the requests at the canary, as the mesh has it, at step 3",
		"progressing-ab":               "it is Progressing and goes on in Progressing, with 100 % of the requests at the canary, as the mesh has it, at step 3",
		"progressing-ab-weight":        "it is Progressing and goes on in Progressing, with 100 % of the requests at the canary, as the mesh has it, at step 3",
		"progressing-blue-green":       "it is Progressing and goes on in Progressing, with 0 % of the requests at the canary, as the mesh has it, at step 3",
		"progressing-blue-green-moved": "it is Progressing and goes on in Promoting, with 100 % of the requests at the canary, as the mesh has it",
		"waiting-promotion":            "it is WaitingPromotion and goes on in Progressing, with 50 % of the requests at the canary, as the mesh has it, at step 5",
		"promoting":                    "it is Promoting and goes on in Promoting, with 50 % of the requests at the canary, as the mesh has it",
		"finalising":                   "it is Finalising and goes on in Finalising, with 0 % of the requests at the canary, as the mesh has it",
		"succeeded":                    "it is Succeeded, and nothing is released",
		"failed":                       "it is Failed and stays so until there is another revision",
	}
	for _, left := range leftBehinds {
		if left.phase == terminating {
			continue // it goes
		}
		t.Run(left.name, func(t *testing.T) {
			report, status := lookedAt(t, bytes.NewReader(flaggersObjects(t, left)), "-f", "-")
			if len(report.Findings) != 1 || status != 0 || report.Findings[0].Verdict != preflight.Served {
				t.Fatalf("exit status %d: %+v", status, report)
			}
			says := report.Findings[0].Takeover
			if len(says) == 0 || want[left.name] == "" || !strings.HasPrefix(says[0], want[left.name]) {
				t.Errorf("want %q, got %q", want[left.name], says)
			}
			for _, line := range []string{"Deployment podinfo-primary is taken over, and its pods stay", "the Canary gets the finalizer finalizer.flagger.app", "VirtualService podinfo is written"} {
				if !slices.Contains(says, line) {
					t.Errorf("it lacks %q: %q", line, says)
				}
			}
		})
	}
	t.Run("a target that was changed after Flagger ended", func(t *testing.T) {
		left := leftBehinds[slices.IndexFunc(leftBehinds, func(l leftBehind) bool { return l.name == "succeeded" })]
		left.target = oldImage
		report, _ := lookedAt(t, bytes.NewReader(flaggersObjects(t, left)), "-f", "-")
		if says := report.Findings[0].Takeover; len(says) == 0 || !strings.Contains(says[0], "a release begins") {
			t.Errorf("%q", says)
		}
	})
}

// Each way to be refused, to differ, or not to be known has its verdict and its exit status.
func TestPreflightVerdicts(t *testing.T) {
	canary := func(change string) string {
		return strings.ReplaceAll(`{"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": {"name": "podinfo", "namespace": "shop"}, "spec": {
			"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"}, "service": {"port": 80},
			"analysis": {"interval": "1m", "threshold": 5, "stepWeight": 10, "maxWeight": 50}, CHANGE}}`, "CHANGE", change)
	}
	template := func(provider string) string {
		return `{"apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate", "metadata": {"name": "m", "namespace": "shop"}, "spec": {"provider": ` + provider + `, "query": "sum(errors)"}}`
	}
	ofKnative := func(provider string) string {
		return strings.NewReplacer("apps/v1", "serving.knative.dev/v1", `"Deployment"`, `"Service"`).Replace(canary(`"provider": "` + provider + `"`))
	}
	for name, tc := range map[string]struct {
		manifest string
		args     []string
		verdict  preflight.Verdict
		status   int
		says     string
	}{
		"served":                    {manifest: canary(`"provider": "istio"`), verdict: preflight.Served, says: "not looked at: spec.targetRef"},
		"a field without effect":    {manifest: canary(`"provider": "kubernetes"`), verdict: preflight.Differs, says: "differs: spec.analysis.stepWeight has no effect"},
		"and that counts":           {manifest: canary(`"provider": "kubernetes"`), args: []string{"-fail-on-differences"}, verdict: preflight.Differs, status: 1, says: "differs: "},
		"a provider that has ended": {manifest: canary(`"provider": "appmesh:v1beta2"`), verdict: preflight.Refused, status: 1, says: "VPC Lattice"},
		"a provider that -providers leaves out": {
			manifest: canary(`"provider": "kuma"`), args: []string{"-providers=istio,linkerd"}, verdict: preflight.Refused, status: 1, says: "-providers",
		},
		"a provider that -providers has": {manifest: canary(`"provider": "linkerd"`), args: []string{"-providers=istio,linkerd"}, verdict: preflight.Served},
		"a field that is missing":        {manifest: strings.Replace(canary(`"provider": "istio"`), `"threshold": 5, `, "", 1), verdict: preflight.Refused, status: 1, says: "spec.analysis.threshold is required"},
		"a value of none": {
			manifest: strings.Replace(canary(`"provider": "istio"`), `"threshold": 5,`, `"threshold": 5, "webhooks": [{"name": "h", "url": "http://h/", "type": "pre-rolout"}],`, 1),
			verdict:  preflight.Refused, status: 1, says: "spec.analysis.webhooks[0].type should be one of",
		},
		"an unknown field":           {manifest: canary(`"analyses": {}`), verdict: preflight.Refused, status: 1, says: `unknown field "spec.analyses"`},
		"another version of the API": {manifest: strings.Replace(canary(`"provider": "istio"`), "v1beta1", "v1alpha3", 1), verdict: preflight.Refused, status: 1, says: "allowed: flagger.app/v1beta1"},
		"a Service without a mesh": {
			manifest: strings.Replace(canary(`"provider": "kubernetes"`), `"Deployment"`, `"Service"`, 1), verdict: preflight.Refused, status: 1, says: "a provider that shares out requests",
		},
		"Knative":                              {manifest: ofKnative("knative"), verdict: preflight.Served, says: "not looked at: spec.targetRef"},
		"Knative with another provider":        {manifest: ofKnative("istio"), verdict: preflight.Refused, status: 1, says: "allowed is knative"},
		"a template":                           {manifest: template(`{"type": "prometheus", "address": "http://prometheus:9090"}`), verdict: preflight.Served},
		"a template of no provider":            {manifest: template(`{"type": "abacus", "address": "http://prometheus:9090"}`), verdict: preflight.Refused, status: 1, says: "spec.provider.type"},
		"a template whose Secret is elsewhere": {manifest: template(`{"type": "datadog", "secretRef": {"name": "key"}}`), verdict: preflight.Served, says: "not looked at: spec.provider.secretRef"},
		"an alert provider": {
			manifest: `{"apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider", "metadata": {"name": "a"}, "spec": {"type": "slack", "address": "https://hooks.slack.com/services/x"}}`, verdict: preflight.Served,
		},
		"an alert provider of no type": {
			manifest: `{"apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider", "metadata": {"name": "a"}, "spec": {"type": "pigeon", "address": "https://x"}}`, verdict: preflight.Refused, status: 1, says: "pigeon",
		},
		"a provider that the operator is not for": {
			manifest: canary(`"provider": "istio"`), args: []string{"-providers=kubernetes,linkerd", "-mesh-provider=linkerd"}, verdict: preflight.Refused, status: 1, says: `unknown provider "istio"`,
		},
		"a flag of the operator's": {
			manifest: canary(`"provider": "istio"`), args: []string{"-coverage=none", "-no-cross-namespace-refs"}, verdict: preflight.Served,
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "manifest.json")
			if err := os.WriteFile(file, []byte(tc.manifest), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"-f", filepath.Dir(file)}, tc.args...)
			report, status := lookedAt(t, nil, args...)
			if len(report.Findings) != 1 || report.Findings[0].Verdict != tc.verdict || status != tc.status {
				t.Fatalf("exit status %d: %+v", status, report)
			}
			var table bytes.Buffer
			if err := report.Table(&table); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(table.String(), tc.says) || !strings.Contains(table.String(), file) {
				t.Errorf("%q is not in\n%s", tc.says, table.String())
			}
		})
	}
}

var writeReferences = flag.Bool("references.write", false, "write what becomes of MetricTemplates and AlertProviders into docs/compatibility.md")

// What becomes of the MetricTemplates and AlertProviders of Flagger's documentation and tests, with queries of our own that
// have the same variables, is in the documentation. That they pass the schema is tested there.
func TestPreflightReferences(t *testing.T) {
	const page, begin, end = "../docs/compatibility.md", "<!-- references:begin -->\n", "<!-- references:end -->\n"
	files, err := filepath.Glob("../api/v1beta1/testdata/references/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	rows := "| manifest | kind | result |\n| --- | --- | --- |\n"
	for _, file := range files {
		report, _ := lookedAt(t, nil, "-f", file)
		if len(report.Findings) != 1 {
			t.Fatalf("%s: %+v", file, report)
		}
		f, result := report.Findings[0], "served"
		switch {
		case f.Verdict == preflight.Refused:
			result = "refused: " + strings.Join(f.Refusals, "; ")
		case f.Verdict != preflight.Served:
			result = strings.Join(f.Differences, "; ")
		}
		rows += fmt.Sprintf("| %s | %s | %s |\n", strings.TrimSuffix(filepath.Base(file), ".yaml"), f.Kind, strings.ReplaceAll(result, "|", "\\|"))
	}
	old, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, tail, begins := strings.Cut(string(old), begin)
	_, after, ends := strings.Cut(tail, end)
	now := before + begin + rows + end + after
	switch {
	case !begins || !ends:
		t.Fatalf("%s has no place for the results", page)
	case now == string(old):
	case *writeReferences:
		if err := os.WriteFile(page, []byte(now), 0o644); err != nil { //nolint:gosec // a page for everybody
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is out of date; run: go test ./operator -run TestPreflightReferences -references.write", page)
	}
}

// A field that there is not does not hide what else is wrong, and files without anything to look at are told of.
func TestPreflightTellsAll(t *testing.T) {
	report, status := lookedAt(t, strings.NewReader(`
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: web, namespace: shop}
spec:
  provider: appmesh
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  service: {port: 80, nam: web}
  analysis: {interval: 1m, threshold: 5, iterations: 5, metrics: [{name: cpu-usage, interval: 1m}]}
`), "-f", "-")
	if len(report.Findings) != 1 || status != 1 || report.Findings[0].Verdict != preflight.Refused {
		t.Fatalf("exit status %d: %+v", status, report)
	}
	said := strings.Join(append(report.Findings[0].Refusals, report.Findings[0].Differences...), "\n")
	for _, want := range []string{`unknown field "spec.service.nam"`, `unknown provider "appmesh"`, `"cpu-usage" is never checked`} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}
	report, status = lookedAt(t, strings.NewReader("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"), "-f", "-")
	if status != 0 || len(report.Findings) > 0 || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "no Canary") {
		t.Errorf("exit status %d: %+v", status, report)
	}
}

// What can't be looked at is no verdict, and has an exit status of its own.
func TestPreflightFails(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "chart.yaml"), []byte("a: {{ .Values.a }}\n  b"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"a dry run of nothing": {"-dry-run"},
		"a dry run nowhere":    {"-dry-run", "-f", folder},
		"no such file":         {"-f", filepath.Join(folder, "none.yaml")},
		"a file of no YAML":    {"-f", filepath.Join(folder, "chart.yaml")},
		"no such output":       {"-o", "xml", "-f", folder},
		"an unknown flag":      {"-x"},
		"a folder of no YAML":  {"-f", folder},
		"no cluster":           {"-kubeconfig", filepath.Join(folder, "none")},
		"an unknown file flag": {"-f", folder, "more"},
	} {
		t.Run(name, func(t *testing.T) {
			err := runPreflight(t.Context(), args, nil, t.Output(), t.Output())
			var exit *exitError
			if !errors.As(err, &exit) || exit.status != preflight.ExitUnknown {
				t.Errorf("%v", err)
			}
		})
	}
}

// testPreflight looks at a cluster with rights to read, and none to read Secrets: it finds what the cluster lacks, and
// writes nothing.
func testPreflight(t *testing.T, c *cluster.Cluster, api client.WithWatch) {
	s := &stage{t: t, api: api, namespace: "preflight"}
	left := leftBehinds[slices.IndexFunc(leftBehinds, func(l leftBehind) bool { return l.name == "succeeded" })]
	s.leave(left)
	s.create(&v1beta1.MetricTemplate{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "dog"},
		Spec: v1beta1.MetricTemplateSpec{
			Provider: v1beta1.MetricTemplateProvider{Type: "datadog", SecretRef: &corev1.LocalObjectReference{Name: "none"}}, Query: "avg:errors",
		},
	})
	bad := s.flaggersCanary(left)
	bad.Name, bad.Spec.TargetRef.Name, bad.Spec.Provider = "bad", "bad", "linkerd"
	s.create(bad)
	reader := kubeconfigOf(t, c, api, s.namespace, "reader", []rbacv1.PolicyRule{
		{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"services", "configmaps"}},
		{Verbs: []string{"get", "list"}, APIGroups: []string{"apps", "autoscaling", "discovery.k8s.io", "flagger.app", "networking.istio.io", "coordination.k8s.io"}, Resources: []string{"*"}},
	})
	versions := s.versions()
	report, status := lookedAt(t, nil, "-kubeconfig", reader, "-namespace", s.namespace, "-coverage=none")
	byName := map[string]preflight.Finding{}
	for _, f := range report.Findings {
		byName[f.Kind+" "+f.Name] = f
	}
	taken := byName["Canary podinfo"]
	if taken.Verdict != preflight.Served || !slices.Contains(taken.Takeover, "it is Succeeded, and nothing is released") {
		t.Errorf("%+v", taken)
	}
	refused := byName["Canary bad"]
	if text := strings.Join(refused.Refusals, "\n"); refused.Verdict != preflight.Refused || !strings.Contains(text, "there is no Deployment bad") || !strings.Contains(text, "the mesh is not installed") {
		t.Errorf("%+v", refused)
	}
	secret := byName["MetricTemplate dog"]
	if secret.Verdict != preflight.Served || !strings.Contains(strings.Join(secret.NotLooked, "\n"), "forbidden") {
		t.Errorf("%+v", secret)
	}
	if len(report.Findings) != 3 || status != preflight.ExitRefused {
		t.Errorf("exit status %d, %d findings", status, len(report.Findings))
	}
	if diff := cmp.Diff(versions, s.versions()); diff != "" {
		t.Errorf("it has written something\n%s", diff)
	}
	// A manifest that is not applied yet is judged by what the cluster has.
	file := filepath.Join(t.TempDir(), "canary.yaml")
	fresh := s.flaggersCanary(left)
	fresh.Spec.Analysis.MaxWeight = 30
	if err := os.WriteFile(file, manifest(t, fresh), 0o600); err != nil {
		t.Fatal(err)
	}
	report, status = lookedAt(t, nil, "-kubeconfig", reader, "-f", file)
	if len(report.Findings) != 1 || status != 0 || report.Findings[0].Source != file || !slices.Contains(report.Findings[0].Takeover, "it is Succeeded, and nothing is released") {
		t.Errorf("exit status %d: %+v", status, report)
	}
}

// testDryRun has the API server judge what only it can: the rules of the schema. It is asked for each manifest that it is
// known to refuse, and writes nothing.
func testDryRun(t *testing.T, c *cluster.Cluster, api client.WithWatch) {
	before := allCanaries(t, api)
	report, status := lookedAt(t, nil, "-kubeconfig", c.Kubeconfig(), "-f", "../api/v1beta1/testdata/rejected", "-dry-run")
	if len(report.Findings) < 70 || status != preflight.ExitRefused {
		t.Errorf("%d findings, exit status %d", len(report.Findings), status)
	}
	for _, f := range report.Findings {
		if f.Verdict != preflight.Refused {
			t.Errorf("%s is %s: %+v", f.Source, f.Verdict, f)
		}
	}
	if diff := cmp.Diff(before, allCanaries(t, api)); diff != "" {
		t.Errorf("something was written\n%s", diff)
	}
}

func allCanaries(t *testing.T, api client.Client) []string {
	t.Helper()
	var list v1beta1.CanaryList
	if err := api.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	var out []string
	for i := range list.Items {
		out = append(out, list.Items[i].Namespace+"/"+list.Items[i].Name+" "+list.Items[i].ResourceVersion)
	}
	return out
}

// kubeconfigOf is the kubeconfig of a ServiceAccount with these rights in all namespaces.
func kubeconfigOf(t *testing.T, c *cluster.Cluster, api client.Client, namespace, name string, rules []rbacv1.PolicyRule) string {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + name}, Rules: rules}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}
	for _, o := range []client.Object{&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}, role, binding} {
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := api.Delete(context.WithoutCancel(t.Context()), o); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
	}
	config, err := c.ConfigFor(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err = clientcmd.WriteToFile(clientcmdapi.Config{
		CurrentContext: name,
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: config.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: "c", AuthInfo: name}},
	}, file)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// versions are those of all that a Canary has to do with.
func (s *stage) versions() map[string]string {
	s.t.Helper()
	out := map[string]string{}
	var canaries v1beta1.CanaryList
	var services corev1.ServiceList
	for _, list := range []client.ObjectList{&canaries, &services} {
		if err := s.api.List(s.t.Context(), list, client.InNamespace(s.namespace)); err != nil {
			s.t.Fatal(err)
		}
	}
	for i := range canaries.Items {
		out["Canary "+canaries.Items[i].Name] = canaries.Items[i].ResourceVersion
	}
	for i := range services.Items {
		out["Service "+services.Items[i].Name] = services.Items[i].ResourceVersion
	}
	return out
}
