// Package events sends the events of Canaries, so that no tenant's hold up another's.
package events

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	kubeevents "k8s.io/client-go/tools/events"
	recording "k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
)

// Events tell people; they must not hold up what moves traffic. When hundreds
// of releases begin at once, theirs are spread over the seconds after it.
const (
	perSecond = 100
	burst     = 10
	// mostWaiting is how many may wait. If there are more, the namespace with most of them loses some.
	mostWaiting = 4096
)

const (
	// source is the component that events come from: Flagger's, as event exporters choose by it.
	source = "flagger"
	// controller is who reports them.
	controller = "sluice"
)

// Events of one Canary are told apart as long as they are fewer than these: a release of a hundred steps has some
// hundreds, and each of them says something else.
const (
	eventsOfOneCanary   = 1000
	moreOfThemPerSecond = 1
)

// NewRecorder gives a recorder of events that sends them until ctx ends. It fails where the config makes no client.
func NewRecorder(ctx context.Context, config *rest.Config, scheme *runtime.Scheme) (kubeevents.EventRecorder, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // they are handed out no faster than that
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of events: %w", err)
	}
	to := recorderTo(ctx, &corev1client.EventSinkImpl{Interface: client.Events("")}, scheme)
	turns := newTurns(to, scheme, mostWaiting)
	pace := flowcontrol.NewTokenBucketRateLimiter(perSecond, burst)
	go turns.run(ctx, pace)
	return turns, nil
}

// recorderTo sends events of core/v1, as Flagger's are: those of events.k8s.io have no source, no count and no
// times of the first and the last, which exporters and kubectl's older versions go by.
func recorderTo(ctx context.Context, sink recording.EventSink, scheme *runtime.Scheme) kubeevents.EventRecorder {
	broadcaster := recording.NewBroadcaster(recording.WithContext(ctx), recording.WithCorrelatorOptions(recording.CorrelatorOptions{
		BurstSize: eventsOfOneCanary, QPS: moreOfThemPerSecond, MaxEvents: eventsOfOneCanary,
	}))
	broadcaster.StartRecordingToSink(reporting{sink})
	return recording.NewEventRecorderAdapter(broadcaster.NewRecorder(scheme, corev1.EventSource{Component: source}))
}

// reporting says who reports events, whatever component they come from.
type reporting struct{ recording.EventSink }

// Create implements recording.EventSink.
func (r reporting) Create(e *corev1.Event) (*corev1.Event, error) {
	e.ReportingController = controller
	return r.EventSink.Create(e)
}
