// Package plan has which config entries Consul is to hold for a Canary, worked out from its route and
// from those that there are: what users have stays in force. It knows no Consul.
package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/consul/internal/entries"
	"github.com/sluice-delivery/sluice/providers/consul/internal/intentions"
	"github.com/sluice-delivery/sluice/providers/consul/internal/routes"
	"github.com/sluice-delivery/sluice/providers/consul/internal/services"
	"github.com/sluice-delivery/sluice/providers/internal/consulspec"
)

// Plan is what Consul is to hold for a Canary.
type Plan struct {
	// Wanted are in the order in which to write them: what is led to comes before what
	// leads there, and what guards it before both.
	Wanted []entries.Entry
	// Unwanted are in the order in which to remove them: the reverse.
	Unwanted []entries.Key
}

// planner makes a plan from what there is.
type planner struct {
	canary *v1beta1.Canary
	names  services.Names
	have   entries.Set
	out    Plan
}

// Of is the plan for a route. The entries are only read.
func Of(route providers.Route, n services.Names, have entries.Set) (Plan, error) {
	if err := consulspec.Refuse(route.Canary); err != nil {
		return Plan{}, err
	}
	b, err := routes.New(route.Canary, n, route.Traffic)
	if err != nil {
		return Plan{}, err
	}
	p := &planner{canary: route.Canary, names: n, have: have}
	for _, step := range []func(*routes.Builder) error{p.defaults, p.intentions, p.resolvers, p.splitters, p.router} {
		if err := step(b); err != nil {
			return Plan{}, err
		}
	}
	slices.Reverse(p.out.Unwanted)
	return p.out, nil
}

// at is the entry of a kind and name; its index is 0 where there is none.
func (p *planner) at(kind, name string) entries.Entry {
	k := entries.Key{Kind: kind, Name: name}
	if e, ok := p.have[k]; ok {
		return e
	}
	return entries.Entry{Key: k}
}

// want adds an entry to the plan.
func (p *planner) want(of api.ConfigEntry) error {
	e, err := entries.Of(of)
	if err != nil {
		return err
	}
	return p.wantEntry(e)
}

func (p *planner) wantEntry(e entries.Entry) error {
	live := p.at(e.Kind, e.Name)
	if err := live.Foreign(p.canary, p.names.Scope); err != nil {
		return err
	}
	e, err := e.Owned(p.canary, live)
	if err != nil {
		return err
	}
	p.out.Wanted = append(p.out.Wanted, e)
	return nil
}

// drop has an entry of ours removed, if there is one.
func (p *planner) drop(kind, name string) {
	if e := p.at(kind, name); e.IsOurs(p.canary) {
		p.out.Unwanted = append(p.out.Unwanted, e.Key)
	}
}

// defaults say the protocol, without which nothing can be routed.
func (p *planner) defaults(b *routes.Builder) error {
	users, _, err := p.at(api.ServiceDefaults, p.names.Apex).Users(p.canary)
	if err != nil {
		return err
	}
	protocol, said, err := p.protocol(users)
	if err != nil {
		return err
	}
	if err := p.sameProtocol(protocol); err != nil {
		return err
	}
	if err := p.ownDefaults(users, protocol, said); err != nil {
		return err
	}
	// The halves are configured as the whole is.
	half := maps.Clone(users.Body)
	if half == nil {
		half = map[string]any{}
	}
	for _, alone := range []string{"ExternalSNI", "Destination"} { // they are about one service
		delete(half, alone)
	}
	half["Protocol"] = protocol
	for _, name := range []string{p.names.Primary, p.names.Canary} {
		if err := p.wantEntry(entries.Entry{Key: entries.Key{Kind: api.ServiceDefaults, Name: name}, Body: maps.Clone(half)}); err != nil {
			return err
		}
	}
	if len(b.Shares()) == 0 {
		p.drop(api.ServiceDefaults, p.names.Split)
		return nil
	}
	return p.wantEntry(entries.Entry{Key: entries.Key{Kind: api.ServiceDefaults, Name: p.names.Split}, Body: maps.Clone(half)})
}

// sameProtocol refuses another protocol than that of requests which are shared out already: Consul takes one entry at a
// time, and none by which services that lead to each other would not speak the same.
func (p *planner) sameProtocol(protocol string) error {
	if !p.at(api.ServiceSplitter, p.names.Apex).IsOurs(p.canary) {
		return nil
	}
	is, _ := p.at(api.ServiceDefaults, p.names.Primary).Body["Protocol"].(string)
	if is == "" || is == protocol {
		return nil
	}
	return consulspec.Invalid("spec.service.appProtocol", p.canary.Spec.Service.AppProtocol, fmt.Sprintf(
		"what stands for %s: Consul does not let the protocol of a service change while its requests are shared out; delete the Canary, and create it again with %s", is, protocol))
}

// ownDefaults says the protocol of the whole where nobody else does.
func (p *planner) ownDefaults(users entries.Entry, protocol string, said bool) error {
	if said {
		p.drop(api.ServiceDefaults, p.names.Apex)
		return nil
	}
	if users.FromKubernetes() {
		return consulspec.ProtocolError(api.ServiceDefaults+" "+p.names.Apex+": Protocol", "")
	}
	apex := entries.Entry{Key: entries.Key{Kind: api.ServiceDefaults, Name: p.names.Apex}, Body: maps.Clone(users.Body)}
	if apex.Body == nil {
		apex.Body = map[string]any{}
	}
	apex.Body["Protocol"] = protocol
	return p.wantEntry(apex)
}

// protocol is that of the service, and whether something besides us says it. It is a
// *providers.InvalidError where that is none whose requests can be told apart.
func (p *planner) protocol(users entries.Entry) (protocol string, said bool, err error) {
	if of, _ := users.Body["Protocol"].(string); of != "" {
		if !slices.Contains(consulspec.Protocols, of) {
			return "", false, consulspec.ProtocolError(api.ServiceDefaults+" "+p.names.Apex+": Protocol", of)
		}
		return of, true, nil
	}
	config, _ := p.have[entries.ProxyDefaults].Body["Config"].(map[string]any)
	of, _ := config["protocol"].(string)
	switch {
	case of == "":
		return consulspec.ProtocolOf(p.canary), false, nil
	case !slices.Contains(consulspec.Protocols, of):
		return "", false, consulspec.ProtocolError(api.ProxyDefaults+" "+api.ProxyConfigGlobal+": Config.protocol", of)
	default:
		return of, true, nil
	}
}

// intentions that guard the service guard both halves.
func (p *planner) intentions(*routes.Builder) error {
	guard := p.at(api.ServiceIntentions, p.names.Apex)
	if err := p.reaches(); err != nil {
		return err
	}
	for _, name := range []string{p.names.Primary, p.names.Canary} {
		if guard.Index == 0 {
			p.drop(api.ServiceIntentions, name)
			continue
		}
		if err := p.wantEntry(entries.Entry{Key: entries.Key{Kind: api.ServiceIntentions, Name: name}, Body: maps.Clone(guard.Body)}); err != nil {
			return err
		}
	}
	return nil
}

// reaches looks at who lets the service in by its name, when nothing has been routed
// yet: pods that serve under another name would not be let in.
func (p *planner) reaches() error {
	if p.at(api.ServiceSplitter, p.names.Apex).IsOurs(p.canary) {
		return nil // the route is not taken back because of a new intention
	}
	guards := entries.Set{}
	for k, e := range p.have {
		if k.Kind == api.ServiceIntentions {
			guards[k] = e
		}
	}
	for _, of := range intentions.Of(guards).ShutOut(p.names) {
		return consulspec.Invalid(fmt.Sprintf("Consul's %s %s: Sources", api.ServiceIntentions, of[0]), p.names.Apex,
			fmt.Sprintf("it must have %s as well: released pods call %s by that name", of[1], of[0]))
	}
	return nil
}

// resolvers give both halves how the service finds its instances.
func (p *planner) resolvers(*routes.Builder) error {
	whole := api.ServiceResolverConfigEntry{}
	live := p.at(api.ServiceResolver, p.names.Apex)
	if err := live.Into(&whole); err != nil {
		return err
	}
	if whole.Redirect != nil {
		return consulspec.Invalid("Consul's service-resolver "+p.names.Apex+": Redirect", whole.Redirect.Service,
			"a service that leads elsewhere cannot be released; remove the redirect")
	}
	half := maps.Clone(live.Body)
	if half == nil {
		half = map[string]any{}
	}
	for _, about := range []string{"DefaultSubset", "Subsets", "Failover"} {
		delete(half, about) // the instances of the whole
	}
	if failover := p.failover(live); failover != nil {
		half["Failover"] = map[string]any{"*": failover}
	}
	if err := p.wantEntry(entries.Entry{Key: entries.Key{Kind: api.ServiceResolver, Name: p.names.Primary}, Body: maps.Clone(half)}); err != nil {
		return err
	}
	if p.names.Aliased {
		return p.want(&api.ServiceResolverConfigEntry{
			Kind: api.ServiceResolver, Name: p.names.Canary, Redirect: &api.ServiceResolverRedirect{Service: p.names.Apex},
		})
	}
	return p.wantEntry(entries.Entry{Key: entries.Key{Kind: api.ServiceResolver, Name: p.names.Canary}, Body: half})
}

// failover is where requests go that find no instance of a half: where they go that
// find none of the whole.
func (p *planner) failover(whole entries.Entry) map[string]any {
	all, _ := whole.Body["Failover"].(map[string]any)
	of, _ := all["*"].(map[string]any)
	if of == nil || of["ServiceSubset"] != nil {
		return nil
	}
	out := maps.Clone(of)
	named := func(m map[string]any) map[string]any {
		if m["Service"] == nil {
			m = maps.Clone(m)
			m["Service"] = p.names.Apex
		}
		return m
	}
	targets, _ := of["Targets"].([]any)
	if len(targets) == 0 {
		return named(out)
	}
	renamed := make([]any, 0, len(targets))
	for _, t := range targets {
		target, _ := t.(map[string]any)
		renamed = append(renamed, named(target))
	}
	out["Targets"] = renamed
	return out
}

// splitters share requests out. That of the shares comes first, as the router leads to it.
func (p *planner) splitters(b *routes.Builder) error {
	users, theirs, err := p.at(api.ServiceSplitter, p.names.Apex).Users(p.canary)
	if err != nil {
		return err
	}
	if theirs {
		of := api.ServiceSplitterConfigEntry{}
		if err := users.Into(&of); err != nil {
			return err
		}
		if err := b.Alone(of.Splits); err != nil {
			return err
		}
	}
	if shares := b.Shares(); len(shares) > 0 {
		if err := p.want(&api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: p.names.Split, Splits: shares}); err != nil {
			return err
		}
	} else {
		p.drop(api.ServiceSplitter, p.names.Split)
	}
	return p.want(&api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: p.names.Apex, Splits: b.Splits()})
}

// router leads requests elsewhere than to the splitter of the service.
func (p *planner) router(b *routes.Builder) error {
	users, theirs, err := p.at(api.ServiceRouter, p.names.Apex).Users(p.canary)
	if err != nil {
		return err
	}
	of := api.ServiceRouterConfigEntry{}
	if theirs {
		if err := users.Into(&of); err != nil {
			return err
		}
	}
	led, err := b.Routes(of.Routes)
	if err != nil {
		return err
	}
	if len(led) == 0 {
		p.drop(api.ServiceRouter, p.names.Apex)
		return nil
	}
	return p.want(&api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: p.names.Apex, Routes: led})
}

// Warming is the plan by which proxies hear of the primary before any request goes
// there: one that is sent a route to a cluster that it does not have yet answers 503
// until it has it. Everything stays where it is.
func Warming(full Plan, n services.Names, have entries.Set, c *v1beta1.Canary, since string) (Plan, error) {
	out := Plan{}
	for _, e := range full.Wanted {
		switch e.Kind {
		case api.ServiceDefaults, api.ServiceIntentions, api.ServiceResolver:
			out.Wanted = append(out.Wanted, e)
		}
	}
	live := have[entries.Key{Kind: api.ServiceSplitter, Name: n.Apex}]
	users, _, err := live.Users(c)
	if err != nil {
		return Plan{}, err
	}
	of := api.ServiceSplitterConfigEntry{}
	if err := users.Into(&of); err != nil {
		return Plan{}, err
	}
	if len(of.Splits) == 0 {
		of.Splits = []api.ServiceSplit{{Weight: 100, Service: n.Apex}}
	}
	for _, name := range []string{n.Primary, n.Canary} {
		if !slices.ContainsFunc(of.Splits, func(s api.ServiceSplit) bool { return s.Service == name }) {
			of.Splits = append(of.Splits, api.ServiceSplit{Service: name})
		}
	}
	of.Kind, of.Name, of.Meta = api.ServiceSplitter, n.Apex, nil
	e, err := entries.Of(&of)
	if err != nil {
		return Plan{}, err
	}
	live.Key = e.Key
	if e, err = e.Owned(c, live); err != nil {
		return Plan{}, err
	}
	e.Meta[entries.WarmingMeta] = since
	out.Wanted = append(out.Wanted, e)
	return out, nil
}

// Done tells whether nothing is left to write.
func (p Plan) Done(have entries.Set) bool {
	return !slices.ContainsFunc(p.Wanted, func(e entries.Entry) bool { return have[e.Key].Index == 0 || !entries.Same(e, have[e.Key]) }) &&
		!slices.ContainsFunc(p.Unwanted, func(k entries.Key) bool { return have[k].Index > 0 })
}
