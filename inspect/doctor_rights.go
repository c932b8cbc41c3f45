package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/athoune/worker-machine/internal/conn"
	"github.com/athoune/worker-machine/internal/wire"
)

// right is a command that clients, workers or people call, with arguments that would do no harm.
type right struct {
	command string
	without string // what is lost where it is refused; "" where nothing works
}

// rights are the commands of PROTOCOL.md. K stands for a key, Q for the set of queues, C for a channel.
var rights = []right{
	{command: "info"},
	{command: "time"},
	{command: "multi"},
	{command: "exec"},
	{command: "eval return 0"},
	{command: "evalsha 0 0"},
	{command: "xadd K nomkstream * v 1"},
	{command: "xreadgroup group g c count 1 streams K >"},
	{command: "xread count 1 streams K 0"},
	{command: "xack K g 0-1"},
	{command: "xdel K 0-1"},
	{command: "xclaim K g c 0 0-1"},
	{command: "xpending K g"},
	{command: "xrange K - +"},
	{command: "xrevrange K + -"},
	{command: "xlen K"},
	{command: "xtrim K minid 0"},
	{command: "xinfo consumers K g"},
	{command: "xinfo groups K"},
	{command: "xgroup create K g 0"},
	{command: "xgroup delconsumer K g c"},
	{command: "get K"},
	{command: "mget K"},
	{command: "set K v"},
	{command: "del K"},
	{command: "exists K"},
	{command: "pexpire K 1"},
	{command: "pttl K"},
	{command: "sadd Q v"},
	{command: "smembers Q"},
	{command: "hset K f v"},
	{command: "hsetnx K f v"},
	{command: "hget K f"},
	{command: "hmget K f"},
	{command: "hgetall K"},
	{command: "hdel K f"},
	{command: "hlen K"},
	{command: "hexists K f"},
	{command: "hincrby K f 1"},
	{command: "hscan K 0"},
	{command: "rpush K v"},
	{command: "lpush K v"},
	{command: "lrange K 0 0"},
	{command: "ltrim K 0 0"},
	{command: "llen K"},
	{command: "unlink K"},
	{command: "zadd K 1 v"},
	{command: "zrem K v"},
	{command: "zrange K 0 0"},
	{command: "zrangebyscore K 0 0"},
	{command: "zremrangebyscore K 0 0"},
	{command: "zscore K v"},
	{command: "zmscore K v"},
	{command: "zcard K"},
	{command: "zcount K 0 0"},
	{command: "wait 0 1", without: "stream.Replicas fails"},
	{command: "watch K", without: "each enqueue takes a script"},
	{command: "unwatch", without: "each enqueue takes a script"},
	{command: "client id", without: "an idle worker asks ten times a second"},
	{command: "client unblock 0", without: "an idle worker asks ten times a second"},
	{command: "publish C v", without: "hints do not come, so things happen seconds later"},
	{command: "subscribe C", without: "a killed worker is noticed when its lease runs out"},
	{command: "pubsub numsub C", without: "a killed worker is noticed when its lease runs out"},
}

// name is how an ACL names the command.
func (r right) name() string {
	words := strings.Fields(r.command)
	switch words[0] {
	case "xinfo", "xgroup", "client", "pubsub":
		return words[0] + "|" + words[1]
	default:
		return words[0]
	}
}

// examineRights asks Redis for every command inside of a transaction that is never executed: it is refused where the rights are missing, and
// otherwise only queued. So nothing is done, this user needs no right to ask, and the keys and channels are asked about too.
func (i *Inspector) examineRights(ctx context.Context, node *redis.Client, cluster bool) (Check, error) {
	c := Check{Name: "redis.rights"}
	client, err := conn.Derive(node, conn.Options{PoolSize: 1, MaxRetries: -1})
	if err != nil {
		return c, err
	}
	defer client.Close() // its connection is closed, which discards the transaction
	asked, ok := client.(*redis.Client)
	if !ok {
		return c, fmt.Errorf("a client of type %T", client)
	}
	line := asked.Conn()
	defer line.Close()
	if err := line.Do(ctx, "multi").Err(); err != nil {
		if !answered(err) {
			return c, err
		}
		c.Grade, c.Found, c.Remedy = Refused, "MULTI is refused: "+err.Error(), "redis-cli ACL SETUSER "+userOf(node)+" +multi, and the rights of PROTOCOL.md"
		return c, nil
	}
	refused, refusals, err := i.askRights(ctx, line, cluster)
	if err != nil {
		return c, err
	}
	c.Grade, c.Found, c.Remedy = gradeRights(userOf(node), refused, refusals)
	return c, nil
}

// arguments is the command for some keys.
func (r right) arguments(keys wire.Keys, queues string) []any {
	words := strings.Fields(r.command)
	args := make([]any, len(words))
	for n, word := range words {
		switch word {
		case "K":
			args[n] = keys.Tasks()
		case "Q":
			args[n] = queues
		case "C":
			args[n] = keys.Control()
		default:
			args[n] = word
		}
	}
	if words[0] == "eval" {
		return []any{"eval", "return 0", 0}
	}
	return args
}

// askRights returns what is refused, and what Redis said.
func (i *Inspector) askRights(ctx context.Context, line *redis.Conn, cluster bool) (refused []right, said map[string]string, err error) {
	// EXEC would execute all this, MULTI was asked, and on a cluster the set of queues lies on another node.
	asked := slices.DeleteFunc(slices.Clone(rights), func(r right) bool {
		return r.command == "exec" || r.command == "multi" || cluster && strings.Contains(r.command, " Q")
	})
	pipe := line.Pipeline()
	answers := make([]*redis.Cmd, len(asked))
	for n, r := range asked {
		answers[n] = pipe.Do(ctx, r.arguments(i.store.Keys("doctor"), wire.Queues(i.store.Prefix()))...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	said = map[string]string{}
	for n, answer := range answers {
		err := answer.Err()
		switch {
		case err == nil, errors.Is(err, redis.Nil):
		case !answered(err):
			return nil, nil, err
		case redis.HasErrorPrefix(err, "NOPERM"):
			refused = append(refused, asked[n])
			said[asked[n].name()] = err.Error()
		}
	}
	return refused, said, nil
}

func gradeRights(user string, refused []right, said map[string]string) (Grade, string, string) {
	if len(refused) == 0 {
		return Passed, "user " + user + " may do all that clients and workers do", ""
	}
	grade := Warning
	var names, losses, allow []string
	text := ""
	for _, r := range refused {
		names = append(names, r.name())
		allow = append(allow, "+"+r.name())
		text = said[r.name()]
		switch {
		case r.without == "":
			grade = Refused
		case !slices.Contains(losses, r.without):
			losses = append(losses, r.without)
		}
	}
	found := fmt.Sprintf("user %s may not: %s", user, strings.Join(names, ", "))
	if grade == Warning {
		found += "; so " + strings.Join(losses, ", ")
	}
	remedy := "redis-cli ACL SETUSER " + user + " " + strings.Join(allow, " ")
	if strings.Contains(text, " key") || strings.Contains(text, " channel") {
		remedy += ", and its keys and channels as PROTOCOL.md has them (Rights)"
	}
	return grade, found, remedy
}
