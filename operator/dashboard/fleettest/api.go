package fleettest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
)

// User is somebody whom an API knows.
type User struct {
	Name string
	// Sees and Acts are the namespaces in which they may; "*" is all.
	Sees, Acts []string
}

func (u User) may(where []string, namespace string) bool {
	return slices.Contains(where, "*") || slices.Contains(where, namespace) && namespace != ""
}

// API answers what a dashboard sends to an API server about people: alice, who sees all and acts in shop, bob, who sees shop,
// and eve, who sees nothing, with the tokens token-of-alice and so on.
type API struct {
	*httptest.Server

	// OnAction is called for an action that was created.
	OnAction func(*v1alpha1.CanaryAction)

	mu       sync.Mutex
	users    map[string]User
	requests int
	created  []v1alpha1.CanaryAction
}

// operatorsToken is that of the dashboard itself, which may impersonate everybody.
const operatorsToken = "operator"

// NewAPI serves until it is closed.
func NewAPI() *API {
	a := &API{users: map[string]User{
		"token-of-alice": {"alice", []string{"*"}, []string{"shop"}}, "token-of-bob": {"bob", []string{"shop"}, nil}, "token-of-eve": {Name: "eve"},
	}}
	a.Server = httptest.NewServer(a)
	return a
}

// Config is that of the dashboard itself.
func (a *API) Config() *rest.Config {
	return &rest.Config{Host: a.URL, BearerToken: operatorsToken, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
}

// Set has a token be of a user.
func (a *API) Set(token string, u User) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users[token] = u
}

// Requests is how many there were.
func (a *API) Requests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// Created are the actions that were created.
func (a *API) Created() []v1alpha1.CanaryAction {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.created)
}

// who is the user of a request: of a token, or whom the dashboard impersonates.
func (a *API) who(r *http.Request) (User, bool) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if as := r.Header.Get("Impersonate-User"); as != "" && token == operatorsToken {
		for _, u := range a.users {
			if u.Name == as {
				return u, true
			}
		}
		return User{Name: as}, true
	}
	u, ok := a.users[token]
	return u, ok
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests++
	u, ok := a.who(r)
	raw, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return // whoever sent it has gone
	case !ok:
		refuse(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	case strings.HasSuffix(r.URL.Path, "/selfsubjectreviews"):
		write(w, http.StatusCreated, authenticationv1.SelfSubjectReview{
			TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectReview", APIVersion: "authentication.k8s.io/v1"},
			Status:   authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: u.Name}},
		})
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		var review authorizationv1.SelfSubjectAccessReview
		if err := json.Unmarshal(raw, &review); err != nil {
			refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
			return
		}
		of := review.Spec.ResourceAttributes
		switch of.Verb + " " + of.Resource + "." + of.Group {
		case "list canaries.flagger.app":
			review.Status.Allowed = u.may(u.Sees, of.Namespace)
		case "create canaryactions.sluice.dev":
			review.Status.Allowed = u.may(u.Acts, of.Namespace)
		}
		write(w, http.StatusCreated, review)
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/canaryactions"):
		a.create(w, u, raw)
	default:
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, u.Name+" cannot read it")
	}
}

func (a *API) create(w http.ResponseWriter, u User, raw []byte) {
	var action v1alpha1.CanaryAction
	if err := json.Unmarshal(raw, &action); err != nil {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	if !u.may(u.Acts, action.Namespace) {
		refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, "no right")
		return
	}
	action.Name, action.UID = fmt.Sprintf("%s%05d", action.GenerateName, len(a.created)), types.UID(fmt.Sprintf("u%d", len(a.created)))
	a.created = append(a.created, action)
	if a.OnAction != nil {
		a.OnAction(&action)
	}
	write(w, http.StatusCreated, action)
}

func refuse(w http.ResponseWriter, code int32, reason metav1.StatusReason, message string) {
	write(w, int(code), metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: reason, Code: code, Message: message})
}

func write(w http.ResponseWriter, code int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(what) // whoever has asked may have gone
}
