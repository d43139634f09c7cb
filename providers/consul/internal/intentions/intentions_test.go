package intentions_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/intentions"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
)

// TestShutOut finds who lets in the application by its name, and its released pods not.
func TestShutOut(t *testing.T) {
	for name, tc := range map[string]struct {
		sources string
		named   map[string]string // annotations of the pods
		want    string            // what it lacks
	}{
		"the old name alone":           {sources: `[{"Name":"podinfo","Action":"allow"}]`, named: consultest.Aliased(), want: "podinfo-primary"},
		"both":                         {sources: `[{"Name":"podinfo","Action":"allow"},{"Name":"podinfo-primary","Action":"allow"}]`, named: consultest.Aliased()},
		"everybody":                    {sources: `[{"Name":"podinfo","Action":"allow"},{"Name":"*","Action":"allow"}]`, named: consultest.Aliased()},
		"it is denied":                 {sources: `[{"Name":"podinfo","Action":"deny"}]`, named: consultest.Aliased()},
		"some of its requests":         {sources: `[{"Name":"podinfo","Permissions":[{"Action":"allow"}]}]`, named: consultest.Aliased(), want: "podinfo-primary"},
		"that of another Consul":       {sources: `[{"Name":"podinfo","Peer":"west","Action":"allow"}]`, named: consultest.Aliased()},
		"others":                       {sources: `[{"Name":"web","Action":"allow"}]`, named: consultest.Aliased()},
		"pods that have the canary's":  {sources: `[{"Name":"podinfo","Action":"allow"},{"Name":"podinfo-primary","Action":"allow"}]`, want: "podinfo-canary"},
		"what is no entry of its kind": {sources: `"podinfo"`, named: consultest.Aliased()},
		"one that is empty":            {sources: `[]`, named: consultest.Aliased()},
		"by permissions and everybody": {sources: `[{"Name":"podinfo","Permissions":[{"Action":"allow"}]},{"Action":"allow"}]`, named: consultest.Aliased()},
	} {
		t.Run(name, func(t *testing.T) {
			got := intentions.Of(consultest.Having(t, api.ServiceIntentions+` database {"Sources":`+tc.sources+`}`)).Uncovered(services.Of(consultest.Canary(), tc.named, entries.Scope{}))
			if tc.want == "" && got != "" || tc.want != "" && !(strings.Contains(got, "database") && strings.Contains(got, "not "+tc.want+",")) {
				t.Errorf("%q", got)
			}
		})
	}
	own := intentions.Of(consultest.Having(t, api.ServiceIntentions+` podinfo {"Sources":[{"Name":"podinfo","Action":"allow"}]}`))
	consultest.Diff(t, "", own.Uncovered(services.Of(consultest.Canary(), consultest.Aliased(), entries.Scope{})))
}
