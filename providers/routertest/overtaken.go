package routertest

import (
	"context"
	"reflect"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
)

// Overtaken has a router look while its cache moves on: what it reads first is older than what it finds to be as it wrote it. It
// is not in sync then, as nobody has judged yet what is there. build makes a router that reads first from one client, and compares and
// writes by the other; mesh does what the mesh does by itself, or is nil.
func Overtaken(t *testing.T, api client.Client, c *v1beta1.Canary, build func(first, then client.Client) providers.Router, mesh func(*testing.T)) {
	t.Helper()
	first := &behind{Client: api, seen: map[string]client.Object{}}
	w := World{Router: build(first, api), Canary: c, Mesh: mesh}
	w.observe(t, 0)
	for _, weight := range []int32{0, 20, 40} {
		first.stays = true
		w.apply(t, weight)
		if state := w.observe(t, weight); state.InSync {
			t.Errorf("at %d%% observed is %+v by what was there before", weight, state)
		}
		first.stays = false
		w.settle(t, weight)
	}
}

// behind is a client that goes on showing what it has shown.
type behind struct {
	client.Client

	stays bool
	seen  map[string]client.Object
}

// Get implements client.Reader.
func (b *behind) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	id := reflect.TypeOf(into).String() + " " + key.String()
	if b.stays {
		was, ok := b.seen[id]
		if !ok {
			return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
		}
		reflect.ValueOf(into).Elem().Set(reflect.ValueOf(was.DeepCopyObject()).Elem())
		return nil
	}
	err := b.Client.Get(ctx, key, into, opts...)
	if err == nil {
		b.seen[id] = into.DeepCopyObject().(client.Object) //nolint:forcetypeassert // a copy is of the same type
	}
	return err
}
