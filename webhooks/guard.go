package webhooks

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// refused are the addresses that are not called for users: those that lead into the operator's own pod and node, to all
// hosts at once, and to the services from which clouds hand out a node's credentials. Private addresses are not among
// them: hooks and metrics servers are mostly Services of the cluster.
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
	{netip.MustParsePrefix("2001::/32"), "an address of a Teredo tunnel"}, // which leads to an IPv4 address
}

// names are hosts that have a refused address wherever they have one. The dialer would see it too, but not before the
// first call, and not through a proxy.
var names = map[string]netip.Addr{
	"localhost":                    netip.MustParseAddr("127.0.0.1"),
	"ip6-localhost":                netip.MustParseAddr("::1"),
	"metadata":                     netip.MustParseAddr("169.254.169.254"),
	"metadata.google.internal":     netip.MustParseAddr("169.254.169.254"),
	"metadata.goog":                netip.MustParseAddr("169.254.169.254"),
	"instance-data":                netip.MustParseAddr("169.254.169.254"),
	"instance-data.ec2.internal":   netip.MustParseAddr("169.254.169.254"),
	"metadata.tencentyun.com":      netip.MustParseAddr("169.254.169.254"),
	"metadata.platformequinix.com": netip.MustParseAddr("169.254.169.254"),
}

// Guard says which hosts and addresses may be called for users: they write the URLs of hooks, alerts and metrics servers,
// and the operator reaches more than they do. The zero value allows every host, and no address of those that are
// refused by default.
type Guard struct {
	hosts   []string
	allowed []netip.Prefix
	private []Endpoint
}

// Endpoint is one that is never called for users, whatever addresses are allowed.
type Endpoint struct {
	// Addr is where it is.
	Addr netip.AddrPort
	// What it is, as "the API server".
	What string
}

// NewGuard returns the guard that allows these hosts, and these addresses although they are refused by default. A host
// is a name or an address, or *.suffix for all names below the suffix; no hosts mean every host. An address is one
// address or a CIDR. private are endpoints that no list allows. The error names the entry that is neither.
func NewGuard(hosts, addresses []string, private ...Endpoint) (*Guard, error) {
	g := &Guard{private: private}
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

// CheckURL returns an error of KindRefusedURL or KindRefusedAddress if the URL may not be called, as far as that can
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
		return &Error{Kind: KindRefusedURL, Host: u.Hostname(), Reason: "is not among the hosts that may be called"}
	}
	if why := misspelt(host); why != "" {
		return &Error{Kind: KindRefusedURL, Host: clean(u.Hostname(), maxText), Reason: why}
	}
	port, err := strconv.ParseUint(Port(u), 10, 16)
	if err != nil || port == 0 {
		return &Error{Kind: KindRefusedURL, Host: clean(u.Hostname(), maxText), Reason: fmt.Sprintf("has the port %s; allowed: 1 to 65535", Port(u))}
	}
	if host == "kubernetes.default" || strings.HasPrefix(host, "kubernetes.default.svc") {
		return &Error{Kind: KindRefusedAddress, Host: u.Hostname(), Reason: "is the API server, which may not be called"}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		named, known := names[host]
		if !known && strings.HasSuffix(host, ".localhost") {
			named, known = names["localhost"], true
		}
		if !known {
			return nil
		}
		addr = named
	}
	if err := g.checkAddr(netip.AddrPortFrom(addr, uint16(port))); err != nil {
		return refusal(u.Hostname(), err)
	}
	return nil
}

// misspelt says why a host is not written in the one way in which everybody on the way reads it alike, empty if it is.
// Some resolvers and proxies read 2130706433, 0x7f.1 and 127.1 as 127.0.0.1, others look for a name.
func misspelt(host string) string {
	for _, r := range host {
		if r > '~' || r <= ' ' {
			return "must be written in ASCII, a name in other scripts as xn--..."
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || strings.Trim(last, "0123456789") == "" {
		return "must be a name, or an address that is written like 192.0.2.1"
	}
	return ""
}

func (g *Guard) allowsHost(host string) bool { return len(g.hosts) == 0 || MatchesHost(g.hosts, host) }

// MatchesHost tells whether one of these patterns is for the host: the host itself, *.suffix for all names below
// the suffix, or * for every host.
func MatchesHost(patterns []string, host string) bool {
	host = normalHost(host)
	for _, pattern := range patterns {
		pattern = normalHost(pattern)
		suffix, wild := strings.CutPrefix(pattern, "*")
		if host == pattern || pattern == "*" || wild && strings.HasPrefix(suffix, ".") && len(host) > len(suffix) && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// refusedError says why an address may not be called. The dialer hands it through.
type refusedError struct {
	addr netip.Addr
	why  string
}

// Error implements error.
func (e *refusedError) Error() string {
	return fmt.Sprintf("is at %s, %s, which may not be called", e.addr, e.why)
}

func refusal(host string, cause error) *Error {
	return &Error{Kind: KindRefusedAddress, Host: host, Reason: cause.Error(), Err: cause}
}

// checkAddr returns a refusedError if the address may not be called, in whatever form it is written.
func (g *Guard) checkAddr(to netip.AddrPort) error {
	addr := to.Addr().Unmap().WithZone("")
	for _, p := range g.private {
		if p.Addr == netip.AddrPortFrom(addr, to.Port()) {
			return &refusedError{addr, p.What}
		}
	}
	inner := embedded(addr)
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
	for _, i := range inner {
		if err := g.checkAddr(netip.AddrPortFrom(i, to.Port())); err != nil {
			return err
		}
	}
	return nil
}

// form is a way to write an IPv4 address into an IPv6 address.
type form struct {
	prefix netip.Prefix
	bytes  [4]int // where its bytes are
}

// forms are those that gateways on the way turn into the IPv4 address: NAT64 (RFC 6052, and RFC 8215 with each length
// of prefix that fits), stateless translation (RFC 2765), 6to4 (RFC 3056), and IPv4-compatible addresses (RFC 4291).
var forms = []form{
	{netip.MustParsePrefix("64:ff9b::/96"), [4]int{12, 13, 14, 15}},
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{12, 13, 14, 15}},
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{9, 10, 11, 12}},
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{7, 9, 10, 11}},
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{6, 7, 9, 10}},
	{netip.MustParsePrefix("::ffff:0:0:0/96"), [4]int{12, 13, 14, 15}},
	{netip.MustParsePrefix("2002::/16"), [4]int{2, 3, 4, 5}},
	{netip.MustParsePrefix("::/96"), [4]int{12, 13, 14, 15}},
}

// embedded returns the IPv4 addresses to which an IPv6 address may lead.
func embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	b := addr.As16()
	v4 := func(at [4]int) netip.Addr { return netip.AddrFrom4([4]byte{b[at[0]], b[at[1]], b[at[2]], b[at[3]]}) }
	var out []netip.Addr
	for _, f := range forms {
		if f.prefix.Contains(addr) {
			v := v4(f.bytes)
			if f.prefix.Bits() == 48 && v.As4()[0] == 0 {
				continue // with another length of the prefix these are its zeros
			}
			out = append(out, v)
		}
	}
	if isatap := b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe; isatap { // RFC 5214
		out = append(out, v4([4]int{12, 13, 14, 15}))
	}
	return out
}

// control is for net.Dialer: it sees the address that is about to be connected to, so that no answer of a name server,
// however it changes, leads past the guard.
func (g *Guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address of a connection: %w", err)
	}
	return g.checkAddr(to)
}

// DialContext connects to an address that the guard allows.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return g.dialer().DialContext(ctx, network, address)
}

func (g *Guard) dialer() *net.Dialer {
	return &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, ControlContext: g.control}
}
