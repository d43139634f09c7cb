package rig

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
)

//go:embed manifests
var manifests embed.FS

// App is the application that is released, with its Canary, in whichever cluster.
type App struct {
	// API is a client of the cluster, without a cache.
	API client.WithWatch
	// Namespace is that of the application.
	Namespace string
}

// DeployPodinfo creates the application as it is before it has a Canary, and
// waits until it is ready. Each of edits may change its objects.
func (a *App) DeployPodinfo(ctx context.Context, edits ...func(*unstructured.Unstructured)) error {
	if err := a.Create(ctx, "podinfo.yaml", edits...); err != nil {
		return err
	}
	return a.AwaitAvailable(ctx, Name, time.Minute)
}

// AwaitAvailable waits until all pods of a Deployment are available. Its error says what their containers wait for.
func (a *App) AwaitAvailable(ctx context.Context, name string, limit time.Duration) error {
	return Await(ctx, name, limit, func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := a.API.Get(ctx, a.key(name), &d); err != nil {
			return err
		}
		if d.Status.ObservedGeneration == d.Generation && d.Status.AvailableReplicas == *d.Spec.Replicas {
			return nil
		}
		return fmt.Errorf("%d of %d pods are available%s", d.Status.AvailableReplicas, *d.Spec.Replicas, a.waiting(ctx, d.Spec.Selector.MatchLabels))
	})
}

// waiting is what containers of pods wait for, as an image that can't be pulled; empty where they wait for nothing.
func (a *App) waiting(ctx context.Context, labels map[string]string) string {
	var pods corev1.PodList
	if err := a.API.List(ctx, &pods, client.InNamespace(a.Namespace), client.MatchingLabels(labels)); err != nil {
		return ": " + err.Error()
	}
	for i := range pods.Items {
		for _, c := range pods.Items[i].Status.ContainerStatuses {
			if w := c.State.Waiting; w != nil && w.Message != "" {
				return fmt.Sprintf(": pod %s: %s: %s", pods.Items[i].Name, w.Reason, w.Message)
			}
		}
	}
	return ""
}

// Manifest are the objects of one of the rig's manifests, as they are in its file.
func Manifest(name string) ([]*unstructured.Unstructured, error) {
	file, err := manifests.Open("manifests/" + name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var out []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		u := &unstructured.Unstructured{}
		switch err := decoder.Decode(&u.Object); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, u)
	}
}

// Create creates the objects of one of the manifests in the application's
// namespace, which may exist.
func (a *App) Create(ctx context.Context, manifest string, edits ...func(*unstructured.Unstructured)) error {
	objects, err := Manifest(manifest)
	if err != nil {
		return err
	}
	for _, u := range objects {
		isNamespace := u.GetKind() == "Namespace"
		if isNamespace {
			u.SetName(a.Namespace)
		} else {
			u.SetNamespace(a.Namespace)
		}
		for _, edit := range edits {
			edit(u)
		}
		if err := a.API.Create(ctx, u); err != nil && !(isNamespace && apierrors.IsAlreadyExists(err)) {
			return fmt.Errorf("%s: %w", manifest, err)
		}
	}
	return nil
}

// Release gives the application another version and environment, as a merge
// into a Git repository would.
func (a *App) Release(ctx context.Context, version string, env ...corev1.EnvVar) error {
	var d appsv1.Deployment
	if err := a.API.Get(ctx, a.key(Name), &d); err != nil {
		return err
	}
	before := d.DeepCopy()
	c := &d.Spec.Template.Spec.Containers[0]
	c.Image = c.Image[:strings.LastIndex(c.Image, ":")+1] + version
	c.Env = env
	return a.API.Patch(ctx, &d, client.MergeFrom(before))
}

// Canary reads the Canary.
func (a *App) Canary(ctx context.Context) (*v1beta1.Canary, error) {
	var c v1beta1.Canary
	return &c, a.API.Get(ctx, a.key(Name), &c)
}

// TargetAtZero tells whether the application has no pod of its own left, only
// the primary's.
func (a *App) TargetAtZero(ctx context.Context) (bool, error) {
	var d appsv1.Deployment
	err := a.API.Get(ctx, a.key(Name), &d)
	return d.Spec.Replicas != nil && *d.Spec.Replicas == 0 && d.Status.Replicas == 0, err
}

func (a *App) key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: a.Namespace, Name: name}
}

// AwaitPhase waits until the Canary is in a phase.
func (a *App) AwaitPhase(ctx context.Context, phase v1beta1.CanaryPhase, limit time.Duration) error {
	return Await(ctx, "phase "+string(phase), limit, func(ctx context.Context) error {
		c, err := a.Canary(ctx)
		if err == nil && c.Status.Phase != phase {
			err = fmt.Errorf("it is %s with weight %d", c.Status.Phase, c.Status.CanaryWeight)
		}
		return err
	})
}
