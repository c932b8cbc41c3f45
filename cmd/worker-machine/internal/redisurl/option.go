package redisurl

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// queryOption is one name=value after the ? of a URL.
type queryOption struct {
	secret bool
	set    func(p *parser, value string) *Error
}

// queryOptions are all of them. Filled by init: their functions refer to what refers to the map.
var queryOptions map[string]queryOption

func init() { //nolint:gochecknoinits // breaks the initialization cycle queryOptions -> parser -> queryOptions
	queryOptions = map[string]queryOption{
		"db":                {set: func(p *parser, v string) *Error { return p.database(v) }},
		"dial_timeout":      {set: duration(func(t *Target) *time.Duration { return &t.dialTimeout })},
		"read_timeout":      {set: duration(func(t *Target) *time.Duration { return &t.readTimeout })},
		"pool_size":         {set: poolSize},
		"sentinel_user":     {secret: true, set: text(func(t *Target) *secret { return &t.sentinelUser })},
		"sentinel_password": {secret: true, set: text(func(t *Target) *secret { return &t.sentinelPassword })},
		"ca":                {secret: true}, // file with the certificates to trust instead of the system's
		"cert":              {secret: true}, // file with the client's certificate
		"key":               {secret: true}, // file with its key
		"server_name":       {},             // name in the server's certificate when it is not the host's
	}
}

func optionNames() string { return strings.Join(slices.Sorted(maps.Keys(queryOptions)), ", ") }

func duration(field func(*Target) *time.Duration) func(*parser, string) *Error {
	return func(p *parser, value string) *Error {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return &Error{Part: "option", Problem: "a timeout is not a duration like 5s"}
		}
		*field(p.target) = d
		return nil
	}
}

func text(field func(*Target) *secret) func(*parser, string) *Error {
	return func(p *parser, value string) *Error {
		*field(p.target) = hide(value)
		return nil
	}
}

func poolSize(p *parser, value string) *Error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return &Error{Part: "option pool_size", Problem: "it is not a number from 1 up"}
	}
	p.target.poolSize = n
	return nil
}

func (p *parser) options() *Error {
	values, problem := p.values()
	if problem != nil {
		return problem
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		set := queryOptions[name].set
		if set == nil {
			if !p.secure {
				return &Error{Part: "option " + name, Problem: "it is for TLS; the scheme has to be one of those with rediss"}
			}
			continue
		}
		if err := set(p, values[name]); err != nil {
			return err
		}
	}
	if !p.secure {
		return nil
	}
	return p.secureWith(values)
}

// secureWith makes the TLS configuration. Certificates are always checked: there is no option to leave that out.
func (p *parser) secureWith(values map[string]string) *Error {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: values["server_name"]}
	if config.ServerName == "" && p.target.Mode == Single {
		config.ServerName, _, _ = net.SplitHostPort(p.target.Addrs[0])
	}
	if file := values["ca"]; file != "" {
		pem, err := os.ReadFile(file)
		config.RootCAs = x509.NewCertPool()
		if err != nil || !config.RootCAs.AppendCertsFromPEM(pem) {
			return &Error{Part: "option ca", Problem: "the file cannot be read or holds no PEM certificate"}
		}
	}
	if values["cert"] != "" || values["key"] != "" {
		pair, err := tls.LoadX509KeyPair(values["cert"], values["key"])
		if err != nil {
			return &Error{Part: "options cert and key", Problem: "the files cannot be read or do not belong together"}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	p.target.tls = config
	return nil
}

// Tuning is what all kinds of clients share and a caller may change.
type Tuning struct {
	DialTimeout  time.Duration // 0: go-redis's default
	ReadTimeout  time.Duration // 0: go-redis's default
	PoolSize     int           // 0: go-redis's default
	MaxRetries   int           // 0: go-redis's default, -1: none
	DialAttempts int           // 0: go-redis's default
}

// plainMaintenance switches off notifications that only Redis Enterprise sends and other servers answer with an error.
func plainMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

func (t *Target) single(tuning Tuning) *redis.Options {
	return &redis.Options{
		Network: t.network, Addr: t.Addrs[0], DB: t.DB,
		Username: t.user.reveal(), Password: t.password.reveal(), TLSConfig: t.tls,
		DialTimeout: tuning.DialTimeout, ReadTimeout: tuning.ReadTimeout, PoolSize: tuning.PoolSize,
		MaxRetries: tuning.MaxRetries, DialerRetries: tuning.DialAttempts,
		DisableIdentity: true, MaintNotificationsConfig: plainMaintenance(),
	}
}

func (t *Target) failover(tuning Tuning) *redis.FailoverOptions {
	return &redis.FailoverOptions{
		MasterName: t.Master, SentinelAddrs: t.Addrs, DB: t.DB,
		Username: t.user.reveal(), Password: t.password.reveal(), TLSConfig: t.tls,
		SentinelUsername: t.sentinelUser.reveal(), SentinelPassword: t.sentinelPassword.reveal(),
		DialTimeout: tuning.DialTimeout, ReadTimeout: tuning.ReadTimeout, PoolSize: tuning.PoolSize,
		MaxRetries: tuning.MaxRetries, DialerRetries: tuning.DialAttempts, DisableIdentity: true,
	}
}

func (t *Target) cluster(tuning Tuning) *redis.ClusterOptions {
	return &redis.ClusterOptions{
		Addrs:    t.Addrs,
		Username: t.user.reveal(), Password: t.password.reveal(), TLSConfig: t.tls,
		DialTimeout: tuning.DialTimeout, ReadTimeout: tuning.ReadTimeout, PoolSize: tuning.PoolSize,
		MaxRetries: tuning.MaxRetries, DialerRetries: tuning.DialAttempts,
		DisableIdentity: true, MaintNotificationsConfig: plainMaintenance(),
	}
}
