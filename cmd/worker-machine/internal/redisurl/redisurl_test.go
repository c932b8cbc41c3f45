package redisurl_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/redisurl"
)

// canary is the password of every URL here; no message may show it.
const canary = "cAnArY42"

func TestParseSingle(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		url                       string
		network, addr, user, pass string
		db                        int
		secure                    bool
		shown                     string
		serverName                string
	}{
		"host and port":        {url: "redis://127.0.0.1:7000", network: "tcp", addr: "127.0.0.1:7000", shown: "redis://127.0.0.1:7000"},
		"no port":              {url: "redis://example.com", network: "tcp", addr: "example.com:6379", shown: "redis://example.com"},
		"nothing but a scheme": {url: "redis://", network: "tcp", addr: "localhost:6379", shown: "redis://"},
		"user, password, database": {
			url: "redis://bob:" + canary + "@h:1/3", network: "tcp", addr: "h:1", user: "bob", pass: canary, db: 3, shown: "redis://***@h:1/3",
		},
		"password alone":   {url: "redis://:" + canary + "@h", network: "tcp", addr: "h:6379", pass: canary, shown: "redis://***@h"},
		"encoded password": {url: "redis://:a%2Fb%40" + canary + "@h", network: "tcp", addr: "h:6379", pass: "a/b@" + canary, shown: "redis://***@h"},
		"tls": {
			url: "rediss://h.example:6380/1", network: "tcp", addr: "h.example:6380", db: 1, secure: true,
			serverName: "h.example", shown: "rediss://h.example:6380/1",
		},
		"server name":          {url: "rediss://10.0.0.1?server_name=a.b", network: "tcp", addr: "10.0.0.1:6379", secure: true, serverName: "a.b", shown: "rediss://10.0.0.1?server_name=a.b"},
		"IPv6":                 {url: "redis://[::1]:6380", network: "tcp", addr: "[::1]:6380", shown: "redis://[::1]:6380"},
		"database as option":   {url: "redis://h?db=5", network: "tcp", addr: "h:6379", db: 5, shown: "redis://h?db=5"},
		"socket":               {url: "unix:///run/redis.sock?db=2", network: "unix", addr: "/run/redis.sock", db: 2, shown: "unix:///run/redis.sock?db=2"},
		"socket with password": {url: "unix://:" + canary + "@/run/redis.sock", network: "unix", addr: "/run/redis.sock", pass: canary, shown: "unix://***@/run/redis.sock"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, err := redisurl.Parse(test.url)
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			client := target.Client(nil).(*redis.Client)
			defer client.Close()
			got := client.Options()
			if got.Network != test.network || got.Addr != test.addr || got.Username != test.user || got.Password != test.pass || got.DB != test.db {
				t.Errorf("got %s %s %q %q db %d, want %+v", got.Network, got.Addr, got.Username, got.Password, got.DB, test)
			}
			if (got.TLSConfig != nil) != test.secure || test.secure && got.TLSConfig.ServerName != test.serverName {
				t.Errorf("TLS is %+v, want it %v for %q", got.TLSConfig, test.secure, test.serverName)
			}
			if target.String() != test.shown {
				t.Errorf("shown as %q, want %q", target, test.shown)
			}
		})
	}
}

func TestParseSeveralHosts(t *testing.T) {
	t.Parallel()
	target, err := redisurl.Parse("redis-sentinel://u:" + canary + "@a,b:1,c/mymaster/2?sentinel_password=" + canary)
	if err != nil {
		t.Fatal(err)
	}
	if target.Mode != redisurl.Sentinel || target.Master != "mymaster" || target.DB != 2 ||
		strings.Join(target.Addrs, " ") != "a:26379 b:1 c:26379" {
		t.Errorf("got mode %v, master %q, db %d, addresses %v", target.Mode, target.Master, target.DB, target.Addrs)
	}
	if want := "redis-sentinel://***@a,b:1,c/mymaster/2?sentinel_password=***"; target.String() != want {
		t.Errorf("shown as %q, want %q", target, want)
	}
	for _, scheme := range []string{"redis-cluster", "redis+cluster", "rediss+cluster", "rediss-cluster"} {
		target, err := redisurl.Parse(scheme + "://a:7000,b:7001")
		if err != nil {
			t.Fatalf("%s: %v", scheme, err)
		}
		cluster, ok := target.Client(nil).(*redis.ClusterClient)
		if !ok || strings.Join(cluster.Options().Addrs, " ") != "a:7000 b:7001" {
			t.Errorf("%s: got %T, %v", scheme, target.Client(nil), target.Addrs)
		}
		if got := cluster.Options().TLSConfig != nil; got != strings.HasPrefix(scheme, "rediss") {
			t.Errorf("%s: TLS is %v", scheme, got)
		}
		_ = cluster.Close()
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ url, part string }{
		"no scheme":                 {"localhost:6379", "scheme"},
		"no scheme with password":   {":" + canary + "@localhost:6379", "scheme"},
		"other scheme":              {"http://u:" + canary + "@h", "scheme"},
		"scheme that is a password": {canary + "://h", "scheme"},
		"slash in password":         {"redis://u:" + canary + "/x@h:6379", "credentials"},
		"question mark":             {"redis://u:" + canary + "?x@h:6379", "credentials"},
		"hash":                      {"redis://u:#" + canary + "@h:6379", "credentials"},
		"at":                        {"redis://u:" + canary + "@" + canary + "@h:6379", "credentials"},
		"percent":                   {"redis://u:%zz" + canary + "@h:6379", "credentials"},
		"password as port":          {"redis://u:" + canary, "port"},
		"password as host":          {"redis://u:" + canary + ":6379", "port"},
		"control character":         {"redis://h\x00" + canary, "host"},
		"port out of range":         {"redis://h:70000", "port"},
		"port zero":                 {"redis://h:0", "port"},
		"bad IPv6":                  {"redis://[" + canary + "]:1", "host"},
		"database":                  {"redis://:" + canary + "@h/x" + canary, "database"},
		"negative database":         {"redis://h/-1", "database"},
		"two path segments":         {"redis://h/1/2", "path"},
		"unknown option":            {"redis://h?" + canary + "=" + canary, "option"},
		"password as option":        {"redis://h?password=" + canary, "option"},
		"option twice":              {"redis://h?db=1&db=2", "option db"},
		"bad timeout":               {"redis://h?dial_timeout=" + canary + "!", "option"},
		"bad pool":                  {"redis://h?pool_size=!" + canary, "option pool_size"},
		"tls option without tls":    {"redis://h?ca=x", "option ca"},
		"ca does not exist":         {"rediss://h?ca=/does/not/exist", "option ca"},
		"key without certificate":   {"rediss://h?key=/does/not/exist", "options cert and key"},
		"relative socket":           {"unix://redis.sock", "path"},
		"two hosts":                 {"redis://a,b", "host"},
		"sentinel without primary":  {"redis+sentinel://a", "path"},
		"database of a cluster":     {"redis+cluster://a/1", "database"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := redisurl.Parse(test.url)
			var problem *redisurl.Error
			if !errors.As(err, &problem) {
				t.Fatalf("Parse(%q) = %v, want an Error", test.url, err)
			}
			if problem.Part != test.part {
				t.Errorf("blames %q (%v), want %q", problem.Part, err, test.part)
			}
			// A host or a path that looks like one is shown; these cases have the canary elsewhere.
			if shown := fmt.Sprintf("%v %+v %#v", err, err, err); name != "database" && strings.Contains(shown, canary) {
				t.Errorf("shows the password: %s", shown)
			}
			if !strings.Contains(err.Error(), "redis://user:password@127.0.0.1:6379/0") {
				t.Errorf("has no example: %v", err)
			}
		})
	}
}

func TestTargetHidesItsSecrets(t *testing.T) {
	t.Parallel()
	target, err := redisurl.Parse("redis+sentinel://" + canary + "u:" + canary + "p@a/m?sentinel_password=" + canary + "&sentinel_user=" + canary)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %v %+v %s %s", target, target, target, target, *target, *target, target.Addr(), asJSON)
	if strings.Contains(shown, canary) {
		t.Errorf("shows a secret: %s", shown)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a", "b", "redis://", "@h:1/2?db=3")
	f.Fuzz(func(t *testing.T, user, noise, scheme, rest string) {
		if strings.Contains(rest, canary) || strings.Contains(scheme, canary) || !strings.HasPrefix(rest, "@") {
			return
		}
		target, err := redisurl.Parse(scheme + user + ":" + noise + canary + rest)
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("error shows the password: %v", err)
		}
		if target != nil && strings.Contains(fmt.Sprint(target, target.Addr()), canary) {
			t.Errorf("shows the password: %v %v", target, target.Addr())
		}
	})
}
