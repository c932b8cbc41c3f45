package redisurl

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// pieces are the parts of a URL, cut so that whatever could be a password is in userinfo: everything up to the last @.
// net/url cuts at the first /, ? or #, and would take the rest of a password with such a character for a path.
type pieces struct {
	scheme      string
	hasUserinfo bool
	userinfo    string
	host        string // with the port
	path        string
	query       string
}

func cut(raw string) pieces {
	var p pieces
	rest := strings.TrimSpace(raw)
	if scheme, after, ok := strings.Cut(rest, "://"); ok {
		p.scheme, rest = scheme, after
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		p.hasUserinfo, p.userinfo, rest = true, rest[:at], rest[at+1:]
	}
	rest, p.query, _ = strings.Cut(rest, "?")
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		rest, p.path = rest[:slash], rest[slash:]
	}
	p.host = rest
	return p
}

var (
	nameOfHost   = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,253}[A-Za-z0-9_.])?$`)
	nameOfScheme = regexp.MustCompile(`^[a-z][a-z+-]{0,20}$`)
	harmlessPath = regexp.MustCompile(`^[A-Za-z0-9/._ -]*$`)
)

// redact is the URL with *** for every part that is, or may be, a secret, and for every part that does not look as it should:
// a password in the wrong place is no reason to show it.
func (p pieces) redact() string {
	var b strings.Builder
	if p.scheme != "" {
		b.WriteString(orHidden(p.scheme, nameOfScheme.MatchString(p.scheme)) + "://")
	}
	if p.hasUserinfo {
		b.WriteString(hidden + "@")
	}
	for i, item := range strings.Split(p.host, ",") {
		if i > 0 {
			b.WriteByte(',')
		}
		_, err := hostPort(item, defaultPort)
		// A bare word may be a password alone, and so may the rest of one with a comma where only one host may stand.
		expected := p.scheme != "" && (i == 0 || strings.ContainsAny(p.scheme, "+-"))
		b.WriteString(orHidden(item, expected && (item == "" || err == nil)))
	}
	b.WriteString(orHidden(p.path, p.path == "" || p.scheme != "" && harmlessPath.MatchString(p.path)))
	if p.query != "" {
		b.WriteString("?" + redactQuery(p.query))
	}
	return b.String()
}

func orHidden(text string, show bool) string {
	if show {
		return text
	}
	return hidden
}

// redactQuery keeps the names of known options and the values of those that hold no secret.
func redactQuery(query string) string {
	var shown []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch option, known := queryOptions[name]; {
		case !known:
			shown = append(shown, hidden)
		case option.secret || !harmlessPath.MatchString(value):
			shown = append(shown, name+"="+hidden)
		default:
			shown = append(shown, name+"="+value)
		}
	}
	return strings.Join(shown, "&")
}

// hostPort checks one address and adds what it leaves out.
func hostPort(item, port string) (string, *Error) {
	host, rest, err := cutHost(item)
	if err != nil {
		return "", err
	}
	if number, ok := strings.CutPrefix(rest, ":"); ok && number != "" {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return "", &Error{Part: "port", Problem: "it is not a number from 1 to 65535 (credentials stand before an @)"}
		}
		port = number
	}
	return net.JoinHostPort(host, port), nil
}

// cutHost takes the host, a name or an IPv6 address in brackets, off an address; rest is empty or begins with a colon.
func cutHost(item string) (host, rest string, err *Error) {
	if !strings.HasPrefix(item, "[") {
		host, _, _ = strings.Cut(item, ":")
		rest = item[len(host):]
		if host == "" {
			host = "localhost"
		}
		if !nameOfHost.MatchString(host) {
			return "", "", &Error{Part: "host", Problem: "it has a character no host name has"}
		}
		return host, rest, nil
	}
	host, rest, closed := strings.Cut(item[1:], "]")
	if addr, err := netip.ParseAddr(host); !closed || err != nil || !addr.Is6() {
		return "", "", &Error{Part: "host", Problem: "what stands in [] is no IPv6 address"}
	}
	if rest != "" && !strings.HasPrefix(rest, ":") {
		return "", "", &Error{Part: "host", Problem: "after ] only :port may follow"}
	}
	return host, rest, nil
}

// values reads the query; an option named twice is an error, as only one of them could win.
func (p pieces) values() (map[string]string, *Error) {
	found := map[string]string{}
	if p.query == "" {
		return found, nil
	}
	for pair := range strings.SplitSeq(p.query, "&") {
		name, escaped, _ := strings.Cut(pair, "=")
		if _, known := queryOptions[name]; !known {
			return nil, &Error{Part: "option", Problem: "there is one that is none of " + optionNames()}
		}
		value, err := url.QueryUnescape(escaped)
		if err != nil {
			return nil, &Error{Part: "option " + name, Problem: "a % in it is not followed by two hexadecimal digits"}
		}
		if _, twice := found[name]; twice {
			return nil, &Error{Part: "option " + name, Problem: "it is there twice"}
		}
		found[name] = value
	}
	return found, nil
}
