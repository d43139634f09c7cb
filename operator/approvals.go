package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/approvals"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
	alertfactory "github.com/sluice-delivery/sluice/webhooks/alerts/factory"
)

// approvalOptions say whether people can act by the buttons of messages in Slack.
type approvalOptions struct {
	address string
	users   string
	secret  string
}

func (o *approvalOptions) register(f *flag.FlagSet) {
	f.StringVar(&o.address, "slack-approvals-address", "", "address, such as :8091, at which Slack tells what people press in messages about gates; none without it. $SLACK_SIGNING_SECRET is the signing secret of the Slack app")
	f.StringVar(&o.users, "slack-approvals-users", "", "file that says which users of the cluster the members of the Slack workspace are")
	o.secret = os.Getenv("SLACK_SIGNING_SECRET")
}

// enabled tells whether messages have buttons.
func (o *approvalOptions) enabled() bool { return o.address != "" }

// check finds what is better known now than when somebody presses.
func (o *approvalOptions) check() error {
	if !o.enabled() {
		if o.users != "" {
			return errors.New("-slack-approvals-users is about presses in Slack, which -slack-approvals-address turns on")
		}
		return nil
	}
	if _, _, err := net.SplitHostPort(o.address); err != nil {
		return fmt.Errorf("-slack-approvals-address: %q is no address such as :8091", o.address)
	}
	if o.secret == "" {
		return errors.New("-slack-approvals-address: it needs $SLACK_SIGNING_SECRET, by which a press is known to be from Slack")
	}
	if o.users == "" {
		return errors.New("-slack-approvals-address: it needs -slack-approvals-users, which says who may press")
	}
	if _, err := approvals.ReadUsers(o.users); err != nil {
		return fmt.Errorf("-slack-approvals-users: %w", err)
	}
	return nil
}

// addApprovals has the manager take presses, on every replica.
func addApprovals(ctx context.Context, mgr ctrl.Manager, o options, kit alerts.Kit) error {
	if !o.approvals.enabled() {
		return nil
	}
	informer, err := mgr.GetCache().GetInformer(ctx, &v1beta1.Canary{})
	if err != nil {
		return fmt.Errorf("approvals: %w", err)
	}
	people := &access.People{Config: mgr.GetConfig(), Scheme: mgr.GetScheme(), Clock: clock.RealClock{}}
	handler := approvals.New(approvals.Config{
		Secret:   o.approvals.secret,
		Users:    func() (approvals.Users, error) { return approvals.ReadUsers(o.approvals.users) },
		As:       people.As,
		Canaries: mgr.GetClient(),
		Answer: func(ctx context.Context, url string, message any) error {
			poster, err := alerts.NewPoster(alerts.Receiver{Type: alertfactory.Slack, Address: url, Proxy: o.alerts.slackProxy()}, kit)
			if err != nil {
				return err
			}
			_, err = poster.Post(ctx, message, nil)
			return err
		},
		Clock: clock.RealClock{},
	})
	return mgr.Add(&approvals.Server{Address: o.approvals.address, Handler: handler, Synced: informer.HasSynced})
}
