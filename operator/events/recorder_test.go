package events

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

// eventsSink keeps what it is sent.
type eventsSink struct{ sent chan *corev1.Event }

func (s *eventsSink) Create(e *corev1.Event) (*corev1.Event, error) {
	s.sent <- e.DeepCopy()
	return e, nil
}
func (s *eventsSink) Update(e *corev1.Event) (*corev1.Event, error) { return s.Create(e) }
func (s *eventsSink) Patch(e *corev1.Event, _ []byte) (*corev1.Event, error) {
	return s.Create(e)
}

// Event exporters choose by the source and go by the times of core/v1, which events of events.k8s.io do not have. Of a
// long release each event is there by itself.
func TestEventsAreThoseThatExportersKnow(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sink := &eventsSink{sent: make(chan *corev1.Event, 300)}
	recorder := recorderTo(ctx, sink, scheme)
	c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo", UID: "u"}}
	const steps = 200
	for i := range steps {
		recorder.Eventf(c, nil, corev1.EventTypeNormal, "WeightRaised", "Reconcile", "%s", fmt.Sprintf("step %d", i))
	}
	recorder.Eventf(c, nil, corev1.EventTypeWarning, "AnalysisFailed", "Reconcile", "%s", "rolled back")
	for i := range steps + 1 {
		var e *corev1.Event
		select {
		case e = <-sink.sent:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d events came, want %d", i, steps+1)
		}
		want, kind, reason := fmt.Sprintf("step %d", i), corev1.EventTypeNormal, "WeightRaised"
		if i == steps {
			want, kind, reason = "rolled back", corev1.EventTypeWarning, "AnalysisFailed"
		}
		if e.Message != want || e.Type != kind || e.Reason != reason {
			t.Fatalf("%s %s %q, want %s %s %q", e.Type, e.Reason, e.Message, kind, reason, want)
		}
		if e.Source.Component != "flagger" || e.ReportingController != "sluice" || e.Count != 1 || e.FirstTimestamp.IsZero() || e.LastTimestamp.IsZero() {
			t.Fatalf("source %+v, reported by %s, count %d, first %v, last %v", e.Source, e.ReportingController, e.Count, e.FirstTimestamp, e.LastTimestamp)
		}
		if e.InvolvedObject.Kind != "Canary" || e.InvolvedObject.APIVersion != "flagger.app/v1beta1" || e.InvolvedObject.Name != "podinfo" || e.Namespace != "test" {
			t.Fatalf("it is about %+v in %s", e.InvolvedObject, e.Namespace)
		}
	}
}
