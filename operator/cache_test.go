package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestCacheIsSlim holds what the operator's cache has of the objects of a cluster, most of which are nobody's who releases
// anything: no managed fields, no template that is not packed, no contents of configs, no endpoints of others.
func TestCacheIsSlim(t *testing.T) {
	options := managerOptions(nil, options{}, wiring{}, http.NotFoundHandler(), http.NotFoundHandler()).Cache
	by := map[string]cache.ByObject{}
	for kind, settings := range options.ByObject {
		by[fmt.Sprintf("%T", kind)] = settings
	}
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}}
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Command: []string{strings.Repeat("x", 8<<10)}}}}}
	for _, o := range []client.Object{
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: template}},
		&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Template: template}},
		&corev1.Service{ObjectMeta: meta},
		&discoveryv1.EndpointSlice{ObjectMeta: meta, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}}},
		&metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap"}, ObjectMeta: meta},
	} {
		transform := options.DefaultTransform
		kind := fmt.Sprintf("%T", o)
		if strings.HasSuffix(kind, "PartialObjectMetadata") {
			kind = "*v1.ConfigMap"
		}
		if own := by[kind]; own.Transform != nil {
			transform = own.Transform
		}
		got, err := transform(o.DeepCopyObject())
		if err != nil {
			t.Fatal(err)
		}
		slim := got.(client.Object)
		if len(slim.GetManagedFields()) > 0 {
			t.Errorf("%s keeps its managed fields", kind)
		}
		switch slim := slim.(type) {
		case *appsv1.Deployment:
			if len(slim.Spec.Template.Spec.Containers) > 0 {
				t.Error("the template of a Deployment is not packed")
			}
		case *appsv1.StatefulSet:
			if len(slim.Spec.Template.Spec.Containers) > 0 {
				t.Error("the template of a StatefulSet is not packed")
			}
		case *discoveryv1.EndpointSlice:
			if len(slim.Endpoints[0].Addresses) > 0 {
				t.Error("an EndpointSlice keeps its addresses")
			}
		}
	}
	if of := by["*v1.EndpointSlice"].Label; of == nil || of.Matches(labels.Set{"app": "somebody's"}) {
		t.Error("endpoints of Services are read that no Canary has")
	}
	if by["*v1.Secret"].Transform == nil {
		t.Error("Secrets are kept as they are")
	}
}
