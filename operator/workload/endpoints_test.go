package workload_test

import (
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/workload"
)

func endpointSlice(family discoveryv1.AddressType, ready ...*bool) discoveryv1.EndpointSlice {
	s := discoveryv1.EndpointSlice{AddressType: family}
	for _, r := range ready {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: r}})
	}
	return s
}

func TestReadyEndpoints(t *testing.T) {
	yes, no := new(true), new(false)
	v4, v6 := discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6
	for name, tc := range map[string]struct {
		slices []discoveryv1.EndpointSlice
		want   int32
	}{
		"none":                        {want: 0},
		"empty":                       {slices: []discoveryv1.EndpointSlice{endpointSlice(v4)}, want: 0},
		"some are not ready":          {slices: []discoveryv1.EndpointSlice{endpointSlice(v4, yes, no, yes)}, want: 2},
		"unknown is ready":            {slices: []discoveryv1.EndpointSlice{endpointSlice(v4, nil, no)}, want: 1},
		"several slices":              {slices: []discoveryv1.EndpointSlice{endpointSlice(v4, yes), endpointSlice(v4, yes, yes)}, want: 3},
		"two families, the same pods": {slices: []discoveryv1.EndpointSlice{endpointSlice(v4, yes, yes), endpointSlice(v6, yes, yes)}, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := workload.ReadyEndpoints(tc.slices); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestReachable(t *testing.T) {
	ready := release.Workload{Exists: true, Replicas: 4, Available: 4, Ready: true}
	waiting := release.Workload{Exists: true, Replicas: 4, Available: 2, Message: "2 of 4 pods are available"}
	for name, tc := range map[string]struct {
		of            release.Workload
		endpoints     int32
		threshold     int32
		wantReady     bool
		wantAvailable int32
		wantMessage   string
	}{
		"all":                              {of: ready, endpoints: 4, threshold: 100, wantReady: true, wantAvailable: 4},
		"more, as old ones are left":       {of: ready, endpoints: 6, threshold: 100, wantReady: true, wantAvailable: 4},
		"fewer than the threshold":         {of: ready, endpoints: 3, threshold: 100, wantAvailable: 3, wantMessage: "3 of 4 pods are endpoints of Service podinfo-canary"},
		"as many as the threshold":         {of: ready, endpoints: 3, threshold: 75, wantReady: true, wantAvailable: 3},
		"none, though the threshold is 0":  {of: ready, endpoints: 0, threshold: 0, wantAvailable: 0, wantMessage: "0 of 4 pods are endpoints"},
		"not ready for a reason of itself": {of: waiting, endpoints: 1, threshold: 100, wantAvailable: 1, wantMessage: "2 of 4 pods are available"},
	} {
		t.Run(name, func(t *testing.T) {
			got := workload.Reachable(tc.of, tc.endpoints, tc.threshold, "podinfo-canary")
			if got.Ready != tc.wantReady || got.Available != tc.wantAvailable || !strings.HasPrefix(got.Message, tc.wantMessage) {
				t.Errorf("got %+v", got)
			}
		})
	}
}
