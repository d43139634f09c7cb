// Package ingresses has what ingress controllers have in common that share out traffic by an Ingress of ours beside that of
// the user, which spec.ingressRef names and which stays as it is.
package ingresses

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Apex is the name of the Service that the user's Ingress leads to.
func Apex(c *v1beta1.Canary) string {
	apex, _, _ := c.ServiceNames()
	return apex
}

// Name is that of our Ingress, which is Flagger's. It is empty where the spec names no Ingress, so that nothing is found.
func Name(c *v1beta1.Canary) string {
	if c.Spec.IngressRef == nil {
		return ""
	}
	return c.Spec.IngressRef.Name + "-canary"
}

// CheckRef refuses a spec that does not name an Ingress, with a providers.InvalidError.
func CheckRef(provider string, c *v1beta1.Canary) error {
	ref := c.Spec.IngressRef
	switch {
	case ref == nil || ref.Name == "":
		return &providers.InvalidError{
			Field: "spec.ingressRef.name", Allowed: "provider " + provider + " needs the name of the Ingress that leads to Service " + Apex(c),
		}
	case ref.Kind != "" && ref.Kind != "Ingress":
		return &providers.InvalidError{Field: "spec.ingressRef.kind", Value: ref.Kind, Allowed: "Ingress"}
	default:
		return nil
	}
}

// Get reads an Ingress from the cache, nil where there is none.
func Get(ctx context.Context, reader client.Reader, namespace, name string) (*networkingv1.Ingress, error) {
	out := &networkingv1.Ingress{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, out)
	switch {
	case err == nil:
		return out, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	default:
		return nil, fmt.Errorf("read Ingress %s/%s: %w", namespace, name, err)
	}
}

// Users reads the user's Ingress. One that is not there is a providers.InvalidError that says that it is missing.
func Users(ctx context.Context, reader client.Reader, c *v1beta1.Canary) (*networkingv1.Ingress, error) {
	users, err := Get(ctx, reader, c.Namespace, c.Spec.IngressRef.Name)
	if err != nil || users != nil {
		return users, err
	}
	return nil, &providers.InvalidError{
		Field: "spec.ingressRef.name", Value: c.Spec.IngressRef.Name, Missing: true,
		Allowed: "an Ingress of namespace " + c.Namespace + "; there is none of that name",
	}
}
