package dashboard

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/view"
)

// How long an answer waits for the operator to act, and how often it looks at what is known anyway.
const (
	actWithin = 8 * time.Second
	lookEvery = 100 * time.Millisecond
)

// How long a reason may be, in characters, and a revision, as the CRD has it.
const (
	maxReason   = 300
	maxRevision = 100
)

// actionRequest is what the page sends.
type actionRequest struct {
	Action v1beta1.ActionType `json:"action"`
	Reason string             `json:"reason"`
	// Revision is the one that the person had before them.
	Revision string `json:"revision"`
	// ToRevision, for a Rollback, is the one that the primary is to have again.
	ToRevision string `json:"toRevision"`
}

// actionAnswer is what came of it.
type actionAnswer struct {
	Name    string                     `json:"name"`
	State   v1alpha1.CanaryActionPhase `json:"state"`
	Message string                     `json:"message"`
}

// act creates a CanaryAction with the rights and the name of the person, and waits for what comes of it.
func (s *server) act(w http.ResponseWriter, r *http.Request) {
	person, ok := s.person(w, r)
	if !ok {
		return
	}
	if person.ReadOnly != "" {
		fail(w, http.StatusForbidden, person.ReadOnly)
		return
	}
	c, _, ok := s.seen(w, r, person)
	if !ok {
		return
	}
	var body actionRequest
	if !read(w, r, &body) {
		return
	}
	if status, wrong := wrongAction(c, body); wrong != "" {
		fail(w, status, wrong)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	action := v1alpha1.NewCanaryAction(c, v1alpha1.CanaryActionSpec{
		Action: body.Action, Reason: strings.TrimSpace(body.Reason), Revision: body.Revision, ToRevision: body.ToRevision, RequestedBy: person.Name,
	})
	if err := person.Client.Create(ctx, action); err != nil {
		if apierrors.IsForbidden(err) {
			fail(w, http.StatusForbidden, person.Name+" has no right to "+access.Acts(c.Namespace).String()+" in "+c.Namespace+": "+err.Error())
			return
		}
		s.failed(w, err)
		return
	}
	s.settle(r.Context(), w, action)
}

// wrongAction says what is wrong with what was asked for, as far as that is known without the operator.
func wrongAction(c *v1beta1.Canary, body actionRequest) (status int, message string) {
	switch {
	case body.Revision == "":
		return http.StatusBadRequest, "The request names no revision."
	case len([]rune(body.Reason)) > maxReason:
		return http.StatusBadRequest, "The reason is longer than 300 characters."
	case body.Revision != c.Status.LastAppliedSpec:
		return http.StatusConflict, "Another revision is released by now: " + c.Status.LastAppliedSpec + "."
	case body.Action == v1beta1.ActionRollback && body.ToRevision == "":
		return http.StatusBadRequest, "The request does not say to which revision the primary is to go back."
	case len(body.ToRevision) > maxRevision:
		return http.StatusBadRequest, "The revision is longer than 100 characters."
	// Which revisions are kept, and may be gone back to, the operator knows.
	case body.Action != v1beta1.ActionRollback && !slices.Contains(view.Possible(c), body.Action):
		return http.StatusConflict, string(body.Action) + " is not possible any more: look at the release again."
	default:
		return 0, ""
	}
}

// settle waits until the operator has acted, which the status of the Canary tells, and answers.
func (s *server) settle(ctx context.Context, w http.ResponseWriter, action *v1alpha1.CanaryAction) {
	out := actionAnswer{Name: action.Name, State: v1alpha1.ActionPending, Message: string(action.Spec.Action) + " is asked for, and waits for the operator."}
	until := s.Clock.Now().Add(actWithin)
	for s.Clock.Now().Before(until) {
		c, _ := s.Fleet.Get(action.Namespace, action.Spec.Canary)
		if c == nil {
			break
		}
		if last := action.Outcome(c); last != nil {
			out.Message = v1beta1.OneLine(last.Message, 4096)
			if !last.Done {
				fail(w, http.StatusConflict, "Refused: "+out.Message)
				return
			}
			out.State = v1alpha1.ActionDone
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-s.Clock.After(lookEvery):
		}
	}
	answer(w, out)
}
