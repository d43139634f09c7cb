// Package webhook sends alerts as JSON of our own to any HTTP endpoint, signed like hooks where there is a
// key. The document and the
// headers are part of the product's interface: see docs/alerts.md.
package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/webhooks"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// Version is the version of the document. Fields are only ever added to it.
const Version = "sluice.dev/alert/v1"

// Payload is what is posted.
type Payload struct {
	Version   string        `json:"version"`
	Title     string        `json:"title"`
	Text      string        `json:"text"`
	Severity  string        `json:"severity"`
	Reason    string        `json:"reason"`
	Time      string        `json:"time"`
	Cluster   string        `json:"cluster,omitempty"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Target    Target        `json:"target"`
	Phase     string        `json:"phase"`
	Release   *Release      `json:"release,omitempty"`
	Checks    []Check       `json:"checks,omitempty"`
	Links     []alerts.Link `json:"links,omitempty"`
	Repeated  int           `json:"repeated,omitempty"`
}

// Target is the workload that is released.
type Target struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Release is the release that an alert belongs to.
type Release struct {
	ID           string `json:"id"`
	Revision     string `json:"revision"`
	From         string `json:"from,omitempty"`
	To           string `json:"to,omitempty"`
	Weight       int32  `json:"weight"`
	Step         int32  `json:"step,omitempty"`
	Steps        int32  `json:"steps,omitempty"`
	FailedChecks int32  `json:"failedChecks"`
	Threshold    int32  `json:"threshold,omitempty"`
	StartedAt    string `json:"startedAt,omitempty"`
	Seconds      int64  `json:"seconds,omitempty"`
	Final        bool   `json:"final"`
}

// Check is a check that speaks against the release.
type Check struct {
	Name    string `json:"name"`
	Query   string `json:"query,omitempty"`
	Value   string `json:"value,omitempty"`
	Range   string `json:"range,omitempty"`
	Verdict string `json:"verdict"`
	Message string `json:"message,omitempty"`
}

type sender struct {
	poster *alerts.Poster
	token  string
	key    []byte
	clock  clock.PassiveClock
}

// New gives a Sender to the endpoint at the address. A token is sent as "Authorization: Bearer".
func New(r alerts.Receiver, kit alerts.Kit) (alerts.Sender, error) {
	poster, err := alerts.NewPoster(r, kit)
	if err != nil {
		return nil, err
	}
	if kit.Clock == nil {
		kit.Clock = clock.RealClock{}
	}
	return &sender{poster: poster, token: r.Token, key: r.Key, clock: kit.Clock}, nil
}

// Send posts a message.
func (s *sender) Send(ctx context.Context, m alerts.Message) error {
	body, err := alerts.Encode(Build(m))
	if err != nil {
		return alerts.Permanent(s.poster.To(), err)
	}
	digest := sha256.Sum256(body)
	headers := map[string]string{webhooks.KeyHeader: hex.EncodeToString(digest[:16])}
	if s.token != "" {
		headers["Authorization"] = "Bearer " + s.token
	}
	if len(s.key) > 0 {
		headers[webhooks.SignatureHeader] = webhooks.Sign(s.key, s.clock.Now(), body)
	}
	_, err = s.poster.PostBody(ctx, body, headers)
	return err
}

// Build is a message as a document.
func Build(m alerts.Message) Payload {
	a := m.Alert
	out := Payload{
		Version: Version, Title: m.Title, Text: m.Text, Severity: string(a.Severity), Reason: a.Reason, Time: stamp(a.Time),
		Cluster: a.Cluster, Namespace: a.Namespace, Name: a.Name, Target: Target{Kind: a.TargetKind, Name: a.TargetName},
		Phase: string(a.Phase), Checks: checks(a.Checks), Links: m.Links, Repeated: m.Repeated,
	}
	if a.Release == "" {
		return out
	}
	out.Release = &Release{
		ID: a.Release, Revision: a.Revision, From: a.From, To: a.To, Weight: a.Weight, Step: a.Step, Steps: a.Steps,
		FailedChecks: a.FailedChecks, Threshold: a.Threshold, StartedAt: stamp(a.Started), Final: a.Final,
	}
	if !a.Started.IsZero() {
		out.Release.Seconds = int64(a.Time.Sub(a.Started).Seconds())
	}
	return out
}

func checks(of []v1beta1.CheckStatus) []Check {
	var out []Check
	for _, c := range of {
		out = append(out, Check{Name: c.Name, Query: c.Query, Value: c.Value, Range: c.Range, Verdict: string(c.Verdict), Message: c.Message})
	}
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
