package approvals

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
	"github.com/sluice-delivery/sluice/webhooks/interactions"
	"github.com/sluice-delivery/sluice/webhooks/interactions/interactionstest"
)

const secret = "8f742231b10e8888abcd99yyyzzz85a5"

var closed = metav1.NewMicroTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))

// waiting is a Canary at a gate.
func waiting() *v1beta1.Canary {
	return &v1beta1.Canary{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: "u1"},
		Status: v1beta1.CanaryStatus{
			Phase: v1beta1.PhaseWaitingPromotion, LastAppliedSpec: "v1-b", StartedAt: &metav1.MicroTime{Time: closed.Add(-time.Minute)},
			Gate: &v1beta1.GateStatus{Type: v1beta1.ConfirmPromotionHook, Since: closed},
		},
	}
}

// room is Slack, the cluster and the users.
type room struct {
	t       *testing.T
	handler *Handler
	api     client.Client
	mu      sync.Mutex
	said    []map[string]any
}

// newRoom has alice, who may do everything, and bob, who may do nothing. Actions are done at once.
func newRoom(t *testing.T, c *v1beta1.Canary) *room {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1beta1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	r := &room{t: t}
	r.api = fake.NewClientBuilder().WithScheme(scheme).WithObjects(c).WithStatusSubresource(c).Build()
	r.handler = New(Config{
		Secret: secret, Canaries: r.api, Clock: clock.RealClock{},
		Users: func() (Users, error) {
			return Users{Team: "T1", Users: map[string]User{"U1": {User: "alice", Groups: []string{"on-call"}}, "U2": {User: "bob"}}}, nil
		},
		As: func(_ context.Context, u rest.ImpersonationConfig) (*access.Person, error) {
			return &access.Person{Name: u.UserName, Client: interceptor.NewClient(r.api.(client.WithWatch), interceptor.Funcs{
				Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
					if u.UserName != "alice" {
						return apierrors.NewForbidden(schema.GroupResource{Group: "sluice.dev", Resource: "canaryactions"}, "", errors.New("no"))
					}
					o.SetName("cart-x")
					o.SetUID("u2")
					if err := w.Create(ctx, o, opts...); err != nil {
						return err
					}
					return r.done(ctx, o.(*v1alpha1.CanaryAction))
				},
			})}, nil
		},
		Answer: func(_ context.Context, to string, message any) error {
			raw, err := json.Marshal(message)
			if err != nil {
				return err
			}
			var out map[string]any
			if err := json.Unmarshal(raw, &out); err != nil {
				return err
			}
			out["to"] = to
			r.mu.Lock()
			defer r.mu.Unlock()
			r.said = append(r.said, out)
			return nil
		},
	})
	return r
}

// done has the operator do what an action asks for.
func (r *room) done(ctx context.Context, a *v1alpha1.CanaryAction) error {
	c := &v1beta1.Canary{}
	if err := r.api.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: a.Spec.Canary}, c); err != nil {
		return err
	}
	c.Status.LastAction = &v1beta1.ActionStatus{Name: a.Identity(), Action: a.Spec.Action, Done: a.Spec.Action != v1beta1.ActionAbort, Message: string(a.Spec.Action) + " by " + a.Spec.RequestedBy}
	return r.api.Status().Update(ctx, c)
}

// press sends what Slack sends, and gives its status and what was said then.
func (r *room) press(team, member, value, with string) (int, map[string]any) {
	r.t.Helper()
	request, err := interactionstest.Request(r.t.Context(), Path, with, time.Now(), interactionstest.Press{
		Team: team, User: member, Name: "al", Block: interactions.Block, Value: value, Answer: "https://hooks.slack.com/actions/x",
		Message: map[string]any{"text": "Waiting at a gate: shop/cart", "ts": "1.2", "attachments": []any{
			map[string]any{"text": "why", "id": 1},
			map[string]any{"id": 2, "blocks": []any{map[string]any{"type": "actions", "block_id": interactions.Block, "elements": []any{}}}},
		}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	r.handler.ServeHTTP(answer, request)
	r.handler.Wait()
	if len(r.said) == 0 {
		return answer.Code, nil
	}
	return answer.Code, r.said[len(r.said)-1]
}

// actions are those that were created.
func (r *room) actions() []v1alpha1.CanaryActionSpec {
	r.t.Helper()
	var list v1alpha1.CanaryActionList
	if err := r.api.List(r.t.Context(), &list); err != nil {
		r.t.Fatal(err)
	}
	var out []v1alpha1.CanaryActionSpec
	for _, a := range list.Items {
		out = append(out, a.Spec)
	}
	return out
}

// values are those of the buttons of a message about a Canary.
func values(c *v1beta1.Canary) map[string]string {
	out := map[string]string{}
	for _, x := range Choices(secret)(c, alerts.Alert{Reason: release.ReasonGateClosed}) {
		out[x.Name] = x.Value
	}
	return out
}

func TestPress(t *testing.T) {
	forged, err := button{Namespace: "shop", Name: "cart", Action: v1beta1.ActionApprove}.seal("another")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		team, member, button, value string
		secret                      string
		since                       func(*v1beta1.Canary)
		status                      int
		says                        string
		replaced                    bool
		want                        []v1alpha1.CanaryActionSpec
	}{
		"approved": {
			button: "Approve", status: http.StatusOK, says: "Approve by alice.", replaced: true,
			want: []v1alpha1.CanaryActionSpec{{Canary: "cart", Action: v1beta1.ActionApprove, Reason: "in Slack, as al", Revision: "v1-b", RequestedBy: "alice"}},
		},
		"what the operator refuses": {
			button: "Abort", status: http.StatusOK, says: "Abort by alice.",
			want: []v1alpha1.CanaryActionSpec{{Canary: "cart", Action: v1beta1.ActionAbort, Reason: "in Slack, as al", Revision: "v1-b", RequestedBy: "alice"}},
		},
		"without the right":       {member: "U2", button: "Approve", status: http.StatusOK, says: "You are bob in the cluster, who has no right to create canaryactions.sluice.dev in shop."},
		"nobody of the cluster":   {member: "U3", button: "Approve", status: http.StatusOK, says: "Nobody of the cluster is known to be member U3"},
		"of another workspace":    {team: "T2", button: "Approve", status: http.StatusOK, says: "Nobody of the cluster is known to be member U1 of workspace T2"},
		"not signed by Slack":     {button: "Approve", secret: "x", status: http.StatusUnauthorized},
		"a button of others":      {value: forged, status: http.StatusOK, says: "none of this operator's"},
		"no button at all":        {value: "Approve", status: http.StatusOK, says: "none of this operator's"},
		"the gate opened":         {button: "Approve", since: func(c *v1beta1.Canary) { c.Status.Gate = nil }, status: http.StatusOK, says: "does not wait at this gate"},
		"it is at a later gate":   {button: "Approve", since: func(c *v1beta1.Canary) { c.Status.Gate.Since.Time = closed.Add(time.Hour) }, status: http.StatusOK, says: "does not wait at this gate"},
		"another kind of gate":    {button: "Approve", since: func(c *v1beta1.Canary) { c.Status.Gate.Type = v1beta1.ConfirmTrafficIncreaseHook }, status: http.StatusOK, says: "does not wait at this gate"},
		"another release":         {button: "Abort", since: func(c *v1beta1.Canary) { c.Status.StartedAt.Time = closed.Add(time.Hour) }, status: http.StatusOK, says: "about an earlier release"},
		"it has ended":            {button: "Abort", since: func(c *v1beta1.Canary) { c.Status.Phase = v1beta1.PhaseFailed }, status: http.StatusOK, says: "Abort is not possible any more."},
		"another Canary, by name": {button: "Abort", since: func(c *v1beta1.Canary) { c.UID = "u9" }, status: http.StatusOK, says: "about an earlier release"},
	} {
		t.Run(name, func(t *testing.T) {
			c := waiting()
			value := tc.value
			if value == "" {
				value = values(c)[tc.button]
			}
			if tc.since != nil {
				tc.since(c)
			}
			r := newRoom(t, c)
			code, said := r.press(or(tc.team, "T1"), or(tc.member, "U1"), value, or(tc.secret, secret))
			if code != tc.status {
				t.Errorf("status %d, want %d", code, tc.status)
			}
			if diff := cmp.Diff(tc.want, r.actions()); diff != "" {
				t.Errorf("actions, -want +got:\n%s", diff)
			}
			if tc.status != http.StatusOK {
				if said != nil {
					t.Errorf("said %v", said)
				}
				return
			}
			raw, err := json.Marshal(said)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(raw), tc.says) || said["to"] != "https://hooks.slack.com/actions/x" {
				t.Errorf("said %s, want %q", raw, tc.says)
			}
			if said["replace_original"] != tc.replaced || (said["response_type"] == "ephemeral") == tc.replaced {
				t.Errorf("said %s to everybody: want %t", raw, tc.replaced)
			}
			if tc.replaced && (strings.Contains(string(raw), interactions.Block) || !strings.Contains(string(raw), "why")) {
				t.Errorf("the message has to stay without its buttons: %s", raw)
			}
		})
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func TestChoicesAreOfGates(t *testing.T) {
	if got := Choices(secret)(waiting(), alerts.Alert{Reason: release.ReasonCheckFailed}); got != nil {
		t.Errorf("got %v for another alert", got)
	}
	got := Choices(secret)(waiting(), alerts.Alert{Reason: release.ReasonGateClosed})
	if len(got) != 2 || got[0].Dangerous || !got[1].Dangerous || !strings.Contains(got[0].Question, "confirm-promotion gate of shop/cart for revision v1-b") {
		t.Errorf("got %+v", got)
	}
	long := waiting()
	long.Namespace, long.Name, long.Status.LastAppliedSpec = strings.Repeat("n", 63), strings.Repeat("c", 253), strings.Repeat("r", 100)
	for name, v := range values(long) {
		if len(v) > 2000 {
			t.Errorf("the value of %s has %d characters, and Slack takes 2000", name, len(v))
		}
	}
}

func TestReadUsers(t *testing.T) {
	for text, want := range map[string]string{
		"team: T1\nusers: {U1: {user: alice, groups: [on-call]}}":      "",
		"users: {U1: {user: alice}}":                                   "team: the id of the workspace",
		"team: T1\nusers: {U1: {groups: [on-call]}}":                   "users[U1].user: the name of a user",
		"team: T1\nusers: {U1: {user: 'system:admin'}}":                "nobody of system:",
		"team: T1\nusers: {U1: {user: a, groups: ['system:masters']}}": "nobody of system:",
		"team: T1\nuser: {}":                                           "unknown field",
	} {
		path := filepath.Join(t.TempDir(), "users.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadUsers(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
