// Package factory is the one table of alert receivers by type. It is the only package that imports their
// implementations.
package factory

import (
	"maps"
	"slices"

	"github.com/sluice-delivery/sluice/webhooks/alerts"
	"github.com/sluice-delivery/sluice/webhooks/alerts/discord"
	"github.com/sluice-delivery/sluice/webhooks/alerts/gchat"
	"github.com/sluice-delivery/sluice/webhooks/alerts/msteams"
	"github.com/sluice-delivery/sluice/webhooks/alerts/rocket"
	"github.com/sluice-delivery/sluice/webhooks/alerts/slack"
	"github.com/sluice-delivery/sluice/webhooks/alerts/webhook"
)

// Types that the operator's flags name.
const (
	Slack   = "slack"
	MSTeams = "msteams"
)

var constructors = map[string]func(alerts.Receiver, alerts.Kit) (alerts.Sender, error){
	Slack:     slack.New,
	MSTeams:   msteams.New,
	"discord": discord.New,
	"rocket":  rocket.New,
	"gchat":   gchat.New,
	"webhook": webhook.New,
}

// New gives the Sender of a receiver. An unknown type is an UnknownTypeError; an address or a proxy that is no URL is a
// permanent SendError. Nothing is sent.
func New(r alerts.Receiver, kit alerts.Kit) (alerts.Sender, error) {
	construct, ok := constructors[r.Type]
	if !ok {
		return nil, &alerts.UnknownTypeError{Type: r.Type, Known: Types()}
	}
	return construct(r, kit)
}

// Types are the known types, sorted.
func Types() []string { return slices.Sorted(maps.Keys(constructors)) }
