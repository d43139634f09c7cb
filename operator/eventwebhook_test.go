package main

import (
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/sluice-delivery/sluice/operator/telemetry"
)

// noManager is a manager that only takes what is to run.
type noManager struct {
	ctrl.Manager

	added int
}

func (m *noManager) Add(manager.Runnable) error { m.added++; return nil }

func TestEventWebhook(t *testing.T) {
	dir := t.TempDir()
	write := func(folder, key, content string) string {
		folder = filepath.Join(dir, folder)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, key), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return folder
	}
	for name, tc := range map[string]struct {
		args    []string
		env     string
		want    string // URL
		secret  bool
		wantErr string
	}{
		"none":                 {},
		"by the flag":          {args: []string{"-event-webhook=http://events.test/x"}, want: "http://events.test/x"},
		"by the environment":   {env: "http://env.test", want: "http://env.test"},
		"the environment wins": {args: []string{"-event-webhook=http://flag.test"}, env: "http://env.test", want: "http://env.test"},
		"no host of those that Canaries may call": {args: []string{"-event-webhook=http://127.0.0.1:1", "-hooks-allowed-hosts=tester.test"}, want: "http://127.0.0.1:1"},
		"signed":         {args: []string{"-event-webhook=http://a.test", "-event-webhook-secret-dir=" + write("good", "hmac-key", "k")}, want: "http://a.test", secret: true},
		"no URL":         {args: []string{"-event-webhook=events.test"}, wantErr: "-event-webhook: url"},
		"an empty key":   {args: []string{"-event-webhook=http://a.test", "-event-webhook-secret-dir=" + write("bad", "hmac-key", "")}, wantErr: "-event-webhook-secret-dir: hmac-key is empty"},
		"a secret alone": {args: []string{"-event-webhook-secret-dir=" + write("good", "hmac-key", "k")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("EVENT_WEBHOOK_URL", tc.env)
			o, err := parseFlags(tc.args, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			mgr := &noManager{}
			hook, err := operatorsEvents(mgr, o.hooks, telemetry.NewRollouts(prometheus.NewRegistry(), clock.RealClock{}, "test", "istio"))
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				if hook != nil || mgr.added > 0 {
					t.Errorf("%+v", hook)
				}
				return
			}
			if hook == nil || hook.Hook.URL != tc.want || (hook.Secret != nil) != tc.secret || mgr.added != 1 {
				t.Errorf("%+v, %d queues", hook, mgr.added)
			}
		})
	}
}

// The environment's proxies are for hooks only where the operator says so, as they see which address a host is at.
func TestProxyOfHooks(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want bool
	}{
		"by default":         {},
		"with the option":    {args: []string{"-hooks-proxy-from-environment"}, want: true},
		"with it turned off": {args: []string{"-hooks-proxy-from-environment=false"}},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parseFlags(tc.args, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			proxy := o.hooks.proxy().Proxy
			if got := proxy != nil && reflect.ValueOf(proxy).Pointer() == reflect.ValueOf(http.ProxyFromEnvironment).Pointer(); got != tc.want {
				t.Errorf("the environment's proxies are used: %t, want %t", got, tc.want)
			}
		})
	}
}
