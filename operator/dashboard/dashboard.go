// Package dashboard serves a page in which people see all releases and take a hand in them with their own rights. It has no
// rule about releases: view says what a release waits for, and the API server who may do what.
package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleet"
	"github.com/sluice-delivery/sluice/operator/view"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// Config is what a dashboard is made of.
type Config struct {
	// Fleet has the releases.
	Fleet *fleet.Fleet
	// Who tells who a request comes from; ErrNobody where nobody in particular may look.
	Who func(*http.Request) (*access.Person, error)
	// Login is how people log in; nil where they can't.
	Login Login
	// Links are links elsewhere, such as to logs.
	Links alerts.LinkTemplates
	// Cluster is its name, for people; empty for none.
	Cluster string
	// Version is that of the program.
	Version string
	// Mode says where the dashboard is served, for people.
	Mode string
	// Clock tells the time.
	Clock clock.WithTicker
}

// Login is how people log in.
type Login interface {
	// LogIn has the browser remember who it is.
	LogIn(w http.ResponseWriter, r *http.Request, token string) error
	// LogOut has it forget.
	LogOut(w http.ResponseWriter, r *http.Request)
}

// server is a dashboard.
type server struct {
	Config

	pages   *pages
	streams chan struct{}
	recent  recent
}

// New makes the handler of a dashboard.
func New(c Config) (http.Handler, error) {
	p, err := loadPages()
	if err != nil {
		return nil, err
	}
	s := &server{Config: c, pages: p, streams: make(chan struct{}, mostStreams), recent: recent{clock: c.Clock}}
	mux := http.NewServeMux()
	mux.Handle("GET /", p)
	mux.HandleFunc("GET /api/session", s.session)
	mux.HandleFunc("POST /api/login", s.login)
	mux.HandleFunc("POST /api/logout", s.logout)
	mux.HandleFunc("GET /api/stream", s.stream)
	mux.HandleFunc("GET /api/releases/{namespace}/{name}", s.release)
	mux.HandleFunc("POST /api/releases/{namespace}/{name}/actions", s.act)
	return s.guard(mux), nil
}

// requestedWith is a header that only pages of this origin can send.
const requestedWith = "X-Sluice-Dashboard"

// guard sets what browsers are to know of every answer, and refuses what another page has its visitors send.
func (s *server) guard(next http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", s.pages.policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead
		if err := foreign.Check(r); err != nil || !safe && r.Header.Get(requestedWith) == "" {
			fail(w, http.StatusForbidden, "The request does not come from the dashboard's own page.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// stateOf is a state of releases, for the page.
type stateOf struct {
	Name        view.State `json:"name"`
	NeedsPerson bool       `json:"needsPerson"`
	UnderWay    bool       `json:"underWay"`
}

// sessionAnswer says who looks at what.
type sessionAnswer struct {
	User string `json:"user,omitempty"`
	// SeesReleases is false for one who has to log in first.
	SeesReleases bool `json:"seesReleases"`
	// Login is true where people can log in.
	Login     bool   `json:"login"`
	CanLogOut bool   `json:"canLogout"`
	Why       string `json:"why,omitempty"`
	Version   string `json:"version"`
	Cluster   string `json:"cluster,omitempty"`
	Mode      string `json:"mode,omitempty"`
	// States are all states, those that need attention most first.
	States []stateOf `json:"states"`
}

func (s *server) session(w http.ResponseWriter, r *http.Request) {
	out := sessionAnswer{Version: s.Version, Cluster: s.Cluster, Mode: s.Mode, Login: s.Login != nil}
	for _, state := range view.States() {
		out.States = append(out.States, stateOf{state, state.NeedsPerson(), state.UnderWay()})
	}
	person, err := s.Who(r)
	switch {
	case errors.Is(err, access.ErrNobody):
		out.Why = "Nobody is logged in, and there is no way to log in here."
	case err != nil:
		s.failed(w, err)
		return
	default:
		out.User, out.SeesReleases = person.Name, true
		out.CanLogOut = s.Login != nil && person.Name != ""
	}
	answer(w, out)
}

// person is who a request comes from. Where it is nobody who may look, the request is answered and ok is false.
func (s *server) person(w http.ResponseWriter, r *http.Request) (p *access.Person, ok bool) {
	p, err := s.Who(r)
	if err != nil {
		s.failed(w, err)
		return nil, false
	}
	return p, true
}

// failed answers a request that came to nothing.
func (s *server) failed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, access.ErrNobody), apierrors.IsUnauthorized(err):
		fail(w, http.StatusUnauthorized, "Log in first.")
	case apierrors.IsForbidden(err):
		fail(w, http.StatusForbidden, err.Error())
	default:
		fail(w, http.StatusBadGateway, "The API server does not answer as it should: "+err.Error())
	}
}

func answer(w http.ResponseWriter, what any) {
	raw, err := json.Marshal(what)
	if err != nil {
		fail(w, http.StatusInternalServerError, fmt.Sprintf("write the answer: %v", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw) // nobody is there to be told
}

// fail answers with a message for people.
func fail(w http.ResponseWriter, status int, message string) {
	raw, err := json.Marshal(map[string]string{"error": message})
	if err != nil {
		raw = []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // nobody is there to be told
}
