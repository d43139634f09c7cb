package kube

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// counting is a mapper that counts what it is asked, each of which is a request to an API server that has none.
type counting struct {
	*meta.DefaultRESTMapper

	asked int
	then  func() // is called meanwhile
}

func (c *counting) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	c.asked++
	mapping, err := c.DefaultRESTMapper.RESTMapping(gk, versions...)
	if c.then != nil {
		c.then()
	}
	return mapping, err
}

func TestServed(t *testing.T) {
	kind := schema.GroupVersionKind{Group: "linkerd.io", Version: "v1alpha2", Kind: "ServiceProfile"}
	for name, tc := range map[string]struct {
		between func(c *counting, s *Served) // after it was looked for three times
		during  func(s *Served)              // while it is looked for
		asked   int                          // in six times
		served  bool                         // at the end
	}{
		"never served": {asked: 1},
		"served later, and seen": {
			between: func(c *counting, s *Served) { c.Add(kind, meta.RESTScopeNamespace); s.Found(kind) }, asked: 4, served: true,
		},
		"served later, not seen yet": {
			between: func(c *counting, _ *Served) { c.Add(kind, meta.RESTScopeNamespace) }, asked: 1,
		},
		"another was found": {between: func(_ *counting, s *Served) { s.Found(kind.GroupVersion().WithKind("Other")) }, asked: 1},
		"it comes while it is looked for": {
			between: func(c *counting, _ *Served) { c.Add(kind, meta.RESTScopeNamespace) },
			during:  func(s *Served) { s.Found(kind) }, asked: 6, served: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &counting{DefaultRESTMapper: meta.NewDefaultRESTMapper(nil)}
			s := NewServed(fake.NewClientBuilder().WithRESTMapper(c).Build())
			if tc.during != nil {
				c.then = func() { tc.during(s) }
			}
			var err error
			for i := range 6 {
				if i == 3 && tc.between != nil {
					tc.between(c, s)
				}
				_, err = s.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
			}
			if c.asked != tc.asked || (err == nil) != tc.served || err != nil && !meta.IsNoMatchError(err) {
				t.Errorf("asked %d times, then %v", c.asked, err)
			}
		})
	}
}
