package cli

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/knative"
	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/kube"
	"github.com/sluice-delivery/sluice/operator/surroundings"
	"github.com/sluice-delivery/sluice/operator/view"
)

// connection is a client with the rights of whoever runs the command, and the namespace that is meant.
type connection struct {
	client.WithWatch

	namespace string
	// explicit is true where the namespace was named on the command line.
	explicit bool
}

// connect makes no request: what is asked for later says what is wrong.
func (a *app) connect() (*connection, error) {
	config, err := a.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("no way to reach Kubernetes: %w", err)
	}
	namespace, explicit, err := a.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("namespace: %w", err)
	}
	config.UserAgent = "kubectl-sluice/" + a.Version
	// A person's few requests need no limit of the client's own.
	config.QPS, config.Burst = -1, 0
	config.WarningHandler = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, v1alpha1.AddToScheme, knative.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("scheme: %w", err)
		}
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: kube.KnownMapper(scheme)})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return &connection{WithWatch: c, namespace: namespace, explicit: explicit && *a.flags.Namespace != ""}, nil
}

// canary reads one Canary.
func (c *connection) canary(ctx context.Context, name string) (*v1beta1.Canary, error) {
	out := &v1beta1.Canary{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, out); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("there is no Canary %s in namespace %s", name, c.namespace)
		}
		return nil, fmt.Errorf("read Canary %s/%s: %w", c.namespace, name, err)
	}
	return out, nil
}

// surroundings reads what else there is to say of a Canary. What may not be read is left out, and said so where it would
// be missed.
func (c *connection) surroundings(ctx context.Context, of *v1beta1.Canary) (view.Input, error) {
	in, _, err := surroundings.Read(ctx, c, of)
	return in, err
}

// object reads a workload of the kind of a Canary's target, nil if there is none.
func (c *connection) object(ctx context.Context, of *v1beta1.Canary, name string) (client.Object, error) {
	return surroundings.Object(ctx, c, of, name)
}

// release reads all that there is to say of a Canary.
func (a *app) release(ctx context.Context, c *connection, name string) (*view.Release, error) {
	of, err := c.canary(ctx, name)
	if err != nil {
		return nil, err
	}
	in, err := c.surroundings(ctx, of)
	if err != nil {
		return nil, err
	}
	in.Now, in.Place = a.Clock.Now(), a.placeOf(ctx, c, of)
	r := view.Of(in)
	return &r, nil
}

// whoami is the name of the user, empty where the API server does not tell.
func (c *connection) whoami(ctx context.Context) string {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return ""
	}
	return review.Status.UserInfo.Username
}
