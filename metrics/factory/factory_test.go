package factory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-delivery/sluice/metrics"
	"github.com/sluice-delivery/sluice/metrics/template"
)

func TestUnknownType(t *testing.T) {
	for _, name := range []string{"", "Prometheus", "datadog2"} {
		_, err := New(metrics.Config{Type: name, Address: "http://server"})
		if !metrics.IsConfigError(err) || !strings.Contains(err.Error(), "datadog, dynatrace") {
			t.Errorf("%q: error %v", name, err)
		}
	}
}

func TestConstructors(t *testing.T) {
	complete := metrics.Config{Address: "http://127.0.0.1:1", Region: "us", Secret: map[string][]byte{
		"aws_access_key_id": []byte("a"), "aws_secret_access_key": []byte("b"),
		"datadog_api_key": []byte("a"), "datadog_application_key": []byte("b"),
		"dynatrace_token":     []byte("a"),
		"newrelic_account_id": []byte("1"), "newrelic_query_key": []byte("b"),
		"project": []byte("a"), "sf_token_key": []byte("a"), "token": []byte("a"),
		"username": []byte("a"), "password": []byte("b"), "org": []byte("c"),
	}}
	for _, name := range Names() {
		c := complete
		c.Type = name
		if name == "stackdriver" {
			c.Address = "" // it has no key for another one
		}
		if p, err := New(c); err != nil || p == nil {
			t.Errorf("%s: %v", name, err)
		}
		if !template.Known(name) {
			t.Errorf("%s: metrics/template does not know how its queries have texts and comments", name)
		}
	}
}

// ownTests are the providers that are tested against real servers instead.
var ownTests = map[string]bool{Prometheus: true}

// TestEveryProviderIsHeldToTheSame looks whether the tests that all providers
// have to pass are run for each.
func TestEveryProviderIsHeldToTheSame(t *testing.T) {
	for _, name := range Names() {
		if ownTests[name] {
			continue
		}
		files, err := filepath.Glob(filepath.Join("..", name, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(raw), "metricstest.Run(t,")
		}
		if !found {
			t.Errorf("the tests of %s do not run metricstest", name)
		}
	}
}
