package services

import (
	"context"
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
)

// endpointsCache holds the EndpointSlices of the Services that Canaries divide
// traffic between, and of those only what is read.
func endpointsCache() cache.ByObject {
	ours, err := labels.NewRequirement(workload.BackendLabel, selection.Exists, nil)
	if err != nil {
		panic(err) // a constant is not a label
	}
	return cache.ByObject{Label: labels.NewSelector().Add(*ours), Transform: slimEndpoints}
}

// slimEndpoints drops the addresses: with thousands of pods they are most of it.
func slimEndpoints(o any) (any, error) {
	s, ok := o.(*discoveryv1.EndpointSlice)
	if !ok { // a tombstone
		return o, nil
	}
	slim := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name, Namespace: s.Namespace, UID: s.UID, ResourceVersion: s.ResourceVersion,
			Labels: map[string]string{
				discoveryv1.LabelServiceName: s.Labels[discoveryv1.LabelServiceName],
				workload.BackendLabel:        s.Labels[workload.BackendLabel],
			},
		},
		AddressType: s.AddressType,
		Endpoints:   make([]discoveryv1.Endpoint, len(s.Endpoints)),
	}
	for i, e := range s.Endpoints {
		slim.Endpoints[i].Conditions.Ready = e.Conditions.Ready
	}
	return slim, nil
}

// serviceOf is the value of serviceIndex for an EndpointSlice.
func serviceOf(o client.Object) []string {
	return []string{o.GetLabels()[discoveryv1.LabelServiceName]}
}

// observeEndpoints looks at target and primary as the mesh does: through the
// endpoints of their Services.
func (s *Share) observeEndpoints(ctx context.Context) error {
	if s.intents.Primary == nil {
		return nil
	}
	w := s.world
	s.reached = true
	a := w.Canary.GetAnalysis()
	_, primary, canary := w.Canary.ServiceNames()
	for _, side := range []struct {
		workload  *release.Workload
		service   string
		threshold int32
	}{
		{&w.Primary, primary, a.GetPrimaryReadyThreshold()},
		{&w.Target, canary, a.GetCanaryReadyThreshold()},
	} {
		if side.workload.Available == 0 {
			continue // no endpoint can make it less
		}
		endpoints, known, err := s.endpoints(ctx, side.service)
		if err != nil {
			return err
		}
		s.reached = s.reached && endpoints >= side.workload.Available
		if known {
			*side.workload = workload.Reachable(*side.workload, endpoints, side.threshold, side.service)
			continue
		}
		// Nothing is known yet, as of a Service that was just made or that another
		// version of the operator made. That is a reason to wait before more
		// traffic goes there, and none to take traffic away.
		side.workload.Unconfirmed = true
		if w.Canary.DeletionTimestamp.IsZero() && side.workload.Ready {
			side.workload.Ready, side.workload.Message = false, "the endpoints of Service "+side.service+" are not known yet"
		}
	}
	return nil
}

// endpoints is how many pods a Service leads to. known is false where nobody has written that yet.
func (s *Share) endpoints(ctx context.Context, service string) (ready int32, known bool, err error) {
	var list discoveryv1.EndpointSliceList
	err = s.part.Client.List(ctx, &list, client.InNamespace(s.world.Canary.Namespace), client.MatchingFields{serviceIndex: service}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return 0, false, fmt.Errorf("list the endpoints of Service %s: %w", service, err)
	}
	return workload.ReadyEndpoints(list.Items), len(list.Items) > 0, nil
}
