package cluster

import "context"

// test is what of *testing.T a cluster needs, so that programs with a cluster have no flags of tests.
type test interface {
	Helper()
	Context() context.Context
	Cleanup(end func())
	Error(args ...any)
	Fatal(args ...any)
}

// ForTest is Start for a test, at whose end the cluster is stopped. The test fails where either does; t is a *testing.T.
func ForTest(t test, options Options) *Cluster {
	t.Helper()
	c, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}
