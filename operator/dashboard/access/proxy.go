package access

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"k8s.io/client-go/rest"
)

// Proxies are those that are trusted to say who a request comes from.
type Proxies struct {
	// Addresses are where they are.
	Addresses []netip.Prefix
	// Verified also trusts whoever has shown a certificate that the server was told to accept.
	Verified bool
	// UserHeader and GroupHeader are the headers that they set. Groups are separated by commas, or are in several headers.
	UserHeader, GroupHeader string
}

// user is who a trusted proxy says it is; nil where it says nothing, or where the request comes from elsewhere.
func (p *Proxies) user(r *http.Request) (*rest.ImpersonationConfig, error) {
	name := strings.TrimSpace(r.Header.Get(p.UserHeader))
	if name == "" || !p.trusts(r) {
		return nil, nil
	}
	out := &rest.ImpersonationConfig{UserName: name}
	for _, header := range r.Header.Values(p.GroupHeader) {
		for group := range strings.SplitSeq(header, ",") {
			if group = strings.TrimSpace(group); group != "" {
				out.Groups = append(out.Groups, group)
			}
		}
	}
	for _, name := range append([]string{name}, out.Groups...) {
		// Those are Kubernetes' own, as system:masters, and nobody whom a proxy knows.
		if strings.HasPrefix(name, "system:") {
			return nil, fmt.Errorf("%w: the proxy says that it is %q, and nobody of system: comes by a proxy", ErrNobody, name)
		}
	}
	return out, nil
}

// trusts tells whether a request comes from a proxy that is trusted.
func (p *Proxies) trusts(r *http.Request) bool {
	if p.Verified && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	from, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	from = from.Unmap().WithZone("")
	for _, prefix := range p.Addresses {
		if prefix.Contains(from) {
			return true
		}
	}
	return false
}
