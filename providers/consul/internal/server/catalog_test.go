package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/catalog"
	"github.com/sluice-delivery/sluice/providers/consul/internal/consultest"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
)

// TestAssign asks a Consul for what its version can: the table of virtual IPs, else instances that
// are never healthy.
func TestAssign(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		answer string
		want   []string
		waits  bool
		fails  bool
	}{
		"1.16":                      {status: http.StatusOK, answer: `{"Found":true}`, want: []string{"PUT /v1/internal/service-virtual-ip podinfo [10.0.0.1]"}},
		"before it knows a service": {status: http.StatusOK, answer: `{"Found":false}`, want: []string{"PUT /v1/internal/service-virtual-ip podinfo [10.0.0.1]"}, waits: true},
		"1.14": {status: http.StatusNotFound, want: []string{
			"PUT /v1/internal/service-virtual-ip podinfo [10.0.0.1]",
			"PUT /v1/catalog/register podinfo critical virtual 10.0.0.1", "PUT /v1/catalog/register podinfo-sidecar-proxy of podinfo critical virtual 10.0.0.1",
		}},
		"without the right": {status: http.StatusForbidden, answer: "Permission denied", want: []string{"PUT /v1/internal/service-virtual-ip podinfo [10.0.0.1]"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var sent struct {
					api.AssignServiceManualVIPsRequest
					of api.CatalogRegistration
				}
				line := r.Method + " " + r.URL.Path + " "
				if r.URL.Path == "/v1/catalog/register" {
					if err := json.NewDecoder(r.Body).Decode(&sent.of); err != nil {
						t.Error(err)
					}
					s := sent.of.Service
					if line += s.Service; s.Proxy != nil {
						line += " of " + s.Proxy.DestinationServiceName
					}
					got = append(got, line+" "+sent.of.Check.Status+" virtual "+s.TaggedAddresses["virtual"].Address)
					fmt.Fprint(w, "true")
					return
				}
				if err := json.NewDecoder(r.Body).Decode(&sent.AssignServiceManualVIPsRequest); err != nil {
					t.Error(err)
				}
				got = append(got, fmt.Sprint(line, sent.AssignServiceManualVIPsRequest.Service, " ", sent.ManualVIPs))
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.answer)
			}))
			defer server.Close()
			s, err := New(Config{Address: server.URL})
			consultest.Must(t, err)
			err = s.Assign(t.Context(), entries.Scope{}, catalog.Address{Service: "podinfo", IP: "10.0.0.1"})
			if waits, fails := providers.WaitOf(err) != nil, providers.IsUnreachable(err); waits != tc.waits || fails != tc.fails || err != nil && !waits && !fails {
				t.Error(err)
			}
			consultest.Diff(t, tc.want, got)
		})
	}
}
