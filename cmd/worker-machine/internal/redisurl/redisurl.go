// Package redisurl reads the address of a Redis from a URL without ever showing its password.
//
//	target, err := redisurl.Parse("rediss://app:secret@redis.example.com:6380/2")
//	if err != nil {
//		return err // says which part is wrong; shows rediss://***@redis.example.com:6380/2
//	}
//	client := target.Client(nil)
//
// redis.ParseURL is not used because its errors hold the whole URL, password included, and because it knows neither Sentinel
// nor clusters.
package redisurl

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Mode is how the servers behind a URL are arranged.
type Mode int

// The modes of a [Target].
const (
	Single   Mode = iota // one server, by TCP or by a unix socket
	Sentinel             // the primary that sentinels name
	Cluster              // a Redis cluster
)

// Schemes are the schemes a URL may have, in the order of help texts.
var Schemes = []string{
	"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
}

const (
	defaultPort         = "6379"
	defaultSentinelPort = "26379"
	example             = "redis://user:password@127.0.0.1:6379/0"
)

// Target is a Redis to connect to. Its secrets are in unexported fields: printing a Target shows [Target.String].
type Target struct {
	Mode   Mode
	Addrs  []string // host:port, or the path of a socket
	Master string   // the name sentinels know the primary by
	DB     int

	network          string // "unix" or "tcp"
	user             secret
	password         secret
	sentinelUser     secret
	sentinelPassword secret
	tls              *tls.Config
	dialTimeout      time.Duration
	readTimeout      time.Duration
	poolSize         int
	redacted         string
}

// secret is a string behind a pointer, where no formatting verb finds it.
type secret struct{ value *string }

func hide(value string) secret { return secret{&value} }

func (s secret) reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// hidden stands where a secret was.
const hidden = "***"

// Error is what is wrong with a URL. It holds no part of the URL that could be a secret.
type Error struct {
	Part     string // scheme, credentials, host, database, option ...
	Problem  string
	Redacted string // the URL as it may be shown
}

// Error says which part is wrong, shows the redacted URL and an example of a good one.
func (e *Error) Error() string {
	return fmt.Sprintf("the Redis URL %s is not usable: %s: %s (example: %s)", e.Redacted, e.Part, e.Problem, example)
}

// String is the URL without its secrets.
func (t *Target) String() string { return t.redacted }

// Format shows the redacted URL whatever the verb, so that no %+v lists the fields.
func (t *Target) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, t.redacted) }

// Addr is where the Redis is, for messages: "127.0.0.1:6379", or all the addresses of sentinels or a cluster.
func (t *Target) Addr() string {
	switch t.Mode {
	case Sentinel:
		return "sentinels " + strings.Join(t.Addrs, ", ") + " (primary " + t.Master + ")"
	case Cluster:
		return "cluster " + strings.Join(t.Addrs, ", ")
	case Single:
	}
	return t.Addrs[0]
}

// Secure tells whether connections are to be with TLS.
func (t *Target) Secure() bool { return t.tls != nil }

// Parse reads a URL. Its error is always an [*Error].
func Parse(raw string) (*Target, error) {
	p := &parser{target: &Target{network: "tcp"}, pieces: cut(raw)}
	p.target.redacted = p.redact()
	for _, step := range []func() *Error{p.scheme, p.credentials, p.address, p.options} {
		if err := step(); err != nil {
			err.Redacted = p.target.redacted
			return nil, err
		}
	}
	return p.target, nil
}

// parser fills a Target from the pieces of a URL.
type parser struct {
	pieces
	target *Target
	secure bool
}

func (p *parser) scheme() *Error {
	scheme := strings.ToLower(p.pieces.scheme)
	switch { // also the names other programs use
	case strings.HasPrefix(scheme, "redis-"), strings.HasPrefix(scheme, "rediss-"):
		scheme = strings.Replace(scheme, "-", "+", 1)
	case scheme == "":
		return &Error{Part: "scheme", Problem: "there is none; put redis:// in front"}
	}
	if !slices.Contains(Schemes, scheme) {
		return &Error{Part: "scheme", Problem: "it is none of " + strings.Join(Schemes, ", ")}
	}
	kind, arrangement, _ := strings.Cut(scheme, "+")
	p.secure = kind == "rediss"
	switch {
	case kind == "unix":
		p.target.network = "unix"
	case arrangement == "sentinel":
		p.target.Mode = Sentinel
	case arrangement == "cluster":
		p.target.Mode = Cluster
	}
	return nil
}

func (p *parser) credentials() *Error {
	if !p.hasUserinfo {
		return nil
	}
	if strings.ContainsAny(p.userinfo, "/?#@ ") {
		return &Error{Part: "credentials", Problem: "a special character in them must be percent-encoded: / is %2F, ? is %3F, # is %23, @ is %40"}
	}
	user, password, ok := strings.Cut(p.userinfo, ":")
	if !ok {
		// "secret@host": redis-cli takes that for the user; so do we.
		user, password = p.userinfo, ""
	}
	for _, part := range []*string{&user, &password} {
		plain, err := url.PathUnescape(*part)
		if err != nil { // err would show a piece of it
			return &Error{Part: "credentials", Problem: "a % in them is not followed by two hexadecimal digits; a % itself is written %25"}
		}
		*part = plain
	}
	p.target.user, p.target.password = hide(user), hide(password)
	return nil
}

func (p *parser) address() *Error {
	if p.target.network == "unix" {
		if !strings.HasPrefix(p.path, "/") || p.host != "" {
			return &Error{Part: "path", Problem: "a socket needs an absolute path, as in unix:///run/redis/redis.sock"}
		}
		path, err := url.PathUnescape(p.path)
		if err != nil {
			return &Error{Part: "path", Problem: "a % in it is not followed by two hexadecimal digits"}
		}
		p.target.Addrs = []string{path}
		return nil
	}
	if err := p.hosts(); err != nil {
		return err
	}
	segments := strings.FieldsFunc(p.path, func(r rune) bool { return r == '/' })
	if p.target.Mode == Sentinel {
		if len(segments) == 0 {
			return &Error{Part: "path", Problem: "the name of the primary is missing, as in redis+sentinel://127.0.0.1:26379/mymaster"}
		}
		p.target.Master, segments = segments[0], segments[1:]
	}
	switch {
	case len(segments) > 1:
		return &Error{Part: "path", Problem: "only a database number may stand there"}
	case len(segments) == 1:
		return p.database(segments[0])
	}
	return nil
}

// hosts reads one address, or for sentinels and clusters several with commas between them.
func (p *parser) hosts() *Error {
	port := defaultPort
	if p.target.Mode == Sentinel {
		port = defaultSentinelPort
	}
	list := strings.Split(p.host, ",")
	if len(list) > 1 && p.target.Mode == Single {
		return &Error{Part: "host", Problem: "several hosts need redis+sentinel:// or redis+cluster://"}
	}
	for _, item := range list {
		addr, err := hostPort(item, port)
		if err != nil {
			return err
		}
		p.target.Addrs = append(p.target.Addrs, addr)
	}
	return nil
}

func (p *parser) database(text string) *Error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return &Error{Part: "database", Problem: "it is not a number from 0 up"}
	}
	if n != 0 && p.target.Mode == Cluster {
		return &Error{Part: "database", Problem: "a cluster has only database 0"}
	}
	p.target.DB = n
	return nil
}

// Client makes a go-redis client; it dials nothing yet. change, when not nil, may edit what all kinds of clients share.
func (t *Target) Client(change func(*Tuning)) redis.UniversalClient {
	tuning := Tuning{DialTimeout: t.dialTimeout, ReadTimeout: t.readTimeout, PoolSize: t.poolSize}
	if change != nil {
		change(&tuning)
	}
	switch t.Mode {
	case Sentinel:
		return redis.NewFailoverClient(t.failover(tuning))
	case Cluster:
		return redis.NewClusterClient(t.cluster(tuning))
	case Single:
	}
	return redis.NewClient(t.single(tuning))
}
