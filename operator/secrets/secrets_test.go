package secrets

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestData(t *testing.T) {
	secret := func(name, value string) *corev1.Secret {
		s := &corev1.Secret{Data: map[string][]byte{"key": []byte(value)}}
		s.Namespace, s.Name = "test", name
		return s
	}
	api := fake.NewClientBuilder().WithObjects(secret("a", "1")).Build()
	reads := 0
	live := interceptor.NewClient(api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			reads++
			return c.Get(ctx, key, o, opts...)
		},
	})
	r := New(api, live)
	want := func(value string, wantReads int) {
		t.Helper()
		data, err := r.Data(t.Context(), "test", "a")
		if err != nil || string(data["key"]) != value || reads != wantReads {
			t.Errorf("%q after %d reads, %v; want %q after %d", data["key"], reads, err, value, wantReads)
		}
	}
	want("1", 1)
	want("1", 1)
	if err := api.Update(t.Context(), secret("a", "2")); err != nil {
		t.Fatal(err)
	}
	want("2", 2) // rotated: read again
	if err := api.Delete(t.Context(), secret("a", "")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Data(t.Context(), "test", "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if len(r.known) != 0 {
		t.Error("what is gone is still known")
	}
	if err := api.Create(t.Context(), secret("a", "3")); err != nil {
		t.Fatal(err)
	}
	want("3", 3)
}

func TestBound(t *testing.T) {
	r := New(nil, nil)
	for i := range most + 10 {
		r.remember(client.ObjectKey{Name: fmt.Sprint(i)}, content{})
	}
	if len(r.known) != most {
		t.Errorf("%d contents are kept", len(r.known))
	}
}
