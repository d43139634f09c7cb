package checks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/operator/world"
	"github.com/sluice-delivery/sluice/webhooks"
)

// Hooks calls the hooks of Canaries.
type Hooks struct {
	// Guard says what may be called.
	Guard *webhooks.Guard
	// Client makes the calls.
	Client *webhooks.Client
	// Events is the queue of calls that tell events.
	Events *webhooks.Events
	// Secrets has the credentials.
	Secrets *secrets.Reader
	// Clock tells the time of events.
	Clock clock.PassiveClock
	// Operators is told the events of Canaries that have no event hook of their own; nil where nobody is.
	Operators *OperatorsHook
}

// OperatorsHook is an event hook of the operator's, for Canaries without one.
type OperatorsHook struct {
	// Hook says what is called.
	Hook v1beta1.CanaryWebhook
	// Secret gives what it is called with, in the keys of a hook's Secret; nil where nothing is.
	Secret func() (map[string][]byte, error)
	// Events is the queue of its calls.
	Events *webhooks.Events
}

// call is one call of it.
func (h *OperatorsHook) call(payload webhooks.Payload, key string) (webhooks.Call, error) {
	var credentials webhooks.Credentials
	if h.Secret != nil {
		data, err := h.Secret()
		if err != nil {
			return webhooks.Call{}, err
		}
		if credentials, err = webhooks.ParseSecret(data); err != nil {
			return webhooks.Call{}, err
		}
	}
	return webhooks.NewCall(&h.Hook, payload, credentials, key)
}

// Call calls one hook of a release and gives its answer for people to read. The
// same id is the same call for whoever is called, after a crash too.
func (h *Hooks) Call(ctx context.Context, c *v1beta1.Canary, hook v1beta1.CanaryWebhook, id release.CheckID) (string, error) {
	key := callKey(c, hook, id)
	if polled(id.Hooks) {
		// Each poll of a gate is a call of its own: a receiver that goes by keys would give its first answer for ever.
		key += "/" + strconv.FormatInt(h.Clock.Now().UnixNano(), 10)
	}
	call, err := h.prepare(ctx, c, hook, webhooks.NewPayload(c, c.Status.Phase, &hook), key)
	if err != nil {
		return "", err
	}
	answer, err := h.Client.Do(ctx, call)
	if err != nil {
		return statusOf(answer), err
	}
	return statusOf(answer), nil
}

// Check says what of a Canary's hooks can't be called or can't have its Secret, as a mistake of its user. What
// is only known from the address that a name leads to is found at the call.
func (h *Hooks) Check(ctx context.Context, c *v1beta1.Canary) error {
	var missing error // what is wrong with another hook is more than that a Secret is not there yet
	for i, hook := range c.GetAnalysis().Webhooks {
		field := fmt.Sprintf("spec.analysis.webhooks[%d], %s", i, hook.Name)
		if err := h.Guard.CheckURL(hook.URL); err != nil {
			return world.Mistake(world.ReasonInvalidSpec, "%s: url: %v; the operator's -hooks-allowed-hosts and -allowed-addresses say what may be called", field, err)
		}
		_, err := h.credentials(ctx, c, hook)
		refused := secrets.AsRefused(err)
		switch {
		case refused != nil:
			return world.Mistake(sources.ReasonSecretRefused, "%s: secretRef: %v", field, refused)
		case errors.Is(err, secrets.ErrNotFound):
			missing = cmp.Or(missing, world.Missing(sources.ReasonSecretMissing, "%s: secretRef: there is no Secret %s in the namespace %s", field, hook.SecretRef.Name, c.Namespace))
		case webhooks.IsMistake(err):
			return world.Mistake(world.ReasonInvalidSpec, "%s: secretRef: Secret %s: %v", field, hook.SecretRef.Name, err)
		case err != nil: // it is tried again when the hook is called
			log.FromContext(ctx).V(1).Info("The Secret of a hook can't be looked at", "hook", hook.Name, "problem", err.Error())
		}
	}
	return missing
}

func statusOf(a webhooks.Answer) string {
	if a.Status == 0 {
		return ""
	}
	return strconv.Itoa(a.Status)
}

// callKey tells calls apart, by what the status says of them.
func callKey(c *v1beta1.Canary, hook v1beta1.CanaryWebhook, id release.CheckID) string {
	return webhooks.IdempotencyKey(string(c.UID), id.Revision, strconv.FormatInt(id.Attempt, 10), strconv.Itoa(int(id.Step)), strconv.FormatInt(id.Window, 10), strconv.Itoa(int(id.Round)),
		string(hook.GetType()), hook.Name)
}

func (h *Hooks) prepare(ctx context.Context, c *v1beta1.Canary, hook v1beta1.CanaryWebhook, payload webhooks.Payload, key string) (webhooks.Call, error) {
	credentials, err := h.credentials(ctx, c, hook)
	if err != nil {
		return webhooks.Call{}, err
	}
	return webhooks.NewCall(&hook, payload, credentials, key)
}

// credentials are those of a hook, for the host of its URL.
func (h *Hooks) credentials(ctx context.Context, c *v1beta1.Canary, hook v1beta1.CanaryWebhook) (webhooks.Credentials, error) {
	if hook.SecretRef == nil {
		return webhooks.Credentials{}, nil
	}
	use := secrets.Use{Purpose: secrets.Hooks}
	if u, err := url.Parse(hook.URL); err == nil {
		use.Host = u.Hostname()
	}
	data, err := h.Secrets.Data(ctx, c.Namespace, hook.SecretRef.Name, use)
	if err != nil {
		return webhooks.Credentials{}, err
	}
	return webhooks.ParseSecret(data)
}

// Event queues the call of an event for the Canary's event hooks, or for the operator's where it has none.
func (h *Hooks) Event(ctx context.Context, c *v1beta1.Canary, kind, reason, message string) {
	now := h.Clock.Now()
	payload := func(hook *v1beta1.CanaryWebhook) (webhooks.Payload, string) {
		key := webhooks.IdempotencyKey(string(c.UID), c.ResourceVersion, reason, strconv.FormatInt(now.UnixNano(), 10), hook.Name)
		return webhooks.NewPayload(c, c.Status.Phase, hook).Event(message, kind, now), key
	}
	enqueue := func(queue *webhooks.Events, hook string, call webhooks.Call, err error) {
		switch {
		case err == nil:
			queue.Enqueue(call)
		case !errors.Is(err, context.Canceled):
			log.FromContext(ctx).Error(err, "An event hook is not called", "hook", hook)
		}
	}
	own := c.GetAnalysis().HooksOf(v1beta1.EventHook)
	for _, hook := range own {
		payload, key := payload(&hook)
		call, err := h.prepare(ctx, c, hook, payload, key)
		enqueue(h.Events, hook.Name, call, err)
	}
	if len(own) == 0 && h.Operators != nil {
		payload, key := payload(&h.Operators.Hook)
		call, err := h.Operators.call(payload, key)
		enqueue(h.Operators.Events, h.Operators.Hook.Name, call, err)
	}
}
