package factory

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/providers"
)

func TestNew(t *testing.T) {
	for _, name := range Names() {
		if r, err := New(name, Deps{}); err != nil || r == nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	for name, tc := range map[string]string{"unknown": "appmesh", "empty": "", "prefix of a known one": "istio:v2"} {
		t.Run(name, func(t *testing.T) {
			r, err := New(tc, Deps{})
			if r != nil || !providers.IsUnknownRouter(err) || !strings.Contains(err.Error(), "istio") {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
}

// The refusal of a provider that Flagger has says what to use instead.
func TestRefusalsSayWhatToUse(t *testing.T) {
	for name, want := range map[string]string{
		"appmesh": "VPC Lattice", "appmesh:v1beta2": "September 30, 2026",
		"gloo": "kgateway", "osm": "with istio", "smi": "linkerd", "smi:v1alpha3": "linkerd",
		"isto": `unknown provider "isto": known are`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(name, Deps{})
			if !providers.IsUnknownRouter(err) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "known are apisix, ") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A router that would write owner references into another cluster is refused
// there: what it makes would be removed as garbage.
func TestNewRemote(t *testing.T) {
	for _, name := range Names() {
		r, err := New(name, Deps{Remote: true})
		if able := slices.Contains(remote, name); able != (err == nil) || able != (r != nil) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}
