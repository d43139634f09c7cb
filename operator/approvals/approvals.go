// Package approvals lets people take a hand in a release by the buttons of a message in Slack: whoever presses one acts with
// the name and the rights of a user of the cluster. It has no rule about releases: a press becomes a CanaryAction, which
// the API server lets the user create or not.
package approvals

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
	"github.com/sluice-delivery/sluice/webhooks/interactions"
)

// Path is where Slack sends what people press: the Request URL of the app is https://HOST followed by it.
const Path = "/slack/interactions"

const (
	// maxBody is how long what Slack sends may be. It has the message with it.
	maxBody = 256 << 10
	// mostAtOnce bounds how many presses are looked at, and wait for what comes of them.
	mostAtOnce = 16
	// within bounds all that belongs to one press, and actWithin how long the operator may take to act.
	within    = 20 * time.Second
	actWithin = 10 * time.Second
	// lookEvery is how often it is looked whether it has.
	lookEvery = 200 * time.Millisecond
)

// Config is what presses are taken with.
type Config struct {
	// Secret is the signing secret of the Slack app.
	Secret string
	// Users says who members are. It is asked at each press.
	Users func() (Users, error)
	// As gives a user of the cluster, whose requests are made with their own rights.
	As func(ctx context.Context, user rest.ImpersonationConfig) (*access.Person, error)
	// Canaries reads Canaries from the cache.
	Canaries client.Reader
	// Answer sends a message to the URL at which Slack takes an answer.
	Answer func(ctx context.Context, url string, message any) error
	// Clock tells the time.
	Clock clock.Clock
}

// Handler takes presses. Slack gets its answer at once; what comes of the press is told in the channel.
type Handler struct {
	Config

	turns   chan struct{}
	pending sync.WaitGroup
}

// New makes a Handler.
func New(c Config) *Handler {
	return &Handler{Config: c, turns: make(chan struct{}, mostAtOnce)}
}

// Wait waits for what comes of the presses that were taken.
func (h *Handler) Wait() { h.pending.Wait() }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != Path {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the request is too long", http.StatusRequestEntityTooLarge)
		return
	}
	press, err := interactions.Read(r.Header, body, h.Secret)
	switch {
	case errors.Is(err, interactions.ErrSignature):
		http.Error(w, interactions.ErrSignature.Error(), http.StatusUnauthorized)
		return
	case errors.Is(err, interactions.ErrOther): // such as a link, which Slack tells of too
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case h.turns <- struct{}{}:
	default:
		http.Error(w, "too many at once", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), within)
	h.pending.Go(func() {
		defer func() { cancel(); <-h.turns }()
		h.take(ctx, press)
	})
}

// take does what was pressed, and tells what came of it.
func (h *Handler) take(ctx context.Context, press interactions.Press) {
	said, err := h.act(ctx, press)
	message := press.Refused(said)
	switch {
	case err == nil:
		message = press.Done(said)
	case said == "":
		log.FromContext(ctx).Error(err, "A press in Slack came to nothing", "member", press.User, "team", press.Team)
		message = press.Refused("It did not work. Try again, or use kubectl sluice.")
	default:
		log.FromContext(ctx).Info("A press in Slack was refused", "member", press.User, "team", press.Team, "why", said)
	}
	if err := h.Answer(ctx, press.Answer, message); err != nil {
		log.FromContext(ctx).Error(err, "Slack was not told what came of a press", "member", press.User)
	}
}

// errRefused is for a press that comes to nothing, for a reason that whoever has pressed can read.
var errRefused = errors.New("refused")

// act creates the action of a button as the user whom the one who has pressed is in the cluster, and waits for what comes of
// it. With an error the text says why nothing was done, and is empty where a person could do nothing about it.
func (h *Handler) act(ctx context.Context, press interactions.Press) (string, error) {
	users, err := h.Users()
	if err != nil {
		return "", err
	}
	user, ok := users.of(press.Team, press.User)
	if !ok {
		return fmt.Sprintf("Nobody of the cluster is known to be member %s of workspace %s. Whoever runs Sluice can add you to the users of Slack.", press.User, press.Team), errRefused
	}
	b, err := unseal(press.Value, h.Secret)
	if err != nil {
		return text.Sentence(err.Error()) + ".", errRefused
	}
	c := &v1beta1.Canary{}
	if err := h.Canaries.Get(ctx, client.ObjectKey{Namespace: b.Namespace, Name: b.Name}, c); err != nil {
		if apierrors.IsNotFound(err) {
			return "There is no Canary " + b.Namespace + "/" + b.Name + " any more.", errRefused
		}
		return "", fmt.Errorf("read Canary %s/%s: %w", b.Namespace, b.Name, err)
	}
	if why := b.stale(c); why != "" {
		return text.Sentence(why) + ".", errRefused
	}
	person, err := h.As(ctx, user)
	if err != nil {
		return "", fmt.Errorf("user %s: %w", user.UserName, err)
	}
	action := v1alpha1.NewCanaryAction(c, v1alpha1.CanaryActionSpec{
		Action: b.Action, Reason: "in Slack, as " + v1beta1.OneLine(press.UserName, 100), Revision: b.Revision, RequestedBy: person.Name,
	})
	if err := person.Client.Create(ctx, action); err != nil {
		if apierrors.IsForbidden(err) {
			return fmt.Sprintf("You are %s in the cluster, who has no right to %s in %s.", person.Name, access.Acts(c.Namespace), c.Namespace), errRefused
		}
		return "", fmt.Errorf("create the action: %w", err)
	}
	return h.outcome(ctx, action)
}

// outcome waits until the operator has acted, and says what came of it.
func (h *Handler) outcome(ctx context.Context, action *v1alpha1.CanaryAction) (string, error) {
	until := h.Clock.Now().Add(actWithin)
	c := &v1beta1.Canary{}
	for h.Clock.Now().Before(until) {
		if err := h.Canaries.Get(ctx, client.ObjectKey{Namespace: action.Namespace, Name: action.Spec.Canary}, c); client.IgnoreNotFound(err) != nil {
			return "", fmt.Errorf("what came of %s: %w", action.Name, err)
		}
		if last := action.Outcome(c); last != nil {
			said := text.Sentence(v1beta1.OneLine(last.Message, 500)) + "."
			if !last.Done {
				return said, errRefused
			}
			return said, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-h.Clock.After(lookEvery):
		}
	}
	return string(action.Spec.Action) + " by " + action.Spec.RequestedBy + " is asked for, and waits for the operator.", nil
}
