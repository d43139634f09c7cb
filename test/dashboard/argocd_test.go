package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleettest"
	"github.com/sluice-delivery/sluice/test/dashboard/browser"
	"github.com/sluice-delivery/sluice/test/dashboard/browser/browsertest"
)

// argoCD plays the page of Argo CD: it has the API of extensions and React, of which preact is a stand-in, and draws what is
// registered with the resource that it is given.
const argoCD = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Argo CD</title><link rel="icon" href="data:,"></head>
<body style="font-family: sans-serif; margin: 20px; max-width: 760px"><div id="tab"></div>
<script type="module">
import { h, render } from '/vendor/preact.mjs';
window.React = { createElement: h };
window.registered = [];
window.extensionsAPI = { registerResourceExtension: (...all) => window.registered.push(all) };
window.draw = (resource) => render(h(window.registered[0][0], { resource, application: {}, tree: {} }), document.getElementById('tab'));
const script = document.createElement('script');
script.src = '/extension-sluice.js';
document.body.append(script);
</script></body></html>`

// TestArgoCD has the tab that Argo CD shows of a Canary say what the status says, for Canaries of each kind.
func TestArgoCD(t *testing.T) {
	shared.Need(t, "the tab for Argo CD")
	root := filepath.Join("..", "..")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, argoCD) })
	mux.Handle("GET /vendor/", http.FileServer(http.Dir(filepath.Join(root, "operator", "dashboard", "static"))))
	mux.Handle("GET /extension-sluice.js", http.FileServer(http.Dir(filepath.Join(root, "charts", "argocd"))))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	tab := shared.Open(t, server.URL, 800, 900)
	tab.Do(chromedp.Navigate(server.URL + "/"))
	tab.Await("the extension", `window.registered?.length === 1`)
	if got := browsertest.Value[string](tab, `window.registered[0].slice(1, 4).join(' ')`); got != "flagger.app Canary Release" {
		t.Errorf("registered: %s", got)
	}
	now := time.Now()
	for name, tc := range map[string]struct {
		edit func(*v1beta1.Canary)
		says []string
	}{
		"at rest":     {func(*v1beta1.Canary) {}, []string{"Succeeded", "serves all traffic", "Primary 100%, canary 0%", "None was run yet"}},
		"progressing": {func(c *v1beta1.Canary) { fleettest.Progress(c, 3, 99.7, now) }, []string{"Progressing", "Primary 80%, canary 20%", "Step 3 of 5", "request-success-rate", "99.70", ">= 99", "Passed"}},
		"failed":      {func(c *v1beta1.Canary) { fleettest.Fail(c, now) }, []string{"Failed", "failed check 5 of 5", "below the minimum 99%", "5 failed rounds of checks, of which 5 end it"}},
		"at a gate":   {func(c *v1beta1.Canary) { fleettest.Wait(c, now) }, []string{"WaitingPromotion", "It waits at the gate confirm-promotion, hook on call", "nobody has approved it"}},
		"paused": {func(c *v1beta1.Canary) {
			fleettest.Pause(c, now)
			c.Status.LastAction = &v1beta1.ActionStatus{Action: v1beta1.ActionPause, By: "alice", Message: "Paused by alice (errors <b>in</b> the checkout)", Time: metav1.NewMicroTime(now)}
		}, []string{"Paused", "Pause by alice: Paused by alice (errors <b>in</b> the checkout)"}},
		"stalled": {func(c *v1beta1.Canary) { fleettest.Stall(c, now) }, []string{"unknown provider \"appmesh\""}},
		"A/B testing": {func(c *v1beta1.Canary) {
			fleettest.Progress(c, 2, 99.7, now)
			c.Spec.Analysis.StepWeights, c.Spec.Analysis.Iterations = nil, 10
			c.Status.Traffic = &v1beta1.TrafficStatus{Matched: true}
		}, []string{"of the requests that match", "2 of 10 iterations"}},
		"mirrored": {func(c *v1beta1.Canary) {
			fleettest.Progress(c, 1, 99.7, now)
			c.Status.Traffic = &v1beta1.TrafficStatus{Mirror: 10}
		}, []string{"and copies of 10%"}},
		"grown steps": {func(c *v1beta1.Canary) {
			fleettest.Progress(c, 1, 99.7, now)
			c.Spec.Analysis.StepWeights, c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight = nil, 20, 50
		}, []string{"20%\n40%\n50%"}},
		"new":                 {func(c *v1beta1.Canary) { c.Status = v1beta1.CanaryStatus{} }, []string{"has not looked at it yet"}},
		"without an analysis": {func(c *v1beta1.Canary) { c.Spec.Analysis = nil }, []string{"Succeeded", "0 failed rounds"}},
	} {
		c := fleettest.Canary("shop", "cart", now)
		tc.edit(c)
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		text := browsertest.Value[string](tab, fmt.Sprintf(`(draw(%s), document.getElementById('tab').innerText)`, raw))
		for _, want := range tc.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it does not say %q:\n%s", name, want, text)
			}
		}
		if folder := os.Getenv("SHOTS"); folder != "" {
			shot(tab, filepath.Join(folder, "argocd-"+strings.NewReplacer(" ", "-", "/", "-").Replace(name)+".png"))
		}
	}
	if got := browsertest.Value[string](tab, `(draw(null), document.getElementById('tab').innerText)`); got != "There is no such Canary." {
		t.Errorf("of no Canary it says %s", got)
	}
}

// shot takes a picture of what a tab shows.
func shot(tab *browsertest.Tab, file string) {
	tab.Helper()
	raw, err := chromedp.Run(tab.Context(), chromedp.CaptureScreenshot())
	if err == nil {
		raw, err = browser.Small(raw)
	}
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		tab.Fatal(err)
	}
}
