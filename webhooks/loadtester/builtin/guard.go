package builtin

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Limits bound what a load generator may do. Who may write a Canary writes its command line.
type Limits struct {
	// DataDir is the folder that files named on the command line have to be in; without it there are none.
	DataDir string
	// AtOnce is how many requests may be made at once: each takes memory before the first is made.
	AtOnce int
	// Targets are the hosts that may be called, *.example.com and * included; none is every host.
	Targets []string
	// Addresses may be called although they are those of the pod itself, of its node or of a cloud.
	Addresses []netip.Prefix
	// APIServer may not be called; invalid if it is not known.
	APIServer netip.Addr
}

// DefaultAtOnce is how many requests a load generator makes at once at the most where nobody says otherwise.
const DefaultAtOnce = 250

// The environment of a load generator has its limits.
const (
	dataDirVariable   = "SLUICE_LOADTESTER_DATA_DIR"
	atOnceVariable    = "SLUICE_LOADTESTER_AT_ONCE"
	targetsVariable   = "SLUICE_LOADTESTER_TARGETS"
	addressesVariable = "SLUICE_LOADTESTER_ADDRESSES"
	apiServerVariable = "KUBERNETES_SERVICE_HOST"
)

// Environment gives the variables by which a load generator knows its limits.
func (l Limits) Environment() []string {
	var addresses []string
	for _, p := range l.Addresses {
		addresses = append(addresses, p.String())
	}
	return []string{
		dataDirVariable + "=" + l.DataDir, atOnceVariable + "=" + strconv.Itoa(l.AtOnce),
		targetsVariable + "=" + strings.Join(l.Targets, ","), addressesVariable + "=" + strings.Join(addresses, ","),
	}
}

// limitsOf reads the limits from the environment.
func limitsOf(get func(string) string) (Limits, error) {
	l := Limits{DataDir: get(dataDirVariable), AtOnce: DefaultAtOnce, Targets: ParseList(get(targetsVariable))}
	l.APIServer, _ = netip.ParseAddr(get(apiServerVariable))
	var err error
	if text := get(atOnceVariable); text != "" {
		if l.AtOnce, err = strconv.Atoi(text); err != nil {
			return l, fmt.Errorf("%s: %w", atOnceVariable, err)
		}
	}
	l.Addresses, err = ParseAddresses(get(addressesVariable))
	return l, err
}

// ParseList reads values separated by commas.
func ParseList(text string) []string {
	var out []string
	for value := range strings.SplitSeq(text, ",") {
		if value = strings.TrimSpace(value); value != "" {
			out = append(out, strings.ToLower(value))
		}
	}
	return out
}

// ParseAddresses reads addresses and networks separated by commas.
func ParseAddresses(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, value := range ParseList(text) {
		prefix, err := netip.ParsePrefix(value)
		if addr, addrErr := netip.ParseAddr(value); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network like 10.0.0.0/8", value)
		}
		out = append(out, prefix.Masked())
	}
	return out, nil
}

// refused are addresses that no load is for: those of the pod itself, of the node and of the cloud below it, and the
// forms of IPv6 in which gateways read IPv4.
var refused = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("192.0.0.192/32"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("::ffff:0:0:0/96"), netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("fd00:ec2::/32"),
	netip.MustParsePrefix("fd20:ce::254/128"), netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"),
}

// everywhere is true where all addresses may be called.
func (l Limits) everywhere() bool {
	for _, p := range l.Addresses {
		if p.Bits() == 0 {
			return true
		}
	}
	return false
}

func (l Limits) checkAddress(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	for _, p := range l.Addresses {
		if p.Contains(addr) {
			return nil
		}
	}
	if addr == l.APIServer.Unmap() {
		return usagef("%s is the API server, which no load is for", addr)
	}
	for _, p := range refused {
		if p.Contains(addr) {
			return usagef("%s is in %s, which no load is for: the load tester's -allowed-addresses can allow it", addr, p)
		}
	}
	return nil
}

// checkHost says why a host can't be called. Its addresses are looked at again each time that it is resolved.
func (l Limits) checkHost(ctx context.Context, host string) error {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !l.allows(host) {
		return usagef("%q is none of the hosts that may be called: %s", host, strings.Join(l.Targets, ", "))
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return l.checkAddress(addr)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil //nolint:nilerr // the requests will fail, and say so each
	}
	for _, addr := range addrs {
		if err := l.checkAddress(addr); err != nil {
			return err
		}
	}
	return nil
}

func (l Limits) allows(host string) bool {
	for _, pattern := range l.Targets {
		suffix, wild := strings.CutPrefix(pattern, "*")
		if host == pattern || wild && (suffix == "" || strings.HasPrefix(suffix, ".") && strings.HasSuffix(host, suffix)) {
			return true
		}
	}
	return len(l.Targets) == 0
}

// guardNames has this process refuse answers of name servers with addresses that may not be called: what a name leads
// to can change from one request to the next.
func (l Limits) guardNames() {
	net.DefaultResolver.PreferGo = true // the packages that make the requests hold the pointer
	net.DefaultResolver.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if packets, ok := conn.(*net.UDPConn); ok {
			return &answers{UDPConn: packets, limits: l}, nil
		}
		return &stream{Conn: conn, limits: l}, nil
	}
}

// answers are those of a name server, each in a packet.
type answers struct {
	*net.UDPConn
	limits Limits
}

func (a *answers) Read(p []byte) (int, error) {
	n, err := a.UDPConn.Read(p)
	if err == nil {
		err = a.limits.checkAnswer(p[:n])
	}
	return n, err
}

// stream is the answer of a name server over TCP: its length and itself.
type stream struct {
	net.Conn
	limits Limits
	left   []byte
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		length := make([]byte, 2)
		if _, err := io.ReadFull(s.Conn, length); err != nil {
			return 0, err
		}
		answer := make([]byte, binary.BigEndian.Uint16(length))
		if _, err := io.ReadFull(s.Conn, answer); err != nil {
			return 0, err
		}
		if err := s.limits.checkAnswer(answer); err != nil {
			return 0, err
		}
		s.left = append(length, answer...)
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// checkAnswer looks at the addresses in an answer of a name server. What can't be read is refused, as others may read it.
func (l Limits) checkAnswer(packet []byte) error {
	var p dnsmessage.Parser
	if _, err := p.Start(packet); err != nil {
		return err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return err
	}
	records, err := p.AllAnswers()
	if err != nil {
		return err
	}
	for _, r := range records {
		var addr netip.Addr
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			addr = netip.AddrFrom4(body.A)
		case *dnsmessage.AAAAResource:
			addr = netip.AddrFrom16(body.AAAA)
		default:
			continue
		}
		if err := l.checkAddress(addr); err != nil {
			return err
		}
	}
	return nil
}

// limitsOfProcess reads the limits of this process and forgets its environment: templates of messages can read it, and
// requests carry it away.
func limitsOfProcess() (Limits, error) {
	l, err := limitsOf(os.Getenv)
	os.Clearenv()
	if err == nil && !l.everywhere() {
		l.guardNames()
	}
	return l, err
}
