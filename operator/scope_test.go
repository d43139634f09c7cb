package main

import (
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-delivery/sluice/operator/wake"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/factory"
)

// TestScope has the operator watch, and offer to Canaries, what its flags say it has to do with.
func TestScope(t *testing.T) {
	for name, tc := range map[string]struct {
		args        []string
		wantWatches int // of kinds of meshes
		wantSecrets int // namespaces, 0 for all
		wantErr     string
	}{
		"everything":                {wantWatches: len(factory.Watches())},
		"one mesh":                  {args: []string{"-providers=istio"}, wantWatches: 1},
		"a mesh by a shared kind":   {args: []string{"-providers=linkerd,istio"}, wantWatches: 3},
		"none with kinds":           {args: []string{"-mesh-provider=kubernetes", "-providers=kubernetes,consul"}},
		"no such mesh":              {args: []string{"-providers=istio,appmesh"}, wantErr: `-providers: "appmesh" is none of`},
		"without the default":       {args: []string{"-providers=gatewayapi:v1"}, wantErr: "-mesh-provider istio"},
		"Secrets of two namespaces": {args: []string{"-enable-config-tracking=false", "-secret-namespaces=a,b"}, wantWatches: len(factory.Watches()), wantSecrets: 2},
		"Secrets of targets":        {args: []string{"-secret-namespaces=a"}, wantErr: "-enable-config-tracking=false"},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseFlags(tc.args, io.Discard)
			if (err != nil) != (tc.wantErr != "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Fatalf("error %v, want %q", err, tc.wantErr)
			}
			if err != nil {
				return
			}
			if got := len(o.scope.watches()); got != tc.wantWatches {
				t.Errorf("%d kinds of meshes are watched, want %d", got, tc.wantWatches)
			}
			for kind, settings := range o.scope.caches() {
				want := tc.wantSecrets
				if _, ok := kind.(*corev1.Secret); !ok {
					want = 0
				}
				if len(settings.Namespaces) != want {
					t.Errorf("%T is cached of %v", kind, settings.Namespaces)
				}
			}
		})
	}
}

// TestProviderThatIsOff is refused as one that nobody knows is: it is not found out by a right that is missing.
func TestProviderThatIsOff(t *testing.T) {
	scope := scopeOptions{providers: []string{"istio", "kubernetes"}}
	if _, err := newRouter(nil, wake.NewSignals(), "linkerd", scope, factory.Deps{}); !providers.IsUnknownRouter(err) || !strings.Contains(err.Error(), "istio, kubernetes") {
		t.Errorf("got %v", err)
	}
	if _, err := newRouter(nil, wake.NewSignals(), "kubernetes", scope, factory.Deps{}); err != nil {
		t.Error(err)
	}
}

// The leader of a shard has the lease that the chart gives rights on.
func TestLease(t *testing.T) {
	for selector, want := range map[string]string{"": "sluice-leader-election", "sluice.dev/shard=a": "sluice-leader-election-857ec9d5"} {
		if got := (&scopeOptions{selector: selector}).lease(); got != want {
			t.Errorf("%q: got %s, want %s", selector, got, want)
		}
	}
}
