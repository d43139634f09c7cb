// Package kube has what every part needs to talk to an API server.
package kube

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Get reads an object, nil if there is none.
func Get[T any, P interface {
	*T
	client.Object
}](ctx context.Context, reader client.Reader, namespace, name string) (*T, error) {
	o := P(new(T))
	if err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read %T %s/%s: %w", o, namespace, name, err)
	}
	return (*T)(o), nil
}

// IgnoreChanged drops errors that say that an object was changed or deleted
// since it was read: that is an event, which brings the next turn.
func IgnoreChanged(err error) error {
	if apierrors.IsConflict(err) {
		return nil
	}
	return client.IgnoreNotFound(err)
}
