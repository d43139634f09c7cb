package webhooks

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestGuardAddresses(t *testing.T) {
	for name, tc := range map[string]struct {
		addr    string
		allowed []string
		want    string // empty: allowed
	}{
		"public":                         {addr: "93.184.216.34"},
		"private, as Services are":       {addr: "10.96.0.1"},
		"private, 172":                   {addr: "172.16.0.1"},
		"private, 192":                   {addr: "192.168.1.1"},
		"shared, as some pods are":       {addr: "100.64.0.1"},
		"unique local":                   {addr: "fd12:3456::1"},
		"public IPv6":                    {addr: "2606:2800::1"},
		"metadata":                       {addr: "169.254.169.254", want: "a cloud's metadata service"},
		"metadata, mapped":               {addr: "::ffff:169.254.169.254", want: "a cloud's metadata service"},
		"metadata, compatible":           {addr: "::169.254.169.254", want: "a cloud's metadata service"},
		"metadata, NAT64":                {addr: "64:ff9b::a9fe:a9fe", want: "a cloud's metadata service"},
		"metadata, local NAT64":          {addr: "64:ff9b:1::a9fe:a9fe", want: "a cloud's metadata service"},
		"metadata, local NAT64 of /48":   {addr: "64:ff9b:1:a9fe:a9:fe00::", want: "a link-local address"}, // with another length it is 169.254.0.0
		"public, local NAT64":            {addr: "64:ff9b:1::5db8:d822"},
		"loopback, translated":           {addr: "::ffff:0:7f00:1", want: "a loopback address"},
		"metadata, ISATAP":               {addr: "2001:db8::200:5efe:a9fe:a9fe", want: "a cloud's metadata service"},
		"Teredo":                         {addr: "2001::1", want: "an address of a Teredo tunnel"},
		"the API server, mapped":         {addr: "::ffff:10.0.0.9", allowed: []string{"10.0.0.0/8"}, want: "the API server"},
		"metadata, 6to4":                 {addr: "2002:a9fe:a9fe::1", want: "a cloud's metadata service"},
		"metadata of AWS":                {addr: "fd00:ec2::254", want: "a cloud's metadata service"},
		"pod identity of AWS":            {addr: "fd00:ec2::23", want: "a cloud's metadata service"},
		"metadata of Alibaba Cloud":      {addr: "100.100.100.200", want: "a cloud's metadata service"},
		"metadata of Azure":              {addr: "168.63.129.16", want: "a cloud's metadata service"},
		"metadata of Google Cloud":       {addr: "fd20:ce::254", want: "a cloud's metadata service"},
		"link-local":                     {addr: "169.254.1.1", want: "a link-local address"},
		"link-local IPv6":                {addr: "fe80::1", want: "a link-local address"},
		"link-local IPv6 with zone":      {addr: "fe80::1%eth0", want: "a link-local address"},
		"loopback":                       {addr: "127.0.0.53", want: "a loopback address"},
		"loopback IPv6":                  {addr: "::1", want: "a loopback address"},
		"loopback, mapped":               {addr: "::ffff:127.0.0.1", want: "a loopback address"},
		"unspecified":                    {addr: "0.0.0.0", want: "an unspecified address"},
		"unspecified IPv6":               {addr: "::", want: "an unspecified address"},
		"this network":                   {addr: "0.1.2.3", want: "an unspecified address"},
		"multicast":                      {addr: "239.1.1.1", want: "a multicast address"},
		"multicast IPv6":                 {addr: "ff02::1", want: "a multicast address"},
		"broadcast":                      {addr: "255.255.255.255", want: "the broadcast address"},
		"allowed by address":             {addr: "127.0.0.1", allowed: []string{"127.0.0.1"}},
		"allowed by range":               {addr: "169.254.169.254", allowed: []string{"169.254.0.0/16"}},
		"allowed range, badly written":   {addr: "127.0.0.1", allowed: []string{"127.1.2.3/8"}},
		"allowed mapped":                 {addr: "127.0.0.1", allowed: []string{"::ffff:127.0.0.1"}},
		"mapped, allowed":                {addr: "::ffff:127.0.0.1", allowed: []string{"127.0.0.0/8"}},
		"NAT64, allowed":                 {addr: "64:ff9b::7f00:1", allowed: []string{"127.0.0.0/8"}},
		"another one allowed":            {addr: "127.0.0.2", allowed: []string{"127.0.0.1", "::1"}, want: "a loopback address"},
		"all of IPv4 is nothing of IPv6": {addr: "::1", allowed: []string{"0.0.0.0/0"}, want: "a loopback address"},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := NewGuard(nil, tc.allowed, Endpoint{netip.MustParseAddrPort("10.0.0.9:80"), "the API server"})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if refused, ok := errors.AsType[*refusedError](g.checkAddr(netip.AddrPortFrom(netip.MustParseAddr(tc.addr), 80))); ok {
				got = refused.why
			}
			if got != tc.want {
				t.Errorf("%s is refused as %q, want %q", tc.addr, got, tc.want)
			}
		})
	}
}

// However an IPv4 address is written in IPv6, the guard says the same of it.
func TestGuardSeesThroughForms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v4 := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address")))
		bytes := v4.As4()
		nat64 := netip.MustParseAddr("64:ff9b::").As16()
		copy(nat64[12:], bytes[:])
		g := &Guard{}
		want := g.checkAddr(netip.AddrPortFrom(v4, 80)) == nil
		for _, form := range []netip.Addr{netip.AddrFrom16(v4.As16()), netip.AddrFrom16(nat64)} {
			if got := g.checkAddr(netip.AddrPortFrom(form, 80)) == nil; got != want {
				t.Fatalf("%s is allowed: %v, %s: %v", v4, want, form, got)
			}
		}
	})
}

func TestGuardURLs(t *testing.T) {
	hosts := []string{"gates.example.com", "*.Tools.example.com", "10.0.0.5", "[2001:db8::1]"}
	for name, tc := range map[string]struct {
		url   string
		hosts []string
		want  Kind
	}{
		"any host":                    {url: "http://anything.at.all/"},
		"listed":                      {url: "https://gates.example.com:8443/x?y=z", hosts: hosts},
		"listed in other case":        {url: "https://GATES.example.com./", hosts: hosts},
		"below a suffix":              {url: "http://a.b.tools.example.com/", hosts: hosts},
		"the suffix itself":           {url: "http://tools.example.com/", hosts: hosts, want: KindRefusedURL},
		"no dot before the suffix":    {url: "http://eviltools.example.com/", hosts: hosts, want: KindRefusedURL},
		"listed name as a user":       {url: "http://gates.example.com@evil.org/", hosts: hosts, want: KindRefusedURL},
		"listed name as a beginning":  {url: "http://gates.example.com.evil.org/", hosts: hosts, want: KindRefusedURL},
		"listed address":              {url: "http://10.0.0.5/", hosts: hosts},
		"listed IPv6 address":         {url: "http://[2001:db8::1]:80/", hosts: hosts},
		"not listed":                  {url: "http://example.com/", hosts: hosts, want: KindRefusedURL},
		"refused address":             {url: "http://169.254.169.254/latest/meta-data/", want: KindRefusedAddress},
		"refused mapped address":      {url: "http://[::ffff:a9fe:a9fe]/", want: KindRefusedAddress},
		"refused address with a zone": {url: "http://[fe80::1%25eth0]/", want: KindRefusedAddress},
		"a name of the loopback":      {url: "http://localhost:8080/", want: KindRefusedAddress},
		"a name below localhost":      {url: "http://a.localhost./", want: KindRefusedAddress},
		"a name of metadata":          {url: "http://Metadata.Google.Internal/", want: KindRefusedAddress},
		"the API server":              {url: "https://kubernetes.default.svc.cluster.local/", want: KindRefusedAddress},
		"a number":                    {url: "http://2130706433/", want: KindRefusedURL},
		"zero":                        {url: "http://0/", want: KindRefusedURL},
		"short":                       {url: "http://127.1/", want: KindRefusedURL},
		"hexadecimal":                 {url: "http://0x7f.0.0.0x1/", want: KindRefusedURL},
		"octal":                       {url: "http://0177.0.0.1/", want: KindRefusedURL},
		"digits of another script":    {url: "http://１２７.0.0.1/", want: KindRefusedURL},
		"a name that ends in letters": {url: "http://10.a/"},
		"no scheme":                   {url: "gates.example.com/", want: KindRefusedURL},
		"other scheme":                {url: "file:///etc/passwd", want: KindRefusedURL},
		"no host":                     {url: "http:///x", want: KindRefusedURL},
		"no URL":                      {url: "http://a b/", want: KindRefusedURL},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := NewGuard(tc.hosts, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.CheckURL(tc.url); KindOf(err) != tc.want {
				t.Errorf("CheckURL(%q) = %v, want kind %q", tc.url, err, tc.want)
			}
		})
	}
}

func TestNewGuardRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ hosts, addresses []string }{
		"empty host":         {hosts: []string{""}},
		"star alone":         {hosts: []string{"*"}},
		"star in the middle": {hosts: []string{"a.*.com"}},
		"URL":                {hosts: []string{"http://a/"}},
		"name as an address": {addresses: []string{"localhost"}},
		"no range":           {addresses: []string{"10.0.0.0/33"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewGuard(tc.hosts, tc.addresses); err == nil {
				t.Error("accepted, want an error")
			}
		})
	}
}
