package consul

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/providers"
	"github.com/sluice-delivery/sluice/providers/internal/consulspec"
)

// names are the services of a Canary in Consul.
type names struct {
	apex, primary, canary string
	// split has a splitter and no instances, for requests that are shared out in
	// another way than the rest.
	split string
	// aliased says that the canary's pods are instances of the apex service. Then the
	// canary's service is only another name for it.
	aliased bool

	scope scope
}

// namesOf are the names for a Canary whose target's pods have these annotations.
func namesOf(c *v1beta1.Canary, annotations map[string]string, in scope) names {
	apex, primary, canary := c.ServiceNames()
	return names{
		apex: apex, primary: primary, canary: canary, split: apex + "-split",
		aliased: annotations[ServiceAnnotation] == apex, scope: in,
	}
}

// has tells whether a reference in an entry of the apex service leads to that service or
// to one of its halves.
func (n names) has(service, namespace, partition string) bool {
	same := func(is, scope string) bool { return is == "" || is == scope || scope == "" && is == "default" }
	ours := service == "" || service == n.apex || service == n.primary || service == n.canary
	return ours && same(namespace, n.scope.namespace) && same(partition, n.scope.partition)
}

// all are the keys of every entry that may be written for the names.
func (n names) all() []key {
	var out []key
	for _, name := range []string{n.apex, n.primary, n.canary, n.split} {
		out = append(out, key{api.ServiceDefaults, name})
	}
	for _, name := range []string{n.primary, n.canary} {
		out = append(out, key{api.ServiceIntentions, name}, key{api.ServiceResolver, name})
	}
	return append(out, key{api.ServiceSplitter, n.split}, key{api.ServiceSplitter, n.apex}, key{api.ServiceRouter, n.apex})
}

// proxyDefaults is the key of what holds for all proxies.
var proxyDefaults = key{api.ProxyDefaults, api.ProxyConfigGlobal}

// plan is what Consul is to hold for a Canary.
type plan struct {
	// wanted are in the order in which to write them: what is led to comes before what
	// leads there, and what guards it before both.
	wanted []entry
	// unwanted are in the order in which to remove them: the reverse.
	unwanted []key
}

// planner makes a plan from what there is.
type planner struct {
	canary *v1beta1.Canary
	names  names
	have   entries
	out    plan
}

// planOf is the plan for a route. The entries are only read.
func planOf(route providers.Route, n names, have entries) (plan, error) {
	if err := consulspec.Refuse(route.Canary); err != nil {
		return plan{}, err
	}
	b, err := newBuilder(route.Canary, n, route.Traffic)
	if err != nil {
		return plan{}, err
	}
	p := &planner{canary: route.Canary, names: n, have: have}
	for _, step := range []func(*builder) error{p.defaults, p.intentions, p.resolvers, p.splitters, p.router} {
		if err := step(b); err != nil {
			return plan{}, err
		}
	}
	slices.Reverse(p.out.unwanted)
	return p.out, nil
}

// at is the entry of a kind and name; its index is 0 where there is none.
func (p *planner) at(kind, name string) entry {
	k := key{kind, name}
	if e, ok := p.have[k]; ok {
		return e
	}
	return entry{key: k}
}

// want adds an entry to the plan.
func (p *planner) want(of api.ConfigEntry) error {
	e, err := entryOf(of)
	if err != nil {
		return err
	}
	return p.wantEntry(e)
}

func (p *planner) wantEntry(e entry) error {
	live := p.at(e.kind, e.name)
	if err := live.foreign(p.canary, p.names.scope); err != nil {
		return err
	}
	e, err := e.owned(p.canary, live)
	if err != nil {
		return err
	}
	p.out.wanted = append(p.out.wanted, e)
	return nil
}

// drop has an entry of ours removed, if there is one.
func (p *planner) drop(kind, name string) {
	if e := p.at(kind, name); e.isOurs(p.canary) {
		p.out.unwanted = append(p.out.unwanted, e.key)
	}
}

// defaults say the protocol, without which nothing can be routed.
func (p *planner) defaults(b *builder) error {
	users, _, err := p.at(api.ServiceDefaults, p.names.apex).users(p.canary)
	if err != nil {
		return err
	}
	protocol, said, err := p.protocol(users)
	if err != nil {
		return err
	}
	if err := p.ownDefaults(users, protocol, said); err != nil {
		return err
	}
	// The halves are configured as the whole is.
	half := maps.Clone(users.body)
	if half == nil {
		half = map[string]any{}
	}
	for _, alone := range []string{"ExternalSNI", "Destination"} { // they are about one service
		delete(half, alone)
	}
	half["Protocol"] = protocol
	for _, name := range []string{p.names.primary, p.names.canary} {
		if err := p.wantEntry(entry{key: key{api.ServiceDefaults, name}, body: maps.Clone(half)}); err != nil {
			return err
		}
	}
	if len(b.shares()) == 0 {
		p.drop(api.ServiceDefaults, p.names.split)
		return nil
	}
	return p.wantEntry(entry{key: key{api.ServiceDefaults, p.names.split}, body: maps.Clone(half)})
}

// ownDefaults says the protocol of the whole where nobody else does.
func (p *planner) ownDefaults(users entry, protocol string, said bool) error {
	if said {
		p.drop(api.ServiceDefaults, p.names.apex)
		return nil
	}
	if users.meta[sourceMeta] == "kubernetes" {
		return consulspec.ProtocolError(api.ServiceDefaults+" "+p.names.apex+": Protocol", "")
	}
	apex := entry{key: key{api.ServiceDefaults, p.names.apex}, body: maps.Clone(users.body)}
	if apex.body == nil {
		apex.body = map[string]any{}
	}
	apex.body["Protocol"] = protocol
	return p.wantEntry(apex)
}

// protocol is that of the service, and whether something besides us says it. It is a
// *providers.InvalidError where that is none whose requests can be told apart.
func (p *planner) protocol(users entry) (protocol string, said bool, err error) {
	if of, _ := users.body["Protocol"].(string); of != "" {
		if !slices.Contains(consulspec.Protocols, of) {
			return "", false, consulspec.ProtocolError(api.ServiceDefaults+" "+p.names.apex+": Protocol", of)
		}
		return of, true, nil
	}
	config, _ := p.have[proxyDefaults].body["Config"].(map[string]any)
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
func (p *planner) intentions(*builder) error {
	guard := p.at(api.ServiceIntentions, p.names.apex)
	if err := p.reaches(); err != nil {
		return err
	}
	for _, name := range []string{p.names.primary, p.names.canary} {
		if guard.index == 0 {
			p.drop(api.ServiceIntentions, name)
			continue
		}
		if err := p.wantEntry(entry{key: key{api.ServiceIntentions, name}, body: maps.Clone(guard.body)}); err != nil {
			return err
		}
	}
	return nil
}

// reaches looks at who lets the service in by its name, when nothing has been routed
// yet: pods that serve under another name would not be let in.
func (p *planner) reaches() error {
	if p.at(api.ServiceSplitter, p.names.apex).isOurs(p.canary) {
		return nil // the route is not taken back because of a new intention
	}
	guards := entries{}
	for k, e := range p.have {
		if k.kind == api.ServiceIntentions {
			guards[k] = e
		}
	}
	for _, of := range letsOf(guards).shutOut(p.names) {
		return consulspec.Invalid(fmt.Sprintf("Consul's %s %s: Sources", api.ServiceIntentions, of[0]), p.names.apex,
			fmt.Sprintf("it must have %s as well: released pods call %s by that name", of[1], of[0]))
	}
	return nil
}

// resolvers give both halves how the service finds its instances.
func (p *planner) resolvers(*builder) error {
	whole := api.ServiceResolverConfigEntry{}
	live := p.at(api.ServiceResolver, p.names.apex)
	if err := live.into(&whole); err != nil {
		return err
	}
	if whole.Redirect != nil {
		return consulspec.Invalid("Consul's service-resolver "+p.names.apex+": Redirect", whole.Redirect.Service,
			"a service that leads elsewhere cannot be released; remove the redirect")
	}
	half := maps.Clone(live.body)
	if half == nil {
		half = map[string]any{}
	}
	for _, about := range []string{"DefaultSubset", "Subsets", "Failover"} {
		delete(half, about) // the instances of the whole
	}
	if failover := p.failover(live); failover != nil {
		half["Failover"] = map[string]any{"*": failover}
	}
	if err := p.wantEntry(entry{key: key{api.ServiceResolver, p.names.primary}, body: maps.Clone(half)}); err != nil {
		return err
	}
	if p.names.aliased {
		return p.want(&api.ServiceResolverConfigEntry{
			Kind: api.ServiceResolver, Name: p.names.canary, Redirect: &api.ServiceResolverRedirect{Service: p.names.apex},
		})
	}
	return p.wantEntry(entry{key: key{api.ServiceResolver, p.names.canary}, body: half})
}

// failover is where requests go that find no instance of a half: where they go that
// find none of the whole.
func (p *planner) failover(whole entry) map[string]any {
	all, _ := whole.body["Failover"].(map[string]any)
	of, _ := all["*"].(map[string]any)
	if of == nil || of["ServiceSubset"] != nil {
		return nil
	}
	out := maps.Clone(of)
	named := func(m map[string]any) map[string]any {
		if m["Service"] == nil {
			m = maps.Clone(m)
			m["Service"] = p.names.apex
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
func (p *planner) splitters(b *builder) error {
	users, theirs, err := p.at(api.ServiceSplitter, p.names.apex).users(p.canary)
	if err != nil {
		return err
	}
	if theirs {
		of := api.ServiceSplitterConfigEntry{}
		if err := users.into(&of); err != nil {
			return err
		}
		if err := b.alone(of.Splits); err != nil {
			return err
		}
	}
	if shares := b.shares(); len(shares) > 0 {
		if err := p.want(&api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: p.names.split, Splits: shares}); err != nil {
			return err
		}
	} else {
		p.drop(api.ServiceSplitter, p.names.split)
	}
	return p.want(&api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: p.names.apex, Splits: b.splits()})
}

// router leads requests elsewhere than to the splitter of the service.
func (p *planner) router(b *builder) error {
	users, theirs, err := p.at(api.ServiceRouter, p.names.apex).users(p.canary)
	if err != nil {
		return err
	}
	of := api.ServiceRouterConfigEntry{}
	if theirs {
		if err := users.into(&of); err != nil {
			return err
		}
	}
	routes, err := b.routes(of.Routes)
	if err != nil {
		return err
	}
	if len(routes) == 0 {
		p.drop(api.ServiceRouter, p.names.apex)
		return nil
	}
	return p.want(&api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: p.names.apex, Routes: routes})
}

// warming is the plan by which proxies hear of the primary before any request goes
// there: one that is sent a route to a cluster that it does not have yet answers 503
// until it has it. Everything stays where it is.
func warming(full plan, n names, have entries, c *v1beta1.Canary, since string) (plan, error) {
	out := plan{}
	for _, e := range full.wanted {
		switch e.kind {
		case api.ServiceDefaults, api.ServiceIntentions, api.ServiceResolver:
			out.wanted = append(out.wanted, e)
		}
	}
	live := have[key{api.ServiceSplitter, n.apex}]
	users, _, err := live.users(c)
	if err != nil {
		return plan{}, err
	}
	of := api.ServiceSplitterConfigEntry{}
	if err := users.into(&of); err != nil {
		return plan{}, err
	}
	if len(of.Splits) == 0 {
		of.Splits = []api.ServiceSplit{{Weight: 100, Service: n.apex}}
	}
	for _, name := range []string{n.primary, n.canary} {
		if !slices.ContainsFunc(of.Splits, func(s api.ServiceSplit) bool { return s.Service == name }) {
			of.Splits = append(of.Splits, api.ServiceSplit{Service: name})
		}
	}
	of.Kind, of.Name, of.Meta = api.ServiceSplitter, n.apex, nil
	e, err := entryOf(&of)
	if err != nil {
		return plan{}, err
	}
	live.key = e.key
	if e, err = e.owned(c, live); err != nil {
		return plan{}, err
	}
	e.meta[warmingMeta] = since
	out.wanted = append(out.wanted, e)
	return out, nil
}
