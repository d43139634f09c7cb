package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	customizations "github.com/argoproj/argo-cd/v3/resource_customizations"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// healths is what Argo CD says of the health of Canaries, by the script that it has for them.
type healths struct{ script string }

func newHealths() (*healths, error) {
	script, err := customizations.Embedded.ReadFile(scriptOf("flagger.app", "Canary"))
	if err != nil {
		return nil, fmt.Errorf("health check of Canaries: %w", err)
	}
	return &healths{script: string(script)}, nil
}

// GetResourceHealth answers for Canaries; for other kinds the engine's own checks hold.
func (h *healths) GetResourceHealth(o *unstructured.Unstructured) (*health.HealthStatus, error) {
	if gvk := o.GroupVersionKind(); gvk.Group != "flagger.app" || gvk.Kind != "Canary" {
		return nil, nil
	}
	l := lua.NewState()
	defer l.Close()
	l.SetGlobal("obj", value(l, o.Object))
	if err := l.DoString(h.script); err != nil {
		return nil, fmt.Errorf("health.lua: %w", err)
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("health.lua answered %v", l.Get(-1))
	}
	return &health.HealthStatus{
		Status:  health.HealthStatusCode(lua.LVAsString(table.RawGetString("status"))),
		Message: lua.LVAsString(table.RawGetString("message")),
	}, nil
}

// print writes what Argo CD says of each object that it reads, a line of JSON for each.
func (h *healths) print(in io.Reader, out io.Writer) error {
	raw, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read objects: %w", err)
	}
	objects, err := kube.SplitYAML(raw)
	if err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	for _, o := range objects {
		is, err := health.GetResourceHealth(o, h)
		if err != nil {
			return fmt.Errorf("health of %s: %w", name(o), err)
		}
		if err := json.NewEncoder(out).Encode(is); err != nil {
			return err
		}
	}
	return nil
}

// value is a value of an object as Lua has it.
func value(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		t := l.NewTable()
		for k, x := range v {
			t.RawSetString(k, value(l, x))
		}
		return t
	case []any:
		t := l.NewTable()
		for _, x := range v {
			t.Append(value(l, x))
		}
		return t
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
}
