package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	istioapi "istio.io/api/networking/v1"
	istionetworking "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// testRemoteMesh releases with the mesh's objects in another cluster: one application
// without a VirtualService, and one with a user's.
func testRemoteMesh(t *testing.T, c *cluster.Cluster, api client.Client, istioCRDs string) {
	remote, err := c.StartRemote(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.InstallCRDs(t.Context(), istioCRDs); err != nil {
		t.Fatal(err)
	}
	mesh, err := remote.Client(api.Scheme())
	if err != nil {
		t.Fatal(err)
	}
	for name, users := range map[string]*istionetworking.VirtualService{
		"remote-mesh": nil,
		"remote-mesh-adopted": {Spec: istioapi.VirtualService{
			Hosts: []string{"adopted.example.com"},
			Http:  []*istioapi.HTTPRoute{{Route: []*istioapi.HTTPRouteDestination{{Destination: &istioapi.Destination{Host: app}}}}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &remoteStage{stage: &stage{t: t, api: api, namespace: name}, mesh: mesh}
			s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
			s.must(mesh.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
			if users != nil {
				users.Namespace, users.Name = name, app
				s.must(mesh.Create(t.Context(), users))
			}
			operate(t, c, "-namespace", name, "-kubeconfig-service-mesh", remote.Kubeconfig())
			s.release(users != nil)
		})
	}
}

type remoteStage struct {
	*stage

	mesh client.Client
}

func (s *remoteStage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *remoteStage) release(adopted bool) {
	s.create((&trial{namespace: s.namespace}).deployment(oldImage))
	canary := s.canary(v1beta1.CoverageReport)
	canary.Spec.Service.Name = ""
	s.create(canary)
	s.awaitPhase(v1beta1.PhaseInitialized)
	s.awaitRoute(100, 0)
	vs, rule := &istionetworking.VirtualService{}, &istionetworking.DestinationRule{}
	s.must(s.mesh.Get(s.t.Context(), s.key(app), vs))
	if len(vs.OwnerReferences) > 0 {
		s.t.Errorf("the garbage collector would remove it: it belongs to %+v", vs.OwnerReferences)
	}
	if err := s.api.Get(s.t.Context(), s.key(app), &istionetworking.VirtualService{}); !apierrors.IsNotFound(err) {
		s.t.Errorf("a VirtualService in the Canary's cluster: %v", err)
	}
	if err := s.api.Get(s.t.Context(), s.key(app+"-canary"), &istionetworking.DestinationRule{}); !apierrors.IsNotFound(err) {
		s.t.Errorf("a DestinationRule in the Canary's cluster: %v", err)
	}

	// Somebody's change there is an event here.
	vs.Spec.Http[0].Route[0].Weight, vs.Spec.Http[0].Route[1].Weight = 0, 100
	s.must(s.mesh.Update(s.t.Context(), vs))
	s.awaitRoute(100, 0)

	s.must(s.api.Patch(s.t.Context(), (&trial{namespace: s.namespace}).deployment(oldImage), client.RawPatch(types.JSONPatchType,
		[]byte(`[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "`+newImage+`"}]`))))
	s.awaitRoute(50, 50)
	s.awaitPhase(v1beta1.PhaseSucceeded)
	s.awaitRoute(100, 0)

	s.must(s.api.Delete(s.t.Context(), canary))
	s.await("the end of the Canary", func(ctx context.Context) error {
		err := s.api.Get(ctx, s.key(app), canary)
		if err == nil {
			err = errors.New("it is there")
		}
		return client.IgnoreNotFound(err)
	})
	err := s.mesh.Get(s.t.Context(), s.key(app), vs)
	switch {
	case !adopted && !apierrors.IsNotFound(err):
		s.t.Errorf("the VirtualService was left behind: %v", err)
	case adopted && err != nil:
		s.t.Errorf("the user's VirtualService: %v", err)
	case adopted && (len(vs.Spec.Http[0].Route) != 1 || vs.Spec.Http[0].Route[0].Destination.Host != app):
		s.t.Errorf("the user's VirtualService was not given back: %v", vs.Spec.Http)
	}
	if err := s.mesh.Get(s.t.Context(), s.key(app+"-canary"), rule); !apierrors.IsNotFound(err) {
		s.t.Errorf("a DestinationRule was left behind: %v", err)
	}
}

// awaitRoute waits until the mesh routes so.
func (s *remoteStage) awaitRoute(primary, canary int32) {
	s.t.Helper()
	s.await("the route", func(ctx context.Context) error {
		vs := &istionetworking.VirtualService{}
		if err := s.mesh.Get(ctx, s.key(app), vs); err != nil {
			return err
		}
		if p, c := shares(vs); p != primary || c != canary {
			return fmt.Errorf("it is %d and %d", p, c)
		}
		return nil
	})
}
