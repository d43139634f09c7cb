// Package secrets reads the contents of Secrets that specs refer to. A cache of
// contents would be a copy of the cluster's secrets in this process; only those
// that are in use are kept here, and each is read once for each of its versions.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ErrNotFound says that there is no such Secret.
var ErrNotFound = errors.New("there is no such Secret")

// most is how many contents are kept at once.
const most = 1024

// Reader reads Secrets. It may be used by many at once.
type Reader struct {
	metadata client.Reader
	live     client.Reader

	mu    sync.Mutex
	known map[types.NamespacedName]content
}

type content struct {
	uid     types.UID
	version string
	data    map[string][]byte
}

// New gives a Reader. metadata reads the metadata of Secrets from a cache, live
// reads Secrets from the API server.
func New(metadata, live client.Reader) *Reader {
	return &Reader{metadata: metadata, live: live, known: map[types.NamespacedName]content{}}
}

// Data gives the content of a Secret, which must not be changed. A Secret that
// does not exist is ErrNotFound.
func (r *Reader) Data(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := r.metadata.Get(ctx, key, meta); err != nil {
		return nil, r.failed(key, err)
	}
	if data, ok := r.recall(key, meta); ok {
		return data, nil
	}
	secret := &corev1.Secret{}
	if err := r.live.Get(ctx, key, secret); err != nil {
		return nil, r.failed(key, err)
	}
	r.remember(key, content{uid: secret.UID, version: secret.ResourceVersion, data: secret.Data})
	return secret.Data, nil
}

func (r *Reader) failed(key types.NamespacedName, err error) error {
	if apierrors.IsNotFound(err) {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.known, key)
		return fmt.Errorf("secret %s: %w", key, ErrNotFound)
	}
	return fmt.Errorf("read secret %s: %w", key, err)
}

func (r *Reader) recall(key types.NamespacedName, is *metav1.PartialObjectMetadata) (map[string][]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.known[key]
	return c.data, ok && c.uid == is.UID && c.version == is.ResourceVersion
}

func (r *Reader) remember(key types.NamespacedName, c content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[key]; !ok && len(r.known) >= most {
		for other := range r.known { // any: it is read again when it is asked for
			delete(r.known, other)
			break
		}
	}
	r.known[key] = c
}
