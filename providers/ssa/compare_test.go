package ssa

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContains(t *testing.T) {
	type m = map[string]any
	type l = []any
	for name, tc := range map[string]struct {
		want, got          any
		wantPlain, wantPro bool
	}{
		"equal":                 {m{"a": int64(1)}, m{"a": int64(1)}, true, true},
		"more in live":          {m{"a": int64(1)}, m{"a": int64(1), "b": "x"}, true, true},
		"missing in live":       {m{"a": "x"}, m{}, false, false},
		"zero and absent":       {m{"weight": int64(0)}, m{}, false, true},
		"int and float":         {m{"a": int64(1)}, m{"a": 1.0}, true, true},
		"element extended":      {l{m{"a": "x"}}, l{m{"a": "x", "b": "y"}}, true, false},
		"element zero, absent":  {l{m{"h": "c", "weight": int64(0)}}, l{m{"h": "c"}}, false, true},
		"element absent, set":   {l{m{"h": "c"}}, l{m{"h": "c", "weight": int64(5)}}, true, false},
		"element absent, zero":  {l{m{"h": "c"}}, l{m{"h": "c", "weight": int64(0)}}, true, true},
		"longer list":           {l{"a"}, l{"a", "b"}, false, false},
		"order matters":         {l{"a", "b"}, l{"b", "a"}, false, false},
		"named, one more":       {l{m{"name": "c"}}, l{m{"name": "x"}, m{"name": "c", "image": "i"}}, true, false},
		"named, one gone":       {l{m{"name": "c"}, m{"name": "d"}}, l{m{"name": "c"}}, false, false},
		"named, one changed":    {l{m{"name": "c", "image": "i"}}, l{m{"name": "c", "image": "j"}}, false, false},
		"name used twice":       {l{m{"name": "v", "p": "1"}, m{"name": "v", "p": "2"}}, l{m{"name": "v", "p": "1"}, m{"name": "v", "p": "2"}}, true, true},
		"empty object, missing": {m{"emptyDir": m{}}, m{}, false, false},
		"kinds differ":          {m{"a": l{}}, m{"a": m{}}, false, false},
		"false is not absent":   {m{"automount": false}, m{}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (comparison{}).contains(tc.want, tc.got); got != tc.wantPlain {
				t.Errorf("plain: %v", got)
			}
			if got := (comparison{proto: true}).contains(tc.want, tc.got); got != tc.wantPro {
				t.Errorf("proto: %v", got)
			}
		})
	}
}

func TestNormalize(t *testing.T) {
	got := map[string]any{}
	err := json.Unmarshal([]byte(`{"apiVersion":"apps/v1","kind":"Deployment",
		"metadata":{"name":"a","creationTimestamp":null,"uid":"u","resourceVersion":"4","managedFields":[{}],
			"annotations":{"sluice.dev/applied":"1-x","k":"v"}},
		"spec":{"strategy":{},"template":{"metadata":{"creationTimestamp":null},
			"spec":{"containers":[{"name":"c","resources":{}}],"volumes":[{"emptyDir":{}}]}}},
		"status":{"replicas":1}}`), &got)
	if err != nil {
		t.Fatal(err)
	}
	normalize(got)
	type m = map[string]any
	want := m{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": m{"name": "a", "annotations": m{"k": "v"}},
		"spec": m{"template": m{"metadata": m{}, "spec": m{
			"containers": []any{m{"name": "c"}}, "volumes": []any{m{"emptyDir": m{}}},
		}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
