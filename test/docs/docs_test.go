// Package docs tests what the documentation says that a machine can judge: that links lead somewhere, and that the
// manifests in it are taken.
package docs

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	chart "github.com/sluice-delivery/sluice/charts/sluice"
	"github.com/sluice-delivery/sluice/operator/preflight"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// pages are all pages of the repository, from their paths to what is in them.
func pages(t *testing.T) (root string, found map[string]string) {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	found = map[string]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "dist"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // of the repository
		found[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return root, found
}

var (
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	inline  = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	strange = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are those that GitHub makes of a page's headings.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		title := regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(match[1], "$1")
		base := strings.ReplaceAll(strange.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
		name := base
		for n := 1; out[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		out[name] = true
	}
	return out
}

func TestLinks(t *testing.T) {
	root, all := pages(t)
	links := 0
	for path, text := range all {
		text = inline.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			links++
			from, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s leads to %s, which is not there", from, match[1])
				continue
			}
			if anchor != "" && strings.HasSuffix(to, ".md") && !anchors(all[to])[anchor] {
				t.Errorf("%s leads to %s, where no heading has that name", from, match[1])
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links were found", links)
	}
}

// TestEveryPageIsFound fails where no other page leads to one.
func TestEveryPageIsFound(t *testing.T) {
	root, all := pages(t)
	led := map[string]bool{filepath.Join(root, "README.md"): true}
	for path, text := range all {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(match[1], "#")
			if to := filepath.Join(filepath.Dir(path), target); to != path {
				led[to] = true
			}
		}
	}
	for path := range all {
		if strings.Contains(path, "/docs/") && !led[path] {
			t.Errorf("no page leads to %s", path)
		}
	}
}

// bases are the least that is valid of each kind; a fragment in a page is laid over them.
var bases = map[string]string{
	"Canary": `
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: podinfo, namespace: test}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: podinfo}
  service: {port: 9898}
  analysis: {interval: 1m, threshold: 3, stepWeight: 10, maxWeight: 50}`,
	"MetricTemplate": `
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {name: errors, namespace: test}
spec: {provider: {type: prometheus, address: "http://prometheus"}, query: up}`,
	"AlertProvider": `
apiVersion: flagger.app/v1beta1
kind: AlertProvider
metadata: {name: chat, namespace: test}
spec: {type: slack, address: "http://chat"}`,
	"CanaryAction": `
apiVersion: sluice.dev/v1alpha1
kind: CanaryAction
metadata: {name: one, namespace: test}
spec: {canary: podinfo, action: Pause}`,
}

// places are where in a Canary a fragment that is a list can belong.
var places = []string{"metrics", "webhooks", "alerts"}

// readings are what a block of YAML can mean: an object, or a fragment of one.
func readings(block any) []map[string]any {
	var out []map[string]any
	under := func(kind string, fragment map[string]any) {
		base := map[string]any{}
		if err := yaml.Unmarshal([]byte(bases[kind]), &base); err != nil {
			panic(err) // they are above
		}
		out = append(out, merge(base, fragment))
	}
	switch block := block.(type) {
	case []any:
		for _, place := range places {
			under("Canary", map[string]any{"spec": map[string]any{"analysis": map[string]any{place: block}}})
		}
	case map[string]any:
		if kind, ok := block["kind"].(string); ok {
			under(kind, block)
			break
		}
		for _, kind := range slices.Sorted(maps.Keys(bases)) {
			under(kind, block)
			under(kind, map[string]any{"spec": block})
		}
		under("Canary", map[string]any{"spec": map[string]any{"analysis": block}})
		under("MetricTemplate", map[string]any{"spec": map[string]any{"provider": block}})
		if _, ok := block["cmd"]; ok { // what the load tester is told
			under("Canary", map[string]any{"spec": map[string]any{"analysis": map[string]any{
				"webhooks": []any{map[string]any{"name": "load", "url": "http://loadtester", "metadata": block}},
			}}})
		}
		for _, place := range places {
			under("Canary", map[string]any{"spec": map[string]any{"analysis": map[string]any{place: []any{block}}}})
		}
	}
	return out
}

func merge(base, over map[string]any) map[string]any {
	for key, value := range over {
		if inner, ok := value.(map[string]any); ok {
			if below, ok := base[key].(map[string]any); ok {
				base[key] = merge(below, inner)
				continue
			}
		}
		base[key] = value
	}
	return base
}

// ours tells whether a block is about our kinds: it names one, or it is a fragment.
func ours(block any) bool {
	object, ok := block.(map[string]any)
	if !ok {
		_, list := block.([]any)
		return list
	}
	version, named := object["apiVersion"].(string)
	_, annotations := object["metadata"]
	return strings.HasPrefix(version, "flagger.app/") || strings.HasPrefix(version, "sluice.dev/") || (!named && !annotations)
}

// isValues tells whether a block is about values of the chart, all of which there are.
func isValues(block any, values map[string]any) bool {
	given, ok := block.(map[string]any)
	for key, value := range given {
		known, there := values[key]
		if !there {
			return false
		}
		// An empty map among the values takes keys of the user's.
		if inner, _ := known.(map[string]any); len(inner) > 0 && !isValues(value, inner) {
			return false
		}
	}
	return ok
}

// judges are what an API server judges objects by.
type judges struct {
	schemas preflight.Schemas
	fields  map[string]*structural.Structural // by kind
}

func newJudges(t *testing.T) judges {
	t.Helper()
	schemas, err := preflight.ReadSchemas(chart.CRDs)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Glob(chart.CRDs, "crds/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := judges{schemas: schemas, fields: map[string]*structural.Structural{}}
	for _, file := range files {
		text, err := chart.CRDs.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		var props apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil); err != nil {
			t.Fatal(err)
		}
		if out.fields[crd.Spec.Names.Kind], err = structural.NewStructural(&props); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// refusals say why an API server does not take an object, or what of it is no field.
func (j judges) refusals(object map[string]any) []string {
	kind, _ := object["kind"].(string)
	fields := j.fields[kind]
	if fields == nil {
		return []string{fmt.Sprintf("unknown kind %q", kind)}
	}
	var out []string
	for _, unknown := range pruning.PruneWithOptions(object, fields, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		out = append(out, "no field "+unknown)
	}
	return append(out, j.schemas.Refuses(&unstructured.Unstructured{Object: object})...)
}

var yamlBlock = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```")

// TestManifests has an API server's schemas judge the manifests and the fragments of them in all pages.
func TestManifests(t *testing.T) {
	root, all := pages(t)
	j := newJudges(t)
	var values map[string]any
	text, err := os.ReadFile(filepath.Join(root, "charts", "sluice", "values.yaml")) //nolint:gosec // of the repository
	if err == nil {
		err = yaml.Unmarshal(text, &values)
	}
	if err != nil {
		t.Fatal(err)
	}
	judged := 0
	for path, text := range all {
		for _, match := range yamlBlock.FindAllStringSubmatch(text, -1) {
			page := strings.TrimPrefix(path, root+"/")
			for document := range strings.SplitSeq(strings.ReplaceAll("\n"+match[2], "\n"+match[1], "\n"), "\n---\n") {
				var block any
				if err := yaml.Unmarshal([]byte(document), &block); err != nil {
					t.Errorf("%s has what is no YAML: %v\n%s", page, err, document)
					continue
				}
				if !ours(block) || strings.HasPrefix(document, "\n# kustomization.yaml") {
					continue
				}
				judged++
				if isValues(block, values) {
					continue
				}
				if why := j.judge(block); len(why) > 0 {
					t.Errorf("%s has what is refused:\n%s\n%s", page, document, strings.Join(why, "\n"))
				}
			}
		}
	}
	if judged < 20 {
		t.Errorf("only %d manifests were found", judged)
	}
}

// judge gives nothing where one of the readings of a block is taken, else why each of them is not.
func (j judges) judge(block any) []string {
	var why []string
	for _, object := range readings(block) {
		refused := j.refusals(object)
		if len(refused) == 0 {
			return nil
		}
		why = append(why, refused...)
	}
	slices.Sort(why)
	return slices.Compact(why)
}

func TestJudge(t *testing.T) {
	j := newJudges(t)
	for text, good := range map[string]bool{
		"analysis: {interval: 1m, threshold: 3}":                      true,
		"analysis: {interval: 1m, treshold: 3}":                       false,
		"analysis: {interval: 1m, threshold: many}":                   false,
		"- name: request-success-rate\n  thresholdRange: {min: 99}":   true,
		"- name: request-success-rate\n  thresholdRange: {least: 99}": false,
		"provider: {type: prometheus}":                                true,
		"apiVersion: flagger.app/v1beta1\nkind: Canry":                false,
		"kind: CanaryAction\nspec: {action: Explode}":                 false,
	} {
		var block any
		if err := yaml.Unmarshal([]byte(text), &block); err != nil {
			t.Fatal(err)
		}
		if why := j.judge(block); (len(why) == 0) != good {
			t.Errorf("%s: %v", text, why)
		}
	}
}

// TestVendored holds what the site has of others against the table of it.
func TestVendored(t *testing.T) {
	root, all := pages(t)
	folder := filepath.Join(root, "docs", "site", "assets", "vendor")
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\S+) \\| (\\d+\\.\\d+\\.\\d+) \\| `[^`]+` \\| (MIT|Apache-2.0) \\| `([0-9a-f]{64})` \\|$").FindAllStringSubmatch(all[filepath.Join(folder, "VENDORED.md")], -1) {
		listed[row[1]] = row[5]
	}
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "VENDORED.md" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(raw)); listed[f.Name()] != got {
			t.Errorf("%s has sha256 %s, and VENDORED.md says %q", f.Name(), got, listed[f.Name()])
		}
		delete(listed, f.Name())
	}
	for name := range listed {
		t.Errorf("VENDORED.md lists %s, which is not there", name)
	}
}

// TestFigures holds each figure of README against the page that it names as its source.
func TestFigures(t *testing.T) {
	root, all := pages(t)
	row := regexp.MustCompile(`(?m)^\| \*\*[^|]*\| ([^|]*) \| \[[^]]*\]\((docs/[a-z-]+\.md)`)
	figure := regexp.MustCompile(`\d[\d,.]*\d|\d`)
	found := 0
	for _, match := range row.FindAllStringSubmatch(all[filepath.Join(root, "README.md")], -1) {
		source := all[filepath.Join(root, match[2])]
		for _, number := range figure.FindAllString(match[1], -1) {
			found++
			if !regexp.MustCompile(`(^|[^\d.,])` + regexp.QuoteMeta(number) + `([^\d,]|$)`).MatchString(source) {
				t.Errorf("README.md says %q, and %s has no %s", match[1], match[2], number)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d figures were found", found)
	}
}
