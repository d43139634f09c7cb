package fleet

import (
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/view"
)

// maxMessage bounds what a row says, in bytes: the page of a release has all of it.
const maxMessage = 240

// Row is as much of a release as a list shows. Its fields mean what those of view.Release do.
type Row struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	Target    string           `json:"target"`
	Provider  string           `json:"provider,omitempty"`
	Strategy  v1beta1.Strategy `json:"strategy"`
	State     view.State       `json:"state"`
	// Weight, Matched and Mirror are the canary's traffic.
	Weight  int32 `json:"weight,omitempty"`
	Matched bool  `json:"matched,omitempty"`
	Mirror  int32 `json:"mirror,omitempty"`
	// Step of Of steps; 0 of 0 where no release is under way.
	Step int32 `json:"step,omitempty"`
	Of   int32 `json:"of,omitempty"`
	// Failed of Threshold rounds of checks have failed.
	Failed    int32 `json:"failed,omitempty"`
	Threshold int32 `json:"threshold,omitempty"`
	// Changed is when phase or weight changed last, in seconds since 1970.
	Changed int64 `json:"changed,omitempty"`
	// Message says where it stands; empty at rest.
	Message  string `json:"message,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Version tells one state of the Canary from another.
	Version string `json:"v"`
}

func rowOf(c *v1beta1.Canary, now time.Time) Row {
	r := view.Of(view.Input{Canary: c, Now: now})
	out := Row{
		Namespace: r.Namespace, Name: r.Name, Target: r.Target, Provider: r.Provider, Strategy: r.Strategy, State: r.State,
		Weight: r.Traffic.Canary, Matched: r.Traffic.Matched, Mirror: r.Traffic.Mirror,
		Changed: unix(r.Changed), Revision: r.Revision, Version: c.ResourceVersion,
	}
	if r.State != view.AtRest {
		out.Message = v1beta1.OneLine(r.Message, maxMessage)
	}
	if r.Step != nil {
		out.Step, out.Of, out.Failed, out.Threshold = r.Step.Index, r.Step.Of, r.FailedChecks, r.Threshold
	}
	return out
}

func unix(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// encode is JSON in one line.
func (r Row) encode() []byte {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(err) // it has texts and numbers alone
	}
	return raw
}
