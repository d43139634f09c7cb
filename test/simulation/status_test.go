package simulation

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// traceStatus adds to the log what a write of the status changes.
func (w *world) traceStatus(before, after *v1beta1.CanaryStatus) {
	if !w.keep || !*statusFlag {
		return
	}
	var out []string
	was, is := fields(before), fields(after)
	for _, name := range sortedKeys(was) {
		if _, still := is[name]; !still {
			out = append(out, name+" is gone")
		}
	}
	for _, name := range sortedKeys(is) {
		if !reflect.DeepEqual(was[name], is[name]) {
			out = append(out, fmt.Sprintf("%s %v", name, is[name]))
		}
	}
	w.trace("status: %s", strings.Join(out, ", "))
}

// fields are the fields of a status and its conditions, each as JSON.
func fields(st *v1beta1.CanaryStatus) map[string]string {
	raw, _ := json.Marshal(st) // it is made of nothing that can't be encoded
	values := map[string]json.RawMessage{}
	_ = json.Unmarshal(raw, &values) // it was encoded just now
	delete(values, "conditions")
	out := map[string]string{}
	for name, value := range values {
		out[name] = string(value)
	}
	for _, c := range st.Conditions {
		out["condition "+string(c.Type)] = fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	}
	return out
}
