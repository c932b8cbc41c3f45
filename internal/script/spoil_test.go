package script_test

import (
	"slices"
	"strings"
)

// spoilings is how many ways there are to spoil a call.
const spoilings = 6

// hostile are values that nobody should have to pass on.
var hostile = []string{
	"", "0", "1", "2", "-1", "1.5", " 1", "1\n", "0x10", "1e3", "1e308", "1e400", "nan", "-nan", "inf", "-inf",
	"9223372036854775807", "9223372036854775808", "-9223372036854775808", "99999999999999999999999", "2147483648", "100000000",
	"-", "+", "$", ">", "*", "(", "(1-1", "0-0", "1-1", "0-1", "18446744073709551615-18446744073709551615", "1-", "-1-1",
	"abc", "v1", "%s%d%%", "\x00", "\xff\xfe", "\r\n", "{", "}", "{other}", "}:{other", "a b c d e f g", " e1-1+1-1", "1 2 3 4 5",
	"JUSTID", "MAXLEN", "NOMKSTREAM", "released", "OK", strings.Repeat("9", 400), strings.Repeat("x", 70000),
	"v1 " + strings.Repeat("0", 26) + " f re=../{other} uq=x n=99999999999 a=nan\n", strings.Repeat("0", 26) + " f re=x uq=x n=0 a=1e400 d=x\n",
}

// plants make a key of each type, in the place of what there is.
var plants = []func(key, text string) [][]any{
	func(_, _ string) [][]any { return nil },
	func(key, text string) [][]any { return [][]any{{"set", key, text}} },
	func(key, text string) [][]any {
		return [][]any{{"hset", key, text, text, "owner", text, "state", "open"}}
	},
	func(key, text string) [][]any { return [][]any{{"rpush", key, text, "", "1"}} },
	func(key, text string) [][]any { return [][]any{{"sadd", key, text}} },
	func(key, text string) [][]any { return [][]any{{"zadd", key, "1", text, "inf", "x", "-inf", "y"}} },
	func(key, text string) [][]any { return [][]any{{"xadd", key, "*", text, text}} },
	func(key, text string) [][]any {
		return [][]any{{"xadd", key, "1-1", "v1", text, "a", ""}, {"xgroup", "create", key, group, "0"}}
	},
	func(key, text string) [][]any {
		return [][]any{{"xadd", key, "18446744073709551615-18446744073709551615", "v1", text}, {"xgroup", "create", key, group, "$"}}
	},
	func(key, _ string) [][]any { return [][]any{{"pfadd", key, "x"}} },
	func(key, _ string) [][]any { return [][]any{{"setbit", key, "100000", "1"}} },
	func(key, text string) [][]any { return [][]any{{"set", key, text, "px", "60000"}} },
}

// spoiled is the call with what a list of spoilings makes of it, three bytes for each: how, where, and which value.
func (c recorded) spoiled(list []byte, text string) recorded {
	c.keys, c.args = slices.Clone(c.keys), slices.Clone(c.args)
	for len(list) >= 3 {
		c.spoil(list[0]%spoilings, int(list[1]), valueOf(int(list[2]), text), int(list[2]))
		list = list[3:]
	}
	return c
}

// valueOf is one of the hostile values, or the one that was made up.
func valueOf(n int, text string) string {
	if n %= len(hostile) + len(hostile)/2; n < len(hostile) {
		return hostile[n]
	}
	return text
}

func (c *recorded) spoil(how byte, where int, value string, kind int) {
	switch how {
	case 0:
		if len(c.args) > 0 {
			c.args[where%len(c.args)] = value
		}
	case 1:
		if len(c.args) > 0 {
			c.args = slices.Delete(c.args, where%len(c.args), where%len(c.args)+1)
		}
	case 2:
		c.args = slices.Insert(c.args, where%(len(c.args)+1), value)
	case 3:
		key := c.keys[where%len(c.keys)]
		c.plant(key, kind, value)
	case 4: // also those that the call does not name
		names := len(c.state) / 3
		if names > 0 {
			c.plant(c.state[where%names*3].(string), kind, value)
		}
	default:
		c.spoils = append(c.spoils, c.contents(where, value)...)
	}
}

func (c *recorded) plant(key string, kind int, value string) {
	c.spoils = append(append(slices.Clone(c.spoils), []any{"del", key}), plants[kind%len(plants)](key, value)...)
}

// changeField gives one field of a hash another value: which, depends on what there is.
const changeField = `local t, n, value = redis.call('TYPE', KEYS[1])['ok'], tonumber(ARGV[1]), ARGV[2]
if t == 'hash' then
  local fields = redis.call('HKEYS', KEYS[1])
  table.sort(fields)
  redis.call('HSET', KEYS[1], fields[n % #fields + 1], value)
elseif t == 'string' then
  redis.call('SET', KEYS[1], value, 'KEEPTTL')
elseif t == 'stream' then
  redis.call('XADD', KEYS[1], '*', n % 2 == 0 and 'v1' or value, value)
elseif t == 'zset' then
  redis.call('ZADD', KEYS[1], n % 3 == 0 and '-inf' or '1', value)
elseif t == 'list' then
  redis.call('LPUSH', KEYS[1], value)
end`

// contents spoils what is in a key, which keeps its type.
func (c *recorded) contents(where int, value string) [][]any {
	key := c.keys[where%len(c.keys)]
	return [][]any{{"eval", changeField, 1, key, where, value}}
}
