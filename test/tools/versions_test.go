// Package tools_test holds the modules of the servers and tools, and this repository's own, to one version of what they share.
package tools_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shared are the beginnings of the paths of modules of which most of what is compiled is made, or stands on. A package is compiled
// again for each version of anything that it imports, however far down: these are what that costs minutes for.
var shared = []string{
	"cloud.google.com/go/", "github.com/Azure/", "github.com/aws/aws-sdk-go-v2", "github.com/cncf/xds/", "github.com/davecgh/go-spew", "github.com/emicklei/go-restful/",
	"github.com/envoyproxy/", "github.com/fxamacker/cbor/", "github.com/go-logr/", "github.com/go-openapi/", "github.com/gogo/protobuf", "github.com/golang/protobuf",
	"github.com/google/", "github.com/json-iterator/", "github.com/klauspost/", "github.com/modern-go/", "github.com/prometheus/client_", "github.com/prometheus/common",
	"github.com/prometheus/procfs", "github.com/spf13/", "go.opentelemetry.io/", "go.uber.org/", "go.yaml.in/", "golang.org/x/", "google.golang.org/", "k8s.io/", "sigs.k8s.io/",
}

// exception is a dependency of which a module has a version of its own.
type exception struct{ module, path string }

// exceptions are those that cannot be helped, with the reason. A path stands for all that begin with it.
var exceptions = map[exception]string{
	{"argocd", "k8s.io/kubectl"}:                  "Argo CD's engine is compiled against this version only",
	{"consul", "github.com/cncf/xds/"}:            "belongs to its gRPC",
	{"consul", "github.com/envoyproxy/"}:          "has packages that were taken away later",
	{"consul", "go.opentelemetry.io/proto/"}:      "newer ones need a newer gRPC",
	{"consul", "google.golang.org/genproto"}:      "newer ones need a newer gRPC",
	{"consul", "google.golang.org/grpc"}:          "reads a field that was taken away later",
	{"contour", "k8s.io/"}:                        "sets a field of client-go that was made private in 0.36",
	{"contour", "sigs.k8s.io/controller-runtime"}: "belongs to its client-go",
	{"contour", "sigs.k8s.io/gateway-api"}:        "takes types for one another that are no longer the same",
	{"flagger", "k8s.io/"}:                        "reads HorizontalPodAutoscalers of versions that were taken away later",
	{"flux", "sigs.k8s.io/kustomize/kyaml"}:       "its own go.mod replaces it",
	{"prometheus", "github.com/envoyproxy/"}:      "for the discovery that the build leaves out",
}

func TestModulesAgree(t *testing.T) {
	files, err := filepath.Glob("*/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mods := map[string]string{}
	for _, file := range append(files, "../../go.mod", "../../webhooks/loadtester/go.mod", "../bench/go.mod", "../dashboard/go.mod") {
		text, err := os.ReadFile(file) //nolint:gosec // the files are those of this repository
		if err != nil {
			t.Fatal(err)
		}
		module := filepath.Dir(file)
		if module == "argorollouts" { // is built by nothing that is run regularly
			continue
		}
		mods[module] = string(text)
	}
	for _, breach := range disagreements(mods, exceptions) {
		t.Error(breach)
	}
}

// disagreements tells where modules, which are given with the texts of their go.mod, have more than one version of something
// that is shared, and which exceptions are not needed.
func disagreements(mods map[string]string, exceptions map[exception]string) []string {
	agreed := map[string]map[string][]string{} // by path and version: the modules that have it
	type own struct {
		exception
		path, version string
	}
	var owns []own
	for _, module := range slices.Sorted(maps.Keys(mods)) {
		for path, version := range requires(mods[module]) {
			if !slices.ContainsFunc(shared, func(start string) bool { return strings.HasPrefix(path, start) }) {
				continue
			}
			if e, ok := exceptionOf(module, path, exceptions); ok {
				owns = append(owns, own{e, path, version})
				continue
			}
			if agreed[path] == nil {
				agreed[path] = map[string][]string{}
			}
			agreed[path][version] = append(agreed[path][version], module)
		}
	}
	var out []string
	for _, path := range slices.Sorted(maps.Keys(agreed)) {
		if len(agreed[path]) == 1 {
			continue
		}
		var each []string
		for _, version := range slices.Sorted(maps.Keys(agreed[path])) {
			each = append(each, fmt.Sprintf("%s in %s", version, strings.Join(agreed[path][version], ", ")))
		}
		out = append(out, fmt.Sprintf("%s is %s; have them agree by go get %[1]s@VERSION, or say why not in the exceptions", path, strings.Join(each, "; ")))
	}
	for e := range exceptions {
		if !slices.ContainsFunc(owns, func(o own) bool {
			return o.exception == e && len(agreed[o.path]) > 0 && agreed[o.path][o.version] == nil
		}) {
			out = append(out, fmt.Sprintf("%s needs no exception for %s any more", e.module, e.path))
		}
	}
	return out
}

// exceptionOf gives the exception that lets a module have a version of its own of path.
func exceptionOf(module, path string, exceptions map[exception]string) (exception, bool) {
	for e := range exceptions {
		if e.module == module && strings.HasPrefix(path, e.path) {
			return e, true
		}
	}
	return exception{}, false
}

var (
	required = regexp.MustCompile(`(?m)^\s*(?:require )?(\S+\.\S+/\S+) (v\S+)(?: // indirect)?$`)
	replaced = regexp.MustCompile(`(?m)^\s*(?:replace )?(\S+)(?: v\S+)? => \S+ (v\S+)$`)
)

// requires gives the versions by path that a go.mod says, replacements applied.
func requires(mod string) map[string]string {
	out := map[string]string{}
	for _, m := range required.FindAllStringSubmatch(mod, -1) {
		out[m[1]] = m[2]
	}
	for _, m := range replaced.FindAllStringSubmatch(mod, -1) {
		if _, ok := out[m[1]]; ok {
			out[m[1]] = m[2]
		}
	}
	return out
}

func TestDisagreements(t *testing.T) {
	const (
		old  = "module a\n\nrequire golang.org/x/sys v0.1.0\n\nrequire (\n\tk8s.io/api v0.1.0\n\tgithub.com/somebody/small v1.0.0 // indirect\n)\n"
		last = "module b\n\nrequire (\n\tgolang.org/x/sys v0.2.0 // indirect\n\tk8s.io/api v0.2.0\n\tgithub.com/somebody/small v1.1.0\n)\n"
		sys  = "golang.org/x/sys is v0.1.0 in a; v0.2.0 in b; have them agree by go get golang.org/x/sys@VERSION, or say why not in the exceptions"
		api  = "k8s.io/api is v0.1.0 in a; v0.2.0 in b; have them agree by go get k8s.io/api@VERSION, or say why not in the exceptions"
	)
	for name, tc := range map[string]struct {
		a, b       string
		exceptions map[exception]string
		want       []string
	}{
		"one version":           {old, old, nil, nil},
		"two":                   {old, last, nil, []string{sys, api}},
		"replaced by the other": {old + "\nreplace k8s.io/api => k8s.io/api v0.2.0\n", last, nil, []string{sys}},
		"an exception":          {old, last, map[exception]string{{"a", "k8s.io/"}: "too old"}, []string{sys}},
		"one that is not needed": {old, old, map[exception]string{{"a", "k8s.io/"}: "too old"},
			[]string{"a needs no exception for k8s.io/ any more"}},
		"one for what it has not": {old, old, map[exception]string{{"a", "k8s.io/kubectl"}: "too old"},
			[]string{"a needs no exception for k8s.io/kubectl any more"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := disagreements(map[string]string{"a": tc.a, "b": tc.b}, tc.exceptions)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
