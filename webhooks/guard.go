package webhooks

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// refused are the addresses that hooks may not call: those that lead into the operator's own pod and node, to all
// hosts at once, and to the services from which clouds hand out a node's credentials. Private addresses are not among
// them: hooks are mostly Services of the cluster.
var refused = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), "a cloud's metadata service"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's metadata service"},   // Azure
	{netip.MustParsePrefix("100.100.100.200/32"), "a cloud's metadata service"}, // Alibaba Cloud
	{netip.MustParsePrefix("192.0.0.192/32"), "a cloud's metadata service"},     // Oracle Cloud, classic
	{netip.MustParsePrefix("fd00:ec2::/32"), "a cloud's metadata service"},      // AWS
	{netip.MustParsePrefix("fd20:ce::254/128"), "a cloud's metadata service"},   // Google Cloud
	{netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), "a cloud's metadata service"},
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"},
	{netip.MustParsePrefix("::/128"), "an unspecified address"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
}

// Guard says which hosts and addresses hooks may call. Users write the URLs of hooks, and the operator reaches more
// than they do. The zero value allows every host, and no address of those that are refused by default.
type Guard struct {
	hosts   []string
	allowed []netip.Prefix
}

// NewGuard returns the guard that allows these hosts, and these addresses although they are refused by default. A host
// is a name or an address, or *.suffix for all names below the suffix; no hosts mean every host. An address is one
// address or a CIDR. The error names the entry that is neither.
func NewGuard(hosts, addresses []string) (*Guard, error) {
	g := &Guard{}
	for _, h := range hosts {
		pattern := normalHost(h)
		if name := strings.TrimPrefix(pattern, "*."); name == "" || strings.ContainsAny(name, "*/@ ") {
			return nil, fmt.Errorf("allowed host %q: must be a host such as gates.example.com, or *.example.com", h)
		}
		g.hosts = append(g.hosts, pattern)
	}
	for _, a := range addresses {
		prefix, err := parsePrefix(a)
		if err != nil {
			return nil, fmt.Errorf("allowed address %q: must be an address or a CIDR such as 127.0.0.1 or 169.254.0.0/16", a)
		}
		g.allowed = append(g.allowed, prefix)
	}
	return g, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err
}

// normalHost makes one spelling of those that mean the same host.
func normalHost(h string) string {
	return strings.TrimSuffix(strings.ToLower(strings.Trim(h, "[]")), ".")
}

// CheckURL returns an error of KindRefusedURL or KindRefusedAddress if hooks may not call the URL, as far as that can
// be told without asking for the host's address.
func (g *Guard) CheckURL(raw string) error {
	u, err := parseURL(raw)
	if err != nil {
		return err
	}
	return g.checkURL(u)
}

func (g *Guard) checkURL(u *url.URL) error {
	host := normalHost(u.Hostname())
	if !g.allowsHost(host) {
		return &Error{Kind: KindRefusedURL, Host: u.Hostname(), Reason: "is not among the hosts that hooks may call"}
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if err := g.checkAddr(addr); err != nil {
			return refusal(u.Hostname(), err)
		}
	}
	return nil
}

func (g *Guard) allowsHost(host string) bool {
	for _, pattern := range g.hosts {
		suffix, wild := strings.CutPrefix(pattern, "*")
		if host == pattern || wild && len(host) > len(suffix) && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return len(g.hosts) == 0
}

// refusedError says why an address may not be called. The dialer hands it through.
type refusedError struct {
	addr netip.Addr
	why  string
}

// Error implements error.
func (e *refusedError) Error() string {
	return fmt.Sprintf("is at %s, %s, which hooks may not call", e.addr, e.why)
}

func refusal(host string, cause error) *Error {
	return &Error{Kind: KindRefusedAddress, Host: host, Reason: cause.Error(), Err: cause}
}

// checkAddr returns a refusedError if hooks may not call the address, in whatever form it is written.
func (g *Guard) checkAddr(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	for _, p := range g.allowed {
		if p.Contains(addr) {
			return nil
		}
	}
	for _, r := range refused {
		if r.prefix.Contains(addr) {
			return &refusedError{addr, r.why}
		}
	}
	if inner, ok := embedded(addr); ok {
		return g.checkAddr(inner)
	}
	return nil
}

// embedded returns the IPv4 address to which a gateway on the way may turn an IPv6 address: NAT64 (RFC 6052, 8215),
// 6to4 (RFC 3056), and IPv4-compatible addresses (RFC 4291).
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	for _, form := range []struct {
		prefix netip.Prefix
		at     int
	}{
		{netip.MustParsePrefix("64:ff9b::/96"), 12},
		{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
		{netip.MustParsePrefix("2002::/16"), 2},
		{netip.MustParsePrefix("::/96"), 12},
	} {
		if form.prefix.Contains(addr) {
			return netip.AddrFrom4([4]byte(b[form.at : form.at+4])), true
		}
	}
	return netip.Addr{}, false
}

// control is for net.Dialer: it sees the address that is about to be connected to, so that no answer of a name server,
// however it changes, leads past the guard.
func (g *Guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address of a connection: %w", err)
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("address of a connection: %w", err)
	}
	return g.checkAddr(addr)
}
