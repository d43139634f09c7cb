package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// withConfigs is a pod whose containers have the values of ConfigMaps and
// Secrets in place of references to them in env and envFrom. Like a kubelet it
// starts no pod without a config that is not optional: the error says so, and
// the node tries again. Volumes are not mounted.
func (n *node) withConfigs(ctx context.Context, object *corev1.Pod) (*corev1.Pod, error) {
	object = object.DeepCopy()
	for i := range object.Spec.Containers {
		c := &object.Spec.Containers[i]
		var env []corev1.EnvVar
		for _, from := range c.EnvFrom {
			values, err := n.valuesFrom(ctx, object.Namespace, from)
			if err != nil {
				return nil, err
			}
			for _, key := range slices.Sorted(maps.Keys(values)) {
				env = append(env, corev1.EnvVar{Name: from.Prefix + key, Value: values[key]})
			}
		}
		for _, e := range c.Env {
			resolved, err := n.valueOf(ctx, object.Namespace, e)
			if err != nil {
				return nil, err
			}
			env = append(env, resolved)
		}
		c.EnvFrom, c.Env = nil, env
	}
	return object, nil
}

func (n *node) valuesFrom(ctx context.Context, namespace string, from corev1.EnvFromSource) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil:
		return n.configMap(ctx, namespace, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		return n.secret(ctx, namespace, from.SecretRef.Name, from.SecretRef.Optional)
	default:
		return nil, nil
	}
}

func (n *node) valueOf(ctx context.Context, namespace string, e corev1.EnvVar) (corev1.EnvVar, error) {
	if e.ValueFrom == nil {
		return e, nil
	}
	var values map[string]string
	var key string
	var err error
	switch from := e.ValueFrom; {
	case from.ConfigMapKeyRef != nil:
		key = from.ConfigMapKeyRef.Key
		values, err = n.configMap(ctx, namespace, from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Optional)
	case from.SecretKeyRef != nil:
		key = from.SecretKeyRef.Key
		values, err = n.secret(ctx, namespace, from.SecretKeyRef.Name, from.SecretKeyRef.Optional)
	default:
		return e, nil
	}
	return corev1.EnvVar{Name: e.Name, Value: values[key]}, err
}

func (n *node) configMap(ctx context.Context, namespace, name string, optional *bool) (map[string]string, error) {
	config, err := n.core.ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unlessOptional(err, optional)
	}
	return config.Data, nil
}

func (n *node) secret(ctx context.Context, namespace, name string, optional *bool) (map[string]string, error) {
	secret, err := n.core.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unlessOptional(err, optional)
	}
	values := make(map[string]string, len(secret.Data))
	for k, v := range secret.Data {
		values[k] = string(v)
	}
	return values, nil
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("config of a container: %w", err)
}
