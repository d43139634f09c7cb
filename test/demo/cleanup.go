package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/rig"
)

// How long the parts of a cluster's namespace, and a Canary, may take to go.
const (
	canaryLimit    = time.Minute
	namespaceLimit = 3 * time.Minute
)

// cleanUp removes all that the demo has made, in the cluster and on this machine. A second Ctrl-C ends it; then the error
// says how to go on. That ctx has ended does not.
func (d *demo) cleanUp(ctx context.Context) error {
	ctx, cancel := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	fmt.Fprintf(d.out, "\nRemoving what the demo has made in context %s.\n", d.context)
	var errs []error
	errs = append(errs, d.removeCanary(ctx))
	for _, p := range d.programs {
		p.Stop(10 * time.Second)
	}
	errs = append(errs, d.removeNamespace(ctx), d.removeCRDs(ctx))
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("not all was removed; CLEAN=1 CLUSTER=current make demo tries it again: %w", err)
	}
	fmt.Fprintln(d.out, "Nothing of it is left.")
	return nil
}

// removeCanary has the operator give back what the Canary has taken. Where none does, its finalizer would keep the namespace.
func (d *demo) removeCanary(ctx context.Context) error {
	c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: demoNamespace, Name: rig.Name}}
	if mine, err := d.isOurs(ctx, &corev1.Namespace{}, demoNamespace); err != nil || !mine {
		return err
	}
	switch err := d.api.Delete(ctx, c); {
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		return nil
	case err != nil:
		return fmt.Errorf("remove the Canary: %w", err)
	}
	if d.programs != nil {
		err := d.awaitGone(ctx, c, canaryLimit)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	err := d.api.Patch(ctx, c, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))
	return client.IgnoreNotFound(err)
}

// removeNamespace removes the demo's namespace with all in it, and nobody else's.
func (d *demo) removeNamespace(ctx context.Context) error {
	n := &corev1.Namespace{}
	if mine, err := d.isOurs(ctx, n, demoNamespace); err != nil || !mine {
		return err
	}
	if err := d.api.Delete(ctx, n, client.Preconditions{UID: &n.UID}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("remove namespace %s: %w", demoNamespace, err)
	}
	return d.awaitGone(ctx, n, namespaceLimit)
}

// removeCRDs removes the kinds that the demo has made. Those that somebody has begun to use stay, as their objects would go
// with them.
func (d *demo) removeCRDs(ctx context.Context) error {
	var crds apiextensionsv1.CustomResourceDefinitionList
	if err := d.api.List(ctx, &crds, client.MatchingLabels{managedBy: managedByDemo}); err != nil {
		return fmt.Errorf("look for the kinds of Sluice: %w", err)
	}
	objects, err := metadata.NewForConfig(d.config)
	if err != nil {
		return err
	}
	var errs []error
	for i := range crds.Items {
		crd := &crds.Items[i]
		of := schema.GroupVersionResource{Group: crd.Spec.Group, Version: crd.Spec.Versions[0].Name, Resource: crd.Spec.Names.Plural}
		switch list, err := objects.Resource(of).List(ctx, metav1.ListOptions{Limit: 1}); {
		case err != nil && !apierrors.IsNotFound(err):
			errs = append(errs, fmt.Errorf("look for objects of %s: %w", crd.Name, err))
			continue
		case err == nil && len(list.Items) > 0:
			fmt.Fprintf(d.out, "CustomResourceDefinition %s stays, as somebody uses it: %s/%s\n", crd.Name, list.Items[0].Namespace, list.Items[0].Name)
			continue
		}
		if err := d.api.Delete(ctx, crd, client.Preconditions{UID: &crd.UID}); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("remove CustomResourceDefinition %s: %w", crd.Name, err))
			continue
		}
		errs = append(errs, d.awaitGone(ctx, crd, canaryLimit))
	}
	return errors.Join(errs...)
}

// isOurs reads an object and tells whether it is there and has the demo's mark.
func (d *demo) isOurs(ctx context.Context, o client.Object, name string) (bool, error) {
	err := d.api.Get(ctx, client.ObjectKey{Name: name}, o)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", name, err)
	}
	return o.GetLabels()[managedBy] == managedByDemo, nil
}

func (d *demo) awaitGone(ctx context.Context, o client.Object, limit time.Duration) error {
	return rig.Await(ctx, fmt.Sprintf("the end of %s", o.GetName()), limit, func(ctx context.Context) error {
		err := d.api.Get(ctx, client.ObjectKeyFromObject(o), o)
		if err == nil {
			return errors.New("it is still there")
		}
		return client.IgnoreNotFound(err)
	})
}
