// Package demo walks through the dashboard of a running demo, as somebody does who has started it.
package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/test/dashboard/browser"
	"github.com/sluice-delivery/sluice/test/dashboard/browser/browsertest"
)

// How long a stage of the demo may take, and the whole of it to come up.
const (
	stageLimit = 4 * time.Minute
	upLimit    = 5 * time.Minute
)

// others are Canaries beside that of the demo.
const others = 5000

var shared browsertest.Shared

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	os.Exit(shared.Run(m))
}

// program is one that runs beside the test, and what it has written.
type program struct {
	*testing.T

	cmd *exec.Cmd

	mu    sync.Mutex
	wrote strings.Builder
	more  chan struct{} // closed when something is written
	ended bool
}

// start starts one of the programs of bin/, which the test ends.
func start(t *testing.T, env []string, name string, args ...string) *program {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	p := &program{T: t, cmd: exec.CommandContext(context.WithoutCancel(t.Context()), path, args...), more: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, in
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	gone := make(chan error, 1)
	go func() {
		gone <- p.cmd.Wait()
		in.Close()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGINT) // it may have ended
		select {
		case err := <-gone:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s does not end", name)
			_ = p.cmd.Process.Kill()
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", name, p.text())
		}
	})
	return p
}

func (p *program) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.note(lines.Text()+"\n", false)
	}
	p.note("", true)
}

func (p *program) note(text string, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrote.WriteString(text)
	p.ended = p.ended || ended
	close(p.more)
	p.more = make(chan struct{})
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrote.String()
}

// await waits until it has written something, and returns that, or the part in parentheses.
func (p *program) await(limit time.Duration, pattern string) string {
	p.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(limit)
	for {
		p.mu.Lock()
		found, ended, more := re.FindStringSubmatch(p.wrote.String()), p.ended, p.more
		p.mu.Unlock()
		switch {
		case found != nil:
			return found[len(found)-1]
		case ended:
			p.Fatalf("it has ended without %s", pattern)
		}
		select {
		case <-more:
		case <-timeout:
			p.Fatalf("after %s there is no %s", limit, pattern)
		}
	}
}

// page is a tab with the dashboard.
type page struct {
	*browsertest.Tab

	root string
}

func open(t *testing.T, root string) *page {
	t.Helper()
	// The browser says of refused requests that they were; 404 is an answer before the Canary is there.
	p := &page{Tab: shared.Open(t, root, 1360, 900, "401", "404", "409"), root: root}
	p.Do(chromedp.Navigate(root))
	return p
}

func (p *page) says(limit time.Duration, text string) {
	p.Helper()
	p.AwaitWithin(limit, text, fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// state waits until the release that is shown is in a state.
func (p *page) state(state string) {
	p.Helper()
	p.AwaitWithin(stageLimit, state, fmt.Sprintf(`document.querySelector('.release-head .state')?.innerText === %q`, state))
}

func (p *page) visit(hash string) {
	p.Helper()
	p.Do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`location.hash = %q`, hash)))
}

// shot keeps a picture where the environment says so.
func (p *page) shot(name string) {
	p.Helper()
	folder := os.Getenv("SHOTS")
	if folder == "" {
		return
	}
	raw, err := chromedp.Run(p.Context(), chromedp.CaptureScreenshot())
	if err == nil {
		raw, err = browser.Small(raw)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "demo-"+name+".png"), raw, 0o600)
	}
	if err != nil {
		p.Fatal(err)
	}
}

// act presses a button and says why.
func (p *page) act(action, why string) {
	p.Helper()
	button := fmt.Sprintf(`[data-action=%q]`, action)
	p.Await("the button "+action, fmt.Sprintf(`!!document.querySelector('%s')`, button))
	p.Do(chromedp.Click(chromedp.CSS(button)), chromedp.WaitVisible(chromedp.CSS("dialog input")), chromedp.SendKeys(chromedp.CSS("dialog input"), why), chromedp.KeyEvent(kb.Enter))
}

// TestDemo follows the demo's own releases, and takes a hand in one more of them.
func TestDemo(t *testing.T) {
	shared.Need(t, "the demo")
	demo := start(t, []string{"KEEP=1"}, "demo")
	p := open(t, demo.await(upLimit, `http://127\.0\.0\.1:\d+/\S+/`))
	demo.await(upLimit, "A Canary is applied")
	p.says(stageLimit, "1 release")

	goodRelease(t, demo, p)
	badRelease(t, demo, p)
	slightlyWorse(t, demo, p)
	api := connect(t, demo.await(stageLimit, `export KUBECONFIG=(\S+)`))
	for _, command := range []string{"list", "history podinfo -n test", "get podinfo -n test", "why podinfo -n test"} {
		demo.await(time.Second, regexp.QuoteMeta("$ kubectl sluice "+command+"\n"))
	}
	crash(t, demo, p, api)
	withoutTheRight(t, demo, api)
	fleet(t, p, api)
}

// goodRelease is seen from its first step to its end, through a reload in its midst.
func goodRelease(t *testing.T, demo *program, p *page) {
	t.Helper()
	demo.await(stageLimit, "== Release 6.0.1")
	p.visit("#/releases/test/podinfo")
	p.says(stageLimit, "Step 2 of 5: 20% of the traffic goes to the canary")
	p.Await("the share in the picture", `[...document.querySelectorAll('.node.canary .share')].some((e) => parseInt(e.textContent) >= 20)`)
	p.Await("the charts of the checks", `document.querySelectorAll('.chart canvas').length === 2`)
	p.shot("release")
	p.Do(chromedp.Reload())
	p.says(stageLimit, "of the traffic goes to the canary")
	p.Await("the charts after a reload", `document.querySelectorAll('.chart canvas').length === 2`)
	p.state("At rest")
	demo.await(stageLimit, `Succeeded after \d+ s, highest weight 50%`)
	p.shot("promoted")
}

// badRelease is rolled back, with the reason and what to do.
func badRelease(t *testing.T, demo *program, p *page) {
	t.Helper()
	demo.await(stageLimit, "== Release 6.0.2")
	p.state("Rolled back")
	p.says(stageLimit, "below the minimum 99%")
	p.says(stageLimit, "kubectl sluice retry podinfo -n test")
	p.shot("rolled-back")
}

// slightlyWorse is promoted by a threshold, and rolled back by the comparison with its primary.
func slightlyWorse(t *testing.T, demo *program, p *page) {
	t.Helper()
	for _, release := range []string{"6.0.3", "6.0.4", "6.0.5"} {
		demo.await(stageLimit, "== Release "+release)
	}
	p.says(stageLimit, "Step 2 of 5")
	demo.await(stageLimit, "The cluster stays up until you press Ctrl-C")
	p.state("Rolled back")
	p.says(stageLimit, "worse than tolerated, 99 % sure")
	p.shot("slightly-worse")
}

func connect(t *testing.T, kubeconfig string) client.Client {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// crash mends the bad release, has somebody pause it, ends the operator, and sees it through. It is judged by a threshold: a comparison takes
// minutes to find it as good as its primary.
func crash(t *testing.T, demo *program, p *page, api client.Client) {
	t.Helper()
	judge := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"analysis":{"metrics":[{"name":"request-success-rate","interval":"5s","thresholdRange":{"min":99}}]}}}`))
	if err := api.Patch(t.Context(), &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}, judge); err != nil {
		t.Fatal(err)
	}
	mend := client.RawPatch(types.StrategicMergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"podinfod","env":[{"name":"SLUICE_ERROR_PERCENT","$patch":"delete"}]}]}}}}`))
	if err := api.Patch(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: "podinfo"}}, mend); err != nil {
		t.Fatal(err)
	}
	p.says(stageLimit, "Step 1 of 5")
	p.act("Pause", "errors in the checkout")
	p.state("Paused")
	p.says(stageLimit, "(errors in the checkout)")
	p.shot("paused")
	pid, err := strconv.Atoi(demo.await(time.Second, `kill -9 (\d+)`))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	demo.await(stageLimit, "The operator has ended. Another one runs")
	p.state("Paused")
	p.act("Resume", "it was the load test")
	p.says(stageLimit, "Step 2 of 5")
	p.state("At rest")
	p.says(stageLimit, "it was the load test")
}

// withoutTheRight has bob see everything and press nothing.
func withoutTheRight(t *testing.T, demo *program, api client.Client) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "people-who-look"}
	for _, o := range []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"flagger.app"}, Resources: []string{"canaries"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{"", "apps", "sluice.dev"}, Resources: []string{"*"}, Verbs: []string{"get", "list"}},
		}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "bob"}}},
	} {
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	own := start(t, nil, "kubectl-sluice", "dashboard", "--browser=false", "--as=bob", "--kubeconfig", demo.await(time.Second, `export KUBECONFIG=(\S+)`))
	p := open(t, own.await(time.Minute, `http://127\.0\.0\.1:\d+/\S+/`))
	p.visit("#/releases/test/podinfo")
	p.says(time.Minute, "bob may look, and has no right to create canaryactions.sluice.dev in test.")
	if n := browsertest.Value[int](p.Tab, `document.querySelectorAll('[data-action]').length`); n != 0 {
		t.Errorf("bob has %d buttons", n)
	}
	p.shot("without-right")
}

// fleet has a great many Canaries beside that of the demo.
func fleet(t *testing.T, p *page, api client.Client) {
	t.Helper()
	p.visit("#/")
	if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet"}}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	failed := make(chan error, others)
	next := make(chan int)
	for range 8 {
		all.Go(func() {
			for i := range next {
				c := &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: fmt.Sprintf("app-%04d", i)}}
				c.Spec.TargetRef = v1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: c.Name}
				c.Spec.Service.Port, c.Spec.Suspend, c.Spec.SkipAnalysis = 80, true, true
				if err := api.Create(t.Context(), c); err != nil {
					failed <- err
				}
			}
		})
	}
	for i := range others {
		next <- i
	}
	close(next)
	all.Wait()
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
	p.says(stageLimit, fmt.Sprintf("%d releases", others+1))
	if n := browsertest.Value[int](p.Tab, `document.querySelectorAll('.rows .row').length`); n < 10 || n > 60 {
		t.Errorf("%d rows are drawn of %d", n, others+1)
	}
	if took := browsertest.Value[float64](p.Tab, `(() => { const from = performance.now(); for (let i = 0; i < 40; i++) { scrollTo(0, i * 6000); document.body.offsetHeight; } return performance.now() - from; })()`); took > 1000 {
		t.Errorf("40 jumps through the list took %.0f ms", took)
	}
	p.Do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`))
	p.shot("fleet")
	p.visit("#/?q=podinfo")
	p.Await("the one that is looked for", `document.querySelectorAll('.rows .row').length === 1 && document.querySelector('.rows').innerText.includes('podinfo')`)
}
