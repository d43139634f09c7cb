// Package access says who looks at the dashboard and what they may see and do: what the API server lets them.
package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/operator/kube"
)

// knownFor is for how long an answer of the API server about rights holds.
const knownFor = time.Minute

// askedAtOnce bounds how many rights of one person are asked for at the same time.
const askedAtOnce = 8

// Right is something that somebody may do in a namespace, or in all where it is empty.
type Right struct {
	Verb, Group, Resource, Namespace string
}

// String is the right as kubectl auth can-i has it.
func (r Right) String() string { return r.Verb + " " + r.Resource + "." + r.Group }

// Sees is the right to see the releases of a namespace.
func Sees(namespace string) Right { return Right{"list", "flagger.app", "canaries", namespace} }

// Acts is the right to take a hand in the releases of a namespace.
func Acts(namespace string) Right {
	return Right{"create", "sluice.dev", "canaryactions", namespace}
}

// Person is somebody who looks, as the API server knows them. It is safe for concurrent use.
type Person struct {
	// Name is the name of the user; empty for nobody in particular.
	Name string
	// Client makes requests with the rights that the person has.
	Client client.Client
	// ReadOnly says why nothing may be done; empty where rights decide.
	ReadOnly string

	clock clock.PassiveClock
	// all is true for one who sees everything without rights of their own.
	all bool

	mu    sync.Mutex
	known map[Right]answer
}

type answer struct {
	allowed bool
	until   time.Time
}

// Anonymous is nobody in particular, who sees all releases and may do nothing. What is beside them is read by c.
func Anonymous(c client.Client, clock clock.PassiveClock) *Person {
	return &Person{Client: c, ReadOnly: "Nobody is logged in, so that there is nothing to do here but to look.", clock: clock, all: true}
}

// NewPerson is the user of a client.
func NewPerson(ctx context.Context, c client.Client, clock clock.PassiveClock) (*Person, error) {
	p := &Person{Client: c, clock: clock}
	return p, p.identify(ctx)
}

// identify has the API server say who it is.
func (p *Person) identify(ctx context.Context) error {
	review := &authenticationv1.SelfSubjectReview{}
	if err := p.Client.Create(ctx, review); err != nil {
		return fmt.Errorf("who it is: %w", err)
	}
	p.Name = review.Status.UserInfo.Username
	return nil
}

// May tells whether the person has a right. The API server is asked, and its answer holds for a minute.
func (p *Person) May(ctx context.Context, r Right) (bool, error) {
	if p.all {
		return slices.Contains([]string{"get", "list", "watch"}, r.Verb), nil
	}
	now := p.clock.Now()
	p.mu.Lock()
	known, ok := p.known[r]
	p.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.allowed, nil
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: r.Verb, Group: r.Group, Resource: r.Resource, Namespace: r.Namespace},
	}}
	if err := p.Client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("whether %s may %s: %w", p.Name, r, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = map[Right]answer{}
	}
	p.known[r] = answer{review.Status.Allowed, now.Add(knownFor)}
	return review.Status.Allowed, nil
}

// Forget has the API server be asked anew.
func (p *Person) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.known)
}

// Seen are those of some namespaces whose releases the person may see.
func (p *Person) Seen(ctx context.Context, namespaces []string) (map[string]bool, error) {
	out := map[string]bool{}
	all, err := p.May(ctx, Sees(""))
	if err != nil {
		return nil, err
	}
	if all {
		for _, n := range namespaces {
			out[n] = true
		}
		return out, nil
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	turn := make(chan struct{}, askedAtOnce)
	for _, n := range namespaces {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			sees, err := p.May(ctx, Sees(n))
			mu.Lock()
			defer mu.Unlock()
			out[n] = sees
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	return out, failed
}

// SeesIn tells whether the person may see the releases of a namespace.
func (p *Person) SeesIn(ctx context.Context, namespace string) (bool, error) {
	seen, err := p.Seen(ctx, []string{namespace})
	return seen[namespace], err
}

// NewClient makes a client that makes no request but those that it is told to: the kinds are known.
func NewClient(config *rest.Config, scheme *runtime.Scheme) (client.Client, error) {
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: kube.KnownMapper(scheme)})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return c, nil
}
