package guard

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
)

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

const longestHost = 253

// hostNames are the names that a request may be for.
func hostNames(more []string) (map[string]bool, error) {
	hosts := map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}
	var bad []error
	for _, host := range more {
		host = strings.ToLower(host)
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		switch {
		case err == nil:
			hosts[addr.Unmap().String()] = true
		case len(host) <= longestHost && hostName.MatchString(host):
			hosts[host] = true
		default:
			bad = append(bad, fmt.Errorf("guard: Hosts: %.80q is no name of a host; write it without scheme and port", host))
		}
	}
	return hosts, errors.Join(bad...)
}

// knowsHost tells whether a request is for us. A site that lets its own name point to our address (DNS rebinding) sends that name.
// No name can be the number of the address that the request came in by, so that one may stand there.
func (g *Guard) knowsHost(r *http.Request) bool {
	host := bareHost(r.Host)
	asked, err := netip.ParseAddr(host)
	if err != nil {
		return g.hosts[host]
	}
	if asked = asked.Unmap(); g.hosts[asked.String()] {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	return err == nil && asked == at.Addr().Unmap().WithZone("")
}

// bareHost is the name or the address in a Host header; "" when there is more or less in it.
func bareHost(host string) string {
	name := strings.ToLower(host)
	if at := strings.LastIndexByte(name, ':'); at >= 0 && !strings.HasSuffix(name, "]") {
		for _, c := range name[at+1:] {
			if c < '0' || c > '9' {
				return ""
			}
		}
		name = name[:at]
	}
	inner, bracket := strings.CutPrefix(name, "[")
	if bracket {
		inner, bracket = strings.CutSuffix(inner, "]")
		if addr, err := netip.ParseAddr(inner); !bracket || err != nil || !addr.Is6() || addr.Zone() != "" {
			return ""
		}
		return inner
	}
	if strings.ContainsAny(name, ":[]") {
		return ""
	}
	return name
}

// IsLoopback tells whether an address with a port is one that only this machine reaches.
func IsLoopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

func authorities(cas []CA) (map[[sha256.Size]byte]Role, error) {
	known := map[[sha256.Size]byte]Role{}
	var bad []error
	for i, ca := range cas {
		if ca.Role < Read || ca.Role > Admin {
			bad = append(bad, fmt.Errorf("guard: ClientCAs[%d]: a role is missing: read, operate or admin", i))
		}
		if len(ca.Certificates) == 0 {
			bad = append(bad, fmt.Errorf("guard: ClientCAs[%d]: there is no certificate in it", i))
		}
		for _, certificate := range ca.Certificates {
			if !certificate.IsCA {
				bad = append(bad, fmt.Errorf("guard: ClientCAs[%d]: the certificate of %.60q is not that of an authority", i, certificate.Subject.CommonName))
			}
			known[fingerprint(certificate)] = max(known[fingerprint(certificate)], ca.Role)
		}
	}
	return known, errors.Join(bad...)
}

func fingerprint(certificate *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(certificate.Raw)
}
