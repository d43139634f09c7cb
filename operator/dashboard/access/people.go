package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

// ErrNobody is for requests of nobody who may look.
var ErrNobody = errors.New("nobody is logged in")

// mostPeople bounds how many people are remembered.
const mostPeople = 1000

// identifyWithin is how long the API server may take to say who somebody is.
const identifyWithin = 10 * time.Second

// People tells who a request comes from: by headers of a trusted proxy, by a token that the API server knows, or, where
// that is allowed, nobody in particular. Whoever it is, their requests are made with their own rights.
type People struct {
	// Config is how the API server is reached. Of its credentials nothing is used for people with a token.
	Config *rest.Config
	// Scheme has the kinds that are read and written.
	Scheme *runtime.Scheme
	// Clock tells the time.
	Clock clock.PassiveClock
	// Anonymous is who looks without being anybody; nil where people have to say who they are.
	Anonymous *Person
	// Proxies are trusted to say who it is; nil for none.
	Proxies *Proxies

	mu    sync.Mutex
	known map[[sha256.Size]byte]acquaintance
}

type acquaintance struct {
	person *Person
	until  time.Time
}

// Of tells who a request comes from; ErrNobody where it is nobody who may look.
func (p *People) Of(r *http.Request) (*Person, error) {
	if p.Proxies != nil {
		user, err := p.Proxies.user(r)
		if err != nil {
			return nil, err
		}
		if user != nil {
			return p.As(r.Context(), *user)
		}
	}
	if token := tokenOf(r); token != "" {
		person, err := p.withToken(r.Context(), token)
		if !errors.Is(err, ErrNobody) || p.Anonymous == nil {
			return person, err
		}
	}
	if p.Anonymous != nil {
		return p.Anonymous, nil
	}
	return nil, ErrNobody
}

// As is the user of that name and those groups, of whom it was found out elsewhere that it is them. The operator needs the
// right to impersonate both.
func (p *People) As(ctx context.Context, user rest.ImpersonationConfig) (*Person, error) {
	config := rest.CopyConfig(p.Config)
	config.Impersonate = user
	return p.meet(ctx, sha256.Sum256([]byte("user\x00"+user.UserName+"\x00"+strings.Join(user.Groups, "\x00"))), config)
}

// withToken is the user of a token.
func (p *People) withToken(ctx context.Context, token string) (*Person, error) {
	config := rest.AnonymousClientConfig(p.Config)
	config.BearerToken = token
	return p.meet(ctx, sha256.Sum256([]byte("token\x00"+token)), config)
}

// meet has the API server say who the user of a client is, once in a minute.
func (p *People) meet(ctx context.Context, key [sha256.Size]byte, config *rest.Config) (*Person, error) {
	now := p.Clock.Now()
	p.mu.Lock()
	is, ok := p.known[key]
	p.mu.Unlock()
	if ok && now.Before(is.until) {
		return is.person, nil
	}
	ctx, cancel := context.WithTimeout(ctx, identifyWithin)
	defer cancel()
	person := is.person
	if person == nil {
		c, err := NewClient(config, p.Scheme)
		if err != nil {
			return nil, err
		}
		person = &Person{Client: c, clock: p.Clock}
	}
	if err := person.identify(ctx); err != nil {
		p.forget(key)
		if apierrors.IsUnauthorized(err) {
			return nil, ErrNobody
		}
		return nil, err
	}
	p.remember(key, person, now)
	return person, nil
}

func (p *People) forget(key [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, key)
}

func (p *People) remember(key [sha256.Size]byte, person *Person, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) >= mostPeople {
		p.known = map[[sha256.Size]byte]acquaintance{}
	}
	p.known[key] = acquaintance{person, now.Add(knownFor)}
}
