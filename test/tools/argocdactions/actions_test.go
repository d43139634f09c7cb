// Package argocdactions runs the resource actions that are shipped for Argo CD as Argo CD does: in gopher-lua, with the few
// libraries that it opens for scripts of its users. It is a module of its own, as Lua is nothing to the operator.
package argocdactions

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

const charts = "../../../charts/"

// customization is the text that goes into argocd-cm.
type customization struct {
	Discovery   string `json:"discovery.lua"`
	Definitions []struct {
		Name   string `json:"name"`
		Action string `json:"action.lua"`
	} `json:"definitions"`
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(charts + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

func shipped(t *testing.T) customization {
	t.Helper()
	var patch struct {
		Data map[string]string `json:"data"`
	}
	read(t, "argocd/argocd-cm.yaml", &patch)
	var out customization
	if err := yaml.UnmarshalStrict([]byte(patch.Data["resource.customizations.actions.flagger.app_Canary"]), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// run runs a script on an object. Strings, io and all that can end a process are not there.
func run(t *testing.T, script string, obj, params map[string]any) any {
	t.Helper()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	l.SetGlobal("obj", toLua(l, obj))
	if params != nil { // an older Argo CD knows none
		l.SetGlobal("actionParams", toLua(l, params))
	}
	if err := l.DoString(script); err != nil {
		t.Fatal(err)
	}
	return fromLua(l.Get(-1))
}

func toLua(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		out := l.NewTable()
		for key, value := range v {
			out.RawSetString(key, toLua(l, value))
		}
		return out
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
}

func fromLua(v lua.LValue) any {
	switch v := v.(type) {
	case *lua.LTable:
		if n := v.Len(); n > 0 {
			out := make([]any, n)
			for i := range out {
				out[i] = fromLua(v.RawGetInt(i + 1))
			}
			return out
		}
		out := map[string]any{}
		v.ForEach(func(key, value lua.LValue) { out[key.String()] = fromLua(value) })
		return out
	case lua.LString:
		return string(v)
	case lua.LBool:
		return bool(v)
	default:
		return nil
	}
}

// canary is one with a status.
func canary(status map[string]any) map[string]any {
	out := map[string]any{"metadata": map[string]any{"namespace": "test", "name": "podinfo"}}
	if status != nil {
		out["status"] = status
	}
	return out
}

// TestDiscovery offers what can be done in each state.
func TestDiscovery(t *testing.T) {
	script := shipped(t).Discovery
	step := map[string]any{"index": 2}
	gate := map[string]any{"type": "confirm-promotion"}
	deleted := canary(map[string]any{"phase": "Succeeded"})
	deleted["metadata"].(map[string]any)["deletionTimestamp"] = "2026-01-01T12:00:00Z"
	for name, tc := range map[string]struct {
		obj  map[string]any
		want []string
	}{
		"new":          {canary(nil), nil},
		"initializing": {canary(map[string]any{"phase": "Initializing"}), []string{"pause"}},
		"at rest":      {canary(map[string]any{"phase": "Succeeded"}), []string{"pause", "rollback"}},
		"failed":       {canary(map[string]any{"phase": "Failed"}), []string{"pause", "retry", "rollback"}},
		"in a step":    {canary(map[string]any{"phase": "Progressing", "step": step}), []string{"abort", "advance", "pause", "promote", "rollback"}},
		"before the first step": {canary(map[string]any{"phase": "Progressing", "step": map[string]any{"index": 0}}),
			[]string{"abort", "pause", "promote", "rollback"}},
		"paused":    {canary(map[string]any{"phase": "Progressing", "step": step, "paused": true}), []string{"abort", "promote", "resume", "rollback"}},
		"at a gate": {canary(map[string]any{"phase": "WaitingPromotion", "step": step, "gate": gate}), []string{"abort", "approve", "pause", "promote", "rollback"}},
		"approved": {canary(map[string]any{"phase": "WaitingPromotion", "step": map[string]any{"index": 2, "approved": "confirm-promotion"}, "gate": gate}),
			[]string{"abort", "pause", "promote", "rollback"}},
		"promoting": {canary(map[string]any{"phase": "Promoting", "step": step}), []string{"pause"}},
		"deleted":   {deleted, nil},
	} {
		t.Run(name, func(t *testing.T) {
			all, ok := run(t, script, tc.obj, nil).(map[string]any)
			if !ok || len(all) != len(shipped(t).Definitions) {
				t.Fatalf("it offers %v", all)
			}
			var got []string
			for name, a := range all {
				a := a.(map[string]any)
				if a["disabled"] == false {
					got = append(got, name)
				}
				if a["displayName"] == nil || len(a["params"].([]any)) == 0 {
					t.Errorf("%s: %v", name, a)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestActions has each action create a CanaryAction that the CRD takes.
func TestActions(t *testing.T) {
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema struct {
						Properties struct {
							Spec struct {
								Properties map[string]struct {
									Enum []string `json:"enum"`
								} `json:"properties"`
							} `json:"spec"`
						} `json:"properties"`
					} `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	read(t, "sluice/crds/sluice.dev_canaryactions.yaml", &crd)
	fields := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties.Spec.Properties
	kinds := map[string]string{
		"pause": "Pause", "resume": "Resume", "promote": "Promote", "abort": "Abort", "retry": "Retry", "approve": "Approve", "advance": "Advance", "rollback": "Rollback",
	}
	for _, d := range shipped(t).Definitions {
		t.Run(d.Name, func(t *testing.T) {
			for _, tc := range []struct {
				status, params map[string]any
				want           map[string]any
			}{
				{nil, nil, map[string]any{}},
				{map[string]any{"lastAppliedSpec": "s2-a"}, map[string]any{"reason": "customers complain"}, map[string]any{"revision": "s2-a", "reason": "customers complain"}},
			} {
				if d.Name == "rollback" && tc.params != nil {
					tc.params["toRevision"], tc.want["toRevision"] = "s2-0", "s2-0"
				}
				tc.want["canary"], tc.want["action"] = "podinfo", kinds[d.Name]
				want := []any{map[string]any{"operation": "create", "resource": map[string]any{
					"apiVersion": "sluice.dev/v1alpha1", "kind": "CanaryAction",
					"metadata": map[string]any{"namespace": "test", "generateName": "podinfo-"}, "spec": tc.want,
				}}}
				if diff := cmp.Diff(want, run(t, d.Action, canary(tc.status), tc.params)); diff != "" {
					t.Errorf("-want +got\n%s", diff)
				}
				for field := range tc.want {
					if _, known := fields[field]; !known {
						t.Errorf("the CRD has no spec.%s", field)
					}
				}
			}
			if !slices.Contains(fields["action"].Enum, kinds[d.Name]) {
				t.Errorf("the CRD has no action %q", kinds[d.Name])
			}
		})
	}
}
