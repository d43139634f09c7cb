package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	eventsv1client "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
)

// Events tell people; they must not hold up what moves traffic. When hundreds
// of releases begin at once, theirs are spread over the seconds after it.
const (
	eventsPerSecond = 100
	eventsBurst     = 10
)

// newRecorder sends events until ctx ends.
func newRecorder(ctx context.Context, config *rest.Config, scheme *runtime.Scheme) (events.EventRecorder, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = eventsPerSecond, eventsBurst
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := eventsv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of events: %w", err)
	}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return broadcaster.NewRecorder(scheme, "sluice"), nil
}
