package mutant

import "strings"

// change is what a mutant does to a script: one line of it is another one.
type change struct {
	off          bool
	script       string
	line, mutant string
}

// changes are those of all mutants whose mechanism lives in a script.
var changes = []change{
	{
		Sequence, "enqueue",
		"local lane = call('GET', KEYS[2]) or '0'",
		"local lane = ARGV[1]",
	},
	{
		Gate, "commit",
		"    won[i] = a + redis.call('XDEL', KEYS[1], ARGV[5 + i]) > 0",
		"    won[i] = a + redis.call('XDEL', KEYS[1], ARGV[5 + i]) >= 0",
	},
	{
		Gate, "scatter",
		"  if #pending == 0 and #redis.call('XRANGE', KEYS[1], entry, entry) == 0 then return 0 end",
		"  if false then return 0 end",
	},
	{
		Gate, "retry",
		"if redis.call('XACK', KEYS[1], ARGV[1], ARGV[3]) + redis.call('XDEL', KEYS[1], ARGV[3]) == 0 then return 0 end",
		"if redis.call('XACK', KEYS[1], ARGV[1], ARGV[3]) + redis.call('XDEL', KEYS[1], ARGV[3]) < 0 then return 0 end",
	},
	{
		Gate, "bury",
		"if #pending == 0 and #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3]) == 0 then return 0 end",
		"if false then return 0 end",
	},
	{
		Audit, "ghosts",
		"  if #redis.call('XPENDING', KEYS[1], group, entry[1], entry[1], 1) == 0 then",
		"  if false then",
	},
}

// Script returns the text of a script as this build has it: as it is, or with the lines of its mutant. A line that is not there is a
// mistake of whoever changed the script, and panics.
func Script(name, text string) string {
	for _, c := range changes {
		if c.off && c.script == name {
			text = c.in(text)
		}
	}
	return text
}

// in changes the line in the text of its script, where it stands once.
func (c change) in(text string) string {
	if strings.Count(text, "\n"+c.line+"\n") != 1 {
		panic("mutant: " + c.script + ".lua does not have this line once: " + c.line)
	}
	return strings.Replace(text, "\n"+c.line+"\n", "\n"+c.mutant+"\n", 1)
}
