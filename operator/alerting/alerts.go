package alerting

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/secrets"
	"github.com/sluice-delivery/sluice/operator/sources"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// ReasonNotSent: an alert could not be sent; the message names the receiver and says what it answered.
const ReasonNotSent = "AlertNotSent"

// Keys of the Secret of an AlertProvider.
const (
	keyAddress = "address"
	keyToken   = "token"
	keyHMAC    = "hmac-key"
)

// Queue takes messages and returns at once.
type Queue interface {
	Enqueue(d alerts.Delivery)
}

// Alerts sends the alerts of Canaries. Notify makes no request: who gets an alert, and by what address, is found out
// where it is sent, beside the reconciler.
type Alerts struct {
	// Queue takes what is to be sent.
	Queue Queue
	// Reader reads AlertProviders from the informer cache.
	Reader client.Reader
	// Secret gives the content of a Secret.
	Secret func(ctx context.Context, namespace, name string, use secrets.Use) (map[string][]byte, error)
	// New gives the Sender of a receiver. Its error, like those of the Sender, holds nothing that is secret.
	New func(alerts.Receiver) (alerts.Sender, error)
	// Recorder sends the event that an alert could not be sent; nil leaves it to the log.
	Recorder events.EventRecorder
	// Clock tells the time of alerts.
	Clock clock.PassiveClock
	// Global are the operator's own receivers, for Canaries without alerts of their own.
	Global []Global
	// Cluster is the name of the cluster, empty for none.
	Cluster string
	// Links are those of every message.
	Links alerts.LinkTemplates
	// Choices are what a person can do about an alert of a Canary by buttons; nil where no presses are taken.
	Choices func(after *v1beta1.Canary, a alerts.Alert) []alerts.Choice
	// NoCrossNamespace refuses AlertProviders of other namespaces.
	NoCrossNamespace bool

	memory imageMemory
}

// Global is a receiver of the operator's own.
type Global struct {
	// Name is for numbers and logs.
	Name string
	// Receiver is where it is.
	Receiver alerts.Receiver
}

// Notify queues the alerts of the events that took a Canary from one status to another, after that was persisted.
func (a *Alerts) Notify(_ context.Context, before *v1beta1.CanaryStatus, after *v1beta1.Canary, images Images, all []release.Event) {
	for _, e := range all {
		alert, ok := From(before, after, images, e, a.Cluster, a.Clock.Now())
		if !ok {
			continue
		}
		a.memory.complete(&alert)
		alert.Links = a.Links.Render(alert)
		if a.Choices != nil {
			alert.Choices = a.Choices(after, alert)
		}
		a.send(after, alert)
	}
}

func (a *Alerts) send(c *v1beta1.Canary, alert alerts.Alert) {
	message := alerts.Compose(alert)
	about := reference(c)
	wanted, global := alerts.Select(c.GetAnalysis().Alerts, alert.Severity)
	if global {
		for _, g := range a.Global {
			a.enqueue(about, alerts.Destination{Name: g.Name}, message, func(context.Context) (alerts.Sender, error) { return a.New(g.Receiver) })
		}
		return
	}
	for _, w := range wanted {
		to := alerts.Destination{Namespace: w.ProviderRef.Namespace, Name: w.ProviderRef.Name}
		if to.Namespace == "" {
			to.Namespace = c.Namespace
		}
		foreign := to.Namespace != c.Namespace
		a.enqueue(about, to, message, func(ctx context.Context) (alerts.Sender, error) { return a.open(ctx, to, foreign) })
	}
}

func (a *Alerts) enqueue(about *v1beta1.Canary, to alerts.Destination, m alerts.Message, open func(context.Context) (alerts.Sender, error)) {
	a.Queue.Enqueue(alerts.Delivery{To: to, Message: m, Open: open, Undelivered: func(err error) {
		if a.Recorder != nil {
			a.Recorder.Eventf(about, nil, corev1.EventTypeWarning, ReasonNotSent, "Alert", "%s",
				alerts.Cut(fmt.Sprintf("Alert %q was not sent to %s: %v", m.Alert.Title, to, err), 1000))
		}
	}})
}

// reference is what an event needs of a Canary, and no more: it is kept for as long as its alerts wait.
func reference(c *v1beta1.Canary) *v1beta1.Canary {
	return &v1beta1.Canary{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1beta1.GroupVersion.String(), Kind: "Canary"},
		ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name, UID: c.UID},
	}
}

// open gives the Sender of an AlertProvider as it is now.
func (a *Alerts) open(ctx context.Context, of alerts.Destination, foreign bool) (alerts.Sender, error) {
	if foreign && a.NoCrossNamespace {
		return nil, alerts.Permanent("AlertProvider "+of.String(), errors.New("it is in another namespace, and references to other namespaces are off"))
	}
	provider := &v1beta1.AlertProvider{}
	if err := a.Reader.Get(ctx, client.ObjectKey{Namespace: of.Namespace, Name: of.Name}, provider); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, alerts.Permanent("AlertProvider "+of.String(), errors.New("there is none"))
		}
		return nil, fmt.Errorf("read AlertProvider %s: %w", of, err)
	}
	receiver, err := a.receiver(ctx, provider)
	if err != nil {
		return nil, alertProblem(of, err)
	}
	sender, err := a.New(receiver)
	if err != nil {
		log.FromContext(ctx).V(1).Info("An AlertProvider can't be used", "alertProvider", of.String(), "problem", err.Error())
		return nil, alerts.Permanent("AlertProvider "+of.String(), err)
	}
	return sender, nil
}

// alertProblem makes an error of which another try would not get rid of what only a person can mend.
func alertProblem(of alerts.Destination, err error) error {
	if p := sources.AsProblem(err); p != nil && p.Reason != sources.ReasonSecretMissing { // which may come any moment
		return alerts.Permanent("AlertProvider "+of.String(), err)
	}
	return fmt.Errorf("AlertProvider %s: %w", of, err)
}

// Check says whether Canaries can use an AlertProvider: nil, a [*sources.Problem], or why that can't be told now. Nothing
// is sent.
func (a *Alerts) Check(ctx context.Context, p *v1beta1.AlertProvider) error {
	receiver, err := a.receiver(ctx, p)
	if err != nil {
		return err
	}
	if _, err := a.New(receiver); err != nil {
		return &sources.Problem{Reason: sources.ReasonProviderInvalid, Message: "spec: " + err.Error()}
	}
	if p.Spec.Approvals && a.Choices == nil {
		return &sources.Problem{Reason: sources.ReasonProviderInvalid, Message: "spec.approvals: messages have no buttons, as this operator takes no presses from Slack (-slack-approvals-address)"}
	}
	return nil
}

// receiver is an AlertProvider with what its Secret says, which comes first.
func (a *Alerts) receiver(ctx context.Context, p *v1beta1.AlertProvider) (alerts.Receiver, error) {
	r := alerts.Receiver{Type: p.Spec.Type, Address: p.Spec.Address, Channel: p.Spec.Channel, Username: p.Spec.Username, Proxy: p.Spec.Proxy, Interactive: p.Spec.Approvals}
	if p.Spec.SecretRef == nil {
		return r, nil
	}
	data, err := a.secret(ctx, p, "")
	if err != nil {
		return r, err
	}
	if address, ok := data[keyAddress]; ok {
		r.Address = trimmed(address)
	}
	r.Token, r.Key = trimmed(data[keyToken]), data[keyHMAC]
	if r.Address == "" && r.Token == "" {
		return r, &sources.Problem{Reason: sources.ReasonProviderInvalid, Message: fmt.Sprintf(
			"spec.secretRef: the Secret %s has neither %s nor %s, and spec.address is not set", p.Spec.SecretRef.Name, keyAddress, keyToken)}
	}
	return r, a.consented(ctx, p, r)
}

// consented asks the Secret whether it may go where the AlertProvider, and not the Secret itself, leads it: to the address,
// and to a proxy, which reads what is not encrypted.
func (a *Alerts) consented(ctx context.Context, p *v1beta1.AlertProvider, r alerts.Receiver) error {
	for address, sees := range map[string]bool{
		p.Spec.Address: p.Spec.Address == r.Address,
		p.Spec.Proxy:   !strings.HasPrefix(strings.ToLower(r.Address), "https://"),
	} {
		u, err := url.Parse(address)
		if !sees || err != nil || u.Hostname() == "" {
			continue
		}
		if _, err := a.secret(ctx, p, u.Hostname()); err != nil {
			return err
		}
	}
	return nil
}

func (a *Alerts) secret(ctx context.Context, p *v1beta1.AlertProvider, host string) (map[string][]byte, error) {
	name := p.Spec.SecretRef.Name
	data, err := a.Secret(ctx, p.Namespace, name, secrets.Use{Purpose: secrets.Alerts, Host: host})
	refused := secrets.AsRefused(err)
	switch {
	case errors.Is(err, secrets.ErrNotFound):
		return nil, &sources.Problem{Reason: sources.ReasonSecretMissing, Message: fmt.Sprintf("spec.secretRef: there is no Secret %s in the namespace %s", name, p.Namespace)}
	case refused != nil:
		return nil, &sources.Problem{Reason: sources.ReasonSecretRefused, Message: "spec.secretRef: " + refused.Error()}
	}
	return data, err
}

// trimmed is a value without the line break that an editor leaves at its end.
func trimmed(value []byte) string { return strings.TrimSpace(string(value)) }

// imageMemory remembers what each release came from: when it ends, the primary runs the new images already. After a
// restart the messages of a release that was under way say only where it leads.
type imageMemory struct {
	mu    sync.Mutex
	known map[string]imagePair
	order []string
}

type imagePair struct{ from, to string }

// maxReleases is how many releases are remembered.
const maxReleases = 4096

// complete fills in what a release came from.
func (m *imageMemory) complete(a *alerts.Alert) {
	if a.Release == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if pair, ok := m.known[a.Release]; ok {
		a.From, a.To = pair.from, pair.to
		return
	}
	if a.From == a.To || a.From == "" {
		return
	}
	if m.known == nil {
		m.known = map[string]imagePair{}
	}
	m.known[a.Release] = imagePair{a.From, a.To}
	m.order = append(m.order, a.Release)
	if len(m.order) > maxReleases {
		delete(m.known, m.order[0])
		m.order = m.order[1:]
	}
}
