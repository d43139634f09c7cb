package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/cli"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/test/cluster"
)

// Exit statuses of the command line, which scripts go by.
const (
	statusOK       = 0
	statusError    = 1
	statusUndone   = 2
	statusTimedOut = 3
	statusPerson   = 4
	statusRefused  = 5
)

// cliSite is a site with people who use the command line.
type cliSite struct {
	*site
	matrix

	shut atomic.Bool // the gate before the promotion
}

// testCLI takes the command line through a good release, a bad one, a gate, a pause, a refusal and a missing right.
func testCLI(t *testing.T, c *cluster.Cluster, api client.WithWatch) {
	s := &cliSite{site: newSite(t, c, keepRecords(t, api), "cli")}
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if s.shut.Load() {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(gate.Close)
	s.begin(nil, func(c *v1beta1.Canary) {
		c.Spec.Analysis.StepWeight, c.Spec.Analysis.MaxWeight, c.Spec.Analysis.StepWeights = 0, 0, []int32{20, 60}
		c.Spec.Analysis.Webhooks = []v1beta1.CanaryWebhook{{Name: "people", Type: v1beta1.ConfirmPromotionHook, URL: gate.URL}}
	})
	s.testList()
	s.testGoodRelease()
	s.testBadRelease()
	s.testGate()
	s.testDashboard()
	s.testHands()
	s.testPast()
	s.testMissingRights()
	s.testNobodyActs()
	s.whole(t)
}

// run is a command line as an administrator, in the site's namespace. It must end with a status, and write all of the
// words.
func (s *cliSite) run(status int, words []string, args ...string) string {
	s.t.Helper()
	return s.runWith([]string{"-n", s.namespace}, status, words, args...)
}

func (s *cliSite) runWith(global []string, status int, words []string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), stageLimit)
	defer cancel()
	var out, errOut bytes.Buffer
	s.note(args[0], status)
	got := cli.Run(ctx, slices.Concat(args, []string{"--kubeconfig", s.cluster.Kubeconfig()}, global), cli.Setting{
		IOStreams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut},
		Clock:     clock.RealClock{}, Version: "test", Getenv: func(string) string { return "" },
	})
	said := out.String() + errOut.String()
	if err := namesAll(said, words, nil); got != status || err != nil {
		s.t.Fatalf("kubectl sluice %s: exit status %d, want %d; %v; it wrote:\n%s", strings.Join(args, " "), got, status, err, said)
	}
	return out.String()
}

func (s *cliSite) testList() {
	s.t.Helper()
	s.run(statusOK, []string{"NAMESPACE", app, "AtRest"}, "list")
	if got := s.run(statusOK, nil, "list", "-o", "name"); got != "canary.flagger.app/"+app+"\n" {
		s.t.Errorf("names: %q", got)
	}
	s.runWith(nil, statusOK, []string{s.namespace, app}, "list")
	s.run(statusOK, []string{"There is no such Canary"}, "list", "--needs-person")
	s.run(statusOK, []string{"There is no such Canary"}, "list", "-l", "team=web")
	s.run(statusError, []string{"--output", "xml"}, "list", "-o", "xml")
	var list struct {
		APIVersion, Kind string
		Items            []view.Release
	}
	if err := json.Unmarshal([]byte(s.run(statusOK, nil, "list", "-o", "json")), &list); err != nil || len(list.Items) != 1 ||
		list.APIVersion != "cli.sluice.dev/v1" || list.Kind != "ReleaseList" || list.Items[0].State != view.AtRest {
		s.t.Errorf("got %+v, %v", list, err)
	}
	s.run(statusOK, []string{"kind: ReleaseList"}, "list", "-o", "yaml")
}

func (s *cliSite) testGoodRelease() {
	s.t.Helper()
	s.release(newImage)
	s.run(statusOK, []string{"Progressing", "AtRest"}, "status", app, "--timeout=1m")
	s.awaitDrained()
	s.at(goodRelease, map[string]int{
		"list": statusOK, "get podinfo": statusOK, "why podinfo": statusOK, "history podinfo": statusOK, "status podinfo": statusOK, "check podinfo": statusOK,
		"promote podinfo": statusRefused, "resume podinfo": statusRefused, "abort podinfo --reason=x": statusRefused, "retry podinfo": statusRefused,
		"approve podinfo": statusRefused, "advance podinfo": statusRefused, "undo podinfo --now --to=s2-none --reason=x": statusRefused, "undo podinfo --to=s2-none": statusError,
	})
	if got := s.primaryImage(); got != newImage {
		s.t.Errorf("status ended before its revision was promoted: the primary has %s", got)
	}
	s.run(statusOK, []string{`"outcome": "Reached"`}, "status", app, "--for=ready", "-o", "json")
	s.run(statusOK, []string{"at rest", "podinfo-primary serves all traffic"}, "why", app)
	s.run(statusOK, []string{"TRAFFIC", "primary 100%", "CHECKS", "health", ">= 1", "EVENTS", "Promoted"}, "get", app)
	s.run(statusError, []string{"there is no Canary nothing in namespace cli"}, "get", "nothing")
	s.run(statusOK, []string{"health", ">= 1", "Passed", "query: health"}, "check", app)
	s.run(statusError, []string{"--output"}, "check", app, "-o", "xml")
}

func (s *cliSite) testBadRelease() {
	s.t.Helper()
	s.bad.Store(true)
	s.release(oldImage)
	s.run(statusUndone, []string{"rolled back", "failed check 2 of 2"}, "status", app, "--timeout=1m")
	s.awaitDrained()
	s.at(badRelease, map[string]int{
		"list": statusOK, "get podinfo": statusOK, "why podinfo": statusOK, "history podinfo": statusOK, "status podinfo": statusUndone, "check podinfo": statusUndone,
		"promote podinfo": statusRefused, "resume podinfo": statusRefused, "abort podinfo --reason=x": statusRefused,
		"approve podinfo": statusRefused, "advance podinfo": statusRefused, "undo podinfo --now --to=s2-none --reason=x": statusRefused, "undo podinfo --to=s2-none": statusError,
	})
	s.run(statusOK, []string{"was rolled back", "value 0", "limit >= 1", "query: health", "kubectl sluice retry"}, "why", app)
	s.run(statusOK, []string{"RolledBack", "rounds", "x"}, "get", app)
	s.run(statusOK, []string{`"state": "RolledBack"`, `"needsPerson": true`}, "get", app, "-o", "json")
	s.run(statusOK, []string{app}, "list", "--needs-person", "-o", "name")
	s.run(statusUndone, []string{`"kind": "Checks"`, `"verdict": "Failed"`, "0 of 1 metrics pass"}, "check", app, "-o", "json")
	s.bad.Store(false)
	metrics := get[v1beta1.Canary](s.site, app).Spec.Analysis.Metrics
	s.editSeen(func(c *v1beta1.Canary) { c.Spec.Analysis.Metrics = nil })
	s.run(statusRefused, []string{"refused: "}, "check", app)
	s.editSeen(func(c *v1beta1.Canary) { c.Spec.Analysis.Metrics = metrics })
	s.run(statusOK, []string{"Passed"}, "check", app) // and the release that has failed has failed still
	s.run(statusUndone, nil, "status", app)
	s.run(statusOK, []string{"Tried again by ", "(it was the database)"}, "retry", app, "--reason=it was the database")
	s.run(statusOK, nil, "status", app, "--timeout=1m")
}

// editSeen edits the Canary, and waits until the operator has seen that.
func (s *cliSite) editSeen(edit func(*v1beta1.Canary)) {
	s.t.Helper()
	s.edit(edit)
	s.await("that the operator has seen the edit", func(context.Context) error {
		if c := get[v1beta1.Canary](s.site, app); c.Status.ObservedGeneration != c.Generation { //nolint:contextcheck // it reads for as long as the test runs
			return errNotYet
		}
		return nil
	})
}

func (s *cliSite) testGate() {
	s.t.Helper()
	s.shut.Store(true)
	s.release(newImage)
	s.run(statusOK, []string{"AtGate"}, "status", app, "--for=gate", "--timeout=1m")
	s.at(closedGate, map[string]int{
		"list": statusOK, "get podinfo": statusOK, "why podinfo": statusOK, "history podinfo": statusOK, "status podinfo": statusPerson, "check podinfo": statusOK,
		"resume podinfo": statusRefused, "retry podinfo": statusRefused, "advance podinfo": statusRefused, "undo podinfo --now --to=s2-none --reason=x": statusRefused, "undo podinfo --to=s2-none": statusError,
	})
	s.run(statusPerson, []string{"confirm-promotion"}, "status", app)
	s.run(statusTimedOut, []string{"is not promoted after 1s", "confirm-promotion"}, "status", app, "--wait-for-people", "--timeout=1s")
	s.run(statusOK, []string{"waits at a gate", "It is asked at http://"}, "why", app)
	s.run(statusRefused, []string{"refused: the release waits at the confirm-promotion gate, which Approve opens"}, "advance", app)
	s.run(statusOK, []string{"Approved by", "(seen to work)"}, "approve", app, "--reason=seen to work")
	s.run(statusOK, nil, "status", app, "--wait-for-people", "--timeout=1m")
	s.shut.Store(false)
}

// testDashboard has the dashboard of the command line show what its user may see, to who knows its address alone.
func (s *cliSite) testDashboard() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	var out safeBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, []string{"dashboard", "--browser=false", "--kubeconfig", s.cluster.Kubeconfig(), "-n", s.namespace}, cli.Setting{
			IOStreams: genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &out}, Clock: clock.RealClock{}, Version: "test", Getenv: func(string) string { return "" },
		})
	}()
	address := ""
	s.await("the dashboard", func(context.Context) error {
		if address = regexp.MustCompile(`http://127\.0\.0\.1:\d+/\S+/`).FindString(out.String()); address == "" {
			return errors.New(out.String())
		}
		return nil
	})
	for path, want := range map[string]int{"api/session": http.StatusOK, "api/releases/" + s.namespace + "/" + app: http.StatusOK, "api/releases/other/" + app: http.StatusNotFound, "../api/session": http.StatusNotFound} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+path, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			s.t.Fatal(err)
		}
		raw, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != want {
			s.t.Errorf("%s: %s %s, %v", path, answer.Status, raw, err)
		}
		if strings.HasSuffix(path, "session") && want == http.StatusOK && !strings.Contains(string(raw), `"seesReleases":true,"login":false`) {
			s.t.Errorf("session: %s", raw)
		}
	}
	cancel()
	if got := <-ended; got != statusOK {
		s.t.Errorf("it ended with %d:\n%s", got, out.String())
	}
}

func (s *cliSite) testHands() {
	s.t.Helper()
	s.awaitDrained()
	s.edit(atStep(20))
	s.release(oldImage)
	s.awaitRoute(20)
	s.run(statusOK, []string{"cli/podinfo: Paused by ", "(errors in the checkout)"}, "pause", app, "--reason=errors in the checkout")
	s.run(statusOK, nil, "status", app, "--for=paused")
	s.run(statusPerson, []string{"Paused by"}, "status", app)
	s.nextSecond()
	s.run(statusRefused, []string{"refused: it is paused already"}, "pause", app)
	s.at(pausedRelease, map[string]int{
		"list": statusOK, "get podinfo": statusOK, "why podinfo": statusOK, "history podinfo": statusOK, "status podinfo": statusPerson, "check podinfo": statusOK,
		"pause podinfo": statusRefused, "retry podinfo": statusRefused, "approve podinfo": statusRefused, "advance podinfo": statusRefused,
		"undo podinfo --now --to=s2-none --reason=x": statusRefused, "undo podinfo --to=s2-none": statusError,
	})
	s.run(statusOK, []string{"Refused", "errors in the checkout", "kubectl sluice resume"}, "get", app)
	s.run(statusRefused, []string{"refused: it is for revision another"}, "resume", app, "--revision=another")
	s.run(statusOK, []string{"Resumed by"}, "resume", app)
	s.run(statusRefused, []string{"refused: the release waits at no gate"}, "approve", app)
	s.run(statusError, []string{"confirm it with --yes"}, "promote", "-l", "team!=web")
	s.run(statusOK, []string{"Promoted early by"}, "promote", "-l", "team!=web", "--yes")
	s.run(statusOK, nil, "status", app, "--timeout=1m")

	s.awaitDrained()
	s.release(newImage)
	s.awaitRoute(20)
	s.run(statusError, []string{"say why with --reason"}, "abort", app)
	s.run(statusOK, []string{"Step ended by"}, "advance", app)
	s.run(statusOK, nil, "status", app, "--timeout=1m")

	s.awaitDrained()
	s.release(oldImage)
	s.awaitRoute(20)
	s.run(statusOK, []string{"Aborted by", "(customers complain)"}, "abort", app, "--reason=customers complain")
	s.run(statusUndone, []string{"customers complain"}, "status", app)
	s.run(statusOK, []string{"0 of 1 Canaries are in a state in which promote is possible"}, "promote", "-l", "team!=web", "--yes")
}

// testPast looks at what was released, and releases an earlier revision once more.
func (s *cliSite) testPast() {
	s.t.Helper()
	s.awaitDrained()
	failed := s.primaryImage()
	s.run(statusOK, []string{"REVISION", "RolledBack", "customers complain", "Serving", "Promoted", oldImage, newImage}, "history", app)
	s.run(statusOK, []string{`"kind": "History"`}, "history", app, "-o", "json")
	s.run(statusError, []string{"no template is kept of revision s2-none"}, "undo", app, "--to=s2-none")
	change[appsv1.Deployment](s.site, app, func(d *appsv1.Deployment) { d.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"} })
	s.run(statusError, []string{"is kept by Flux", "--force"}, "undo", app)
	s.run(statusOK, []string{"is set back to"}, "undo", app, "--force")
	s.run(statusOK, nil, "status", app, "--timeout=1m")
	if got := s.primaryImage(); got != failed {
		s.t.Errorf("the primary has %s, and had %s", got, failed)
	}
	s.testUndoNow(failed)
	s.run(statusOK, []string{"is set back to"}, "undo", app, "--force")
	s.awaitRoute(20)
	s.run(statusOK, []string{"Aborted by"}, "abort", app, "--reason=that was a test")
}

// testUndoNow has the primary go back at once, with the target left alone, and the undone revision released once more.
func (s *cliSite) testUndoNow(serves string) {
	s.t.Helper()
	s.run(statusError, []string{"say why with --reason"}, "undo", app, "--now")
	s.run(statusError, []string{"--reason is for --now"}, "undo", app, "--reason=x")
	s.run(statusRefused, []string{"refused: no template of that revision is kept of podinfo-primary; there are those of s2-"}, "undo", app, "--now", "--to=s2-none", "--reason=x")
	s.run(statusOK, []string{"Rolled back to s2-", "(the checkout fails)"}, "undo", app, "--now", "--reason=the checkout fails")
	s.run(statusUndone, []string{"the checkout fails"}, "status", app)
	s.await("the earlier revision", func(ctx context.Context) error {
		c := &v1beta1.Canary{}
		if err := s.api.Get(ctx, s.key(app), c); err != nil {
			return err
		}
		if c.Status.Rollback != nil || c.Status.LastPromotedSpec == c.Status.LastAppliedSpec {
			return fmt.Errorf("the status is %+v", c.Status)
		}
		return nil
	})
	if got := s.primaryImage(); got == serves {
		s.t.Errorf("the primary has %s still", got)
	}
	s.run(statusOK, []string{"RolledBack", "the checkout fails", "Serving"}, "history", app)
	s.run(statusOK, []string{"was rolled back", "is set back to revision s2-", "kubectl sluice retry"}, "why", app)
	s.run(statusError, []string{"already", "is not promoted", "--to"}, "undo", app, "--now", "--reason=x")
	s.run(statusOK, []string{"Tried again by"}, "retry", app)
	s.awaitRoute(20)
	s.run(statusOK, []string{"Promoted early by"}, "promote", app)
	s.run(statusOK, nil, "status", app, "--timeout=1m")
	if got := s.primaryImage(); got != serves {
		s.t.Errorf("the primary has %s, and the target is %s", got, serves)
	}
}

// testMissingRights has people with few rights get as far as these go, and be told which is missing.
func (s *cliSite) testMissingRights() {
	s.t.Helper()
	bob := []string{"-n", s.namespace, "--as", "bob"}
	s.runWith(bob, statusError, []string{"forbidden", "canaries"}, "get", app)
	s.runWith([]string{"--as", "bob"}, statusError, []string{"forbidden", "name one with -n"}, "list")
	s.create(&rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "reader"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"flagger.app"}, Resources: []string{"canaries"}, Verbs: []string{"get", "list", "watch"}}},
	})
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "bob"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "bob"}},
	})
	s.await("his rights", func(ctx context.Context) error {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "bob", ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: s.namespace, Group: "flagger.app", Resource: "canaries", Verb: "list",
		}}}
		if err := s.api.Create(ctx, review); err != nil || review.Status.Allowed {
			return err
		}
		return errors.New("he has none yet")
	})
	s.as(missingRight, bob, map[string]int{
		"list": statusOK, "get podinfo": statusOK, "why podinfo": statusOK, "status podinfo": statusUndone, "history podinfo": statusError, "check podinfo": statusError,
		"promote podinfo": statusError, "pause podinfo": statusError, "resume podinfo": statusError, "abort podinfo --reason=x": statusError, "retry podinfo": statusError,
		"approve podinfo": statusError, "advance podinfo": statusError, "undo podinfo --now --to=s2-none --reason=x": statusError, "undo podinfo": statusError,
	})
	s.runWith(bob, statusOK, []string{"RolledBack", "forbidden"}, "get", app)
	s.runWith(bob, statusUndone, []string{"warning", "what the operator has seen by now is followed"}, "status", app)
	s.runWith(bob, statusError, []string{"forbidden", "--clusterrole=sluice-actions --user=bob"}, "retry", app)
	s.runWith(bob, statusError, []string{"forbidden", "--clusterrole=sluice-actions --user=bob"}, "check", app)
}

// testNobodyActs asks for something while no operator runs.
func (s *cliSite) testNobodyActs() {
	s.t.Helper()
	s.stop()
	s.run(statusTimedOut, []string{"is the operator running?", "delete canaryaction podinfo-"}, "retry", app, "--timeout=1s")
	s.run(statusTimedOut, []string{"another", "has not begun"}, "status", app, "--revision=another", "--timeout=1s")
	s.run(statusOK, []string{"canaryaction.sluice.dev/podinfo-"}, "pause", app, "--wait=false")
	s.run(statusOK, []string{"is asked for and waits"}, "why", app)
	var actions v1alpha1.CanaryActionList
	if err := s.api.List(s.t.Context(), &actions, client.InNamespace(s.namespace)); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range actions.Items {
		if a.Spec.Revision == "" && a.Spec.Action != v1beta1.ActionCheck || a.Spec.RequestedBy == "" {
			s.t.Errorf("%s: %s", a.Name, fmt.Sprintf("%+v", a.Spec))
		}
	}
}
