package simulation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// redisServer does one request after the other, as Redis does. Commands are those of miniredis, but for reads that block, and CLIENT.
type redisServer struct {
	mini   *miniredis.Miniredis
	server *server.Server
	engine *engine
	aside  *server.Peer // of commands that nobody sent

	mu     sync.Mutex // held while a request is served, never while time passes
	links  map[int64]*link
	parked []*parked
	served int // commands, for the figures
}

// parked is a read that waits for entries.
type parked struct {
	link    *link
	request *request
	command []string // without BLOCK
	keys    []string
	timer   *time.Timer
}

// loading is an error that passes by itself.
const loading = "-LOADING Redis is loading the dataset in memory\r\n"

const nothing = "*-1\r\n" // what a read answers that has found none

func newRedisServer() (*redisServer, error) {
	mini := miniredis.NewMiniRedis()
	mini.ClockTTL(true)
	conn, err := mini.Dial() // which is what starts it
	if err != nil {
		return nil, fmt.Errorf("simulation: start miniredis: %w", err)
	}
	_ = conn.Close() // nothing was said
	return &redisServer{mini: mini, server: mini.Server(), engine: newEngine(mini.Server()), aside: server.NewPeer(nowhere()), links: make(map[int64]*link)}, nil
}

// close ends what is left of connections.
func (s *redisServer) close() {
	s.mu.Lock()
	links := make([]*link, 0, len(s.links))
	for _, l := range s.links {
		links = append(links, l)
	}
	s.mu.Unlock()
	for _, l := range links {
		l.snap()
	}
	s.mini.Close()
}

func (s *redisServer) connect(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links[l.id] = l
}

// serve runs the commands of a request; false when one of them waits. Then whoever ends the wait goes on with the link.
func (s *redisServer) serve(l *link, r *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r.done < r.reach {
		command := r.commands[r.done]
		if r.fate == refused {
			s.say(l, loading)
		} else if !s.run(l, r, command) {
			return false
		}
		r.done++
	}
	s.finish(l, r)
	return true
}

// run runs one command; false when it waits.
func (s *redisServer) run(l *link, r *request, command []string) bool {
	s.served++
	if s.ofClient(l, command) {
		return true
	}
	plain, block := withoutBlock(command)
	if block < 0 {
		s.dispatch(l, command)
		if command[0] == "xreadgroup" {
			s.see(command)
		}
		s.stir(command)
		return true
	}
	if s.find(l, plain) || l.isGone() {
		return true
	}
	p := &parked{link: l, request: r, command: plain, keys: plain[slices.Index(plain, "streams")+1:]}
	s.parked = append(s.parked, p)
	p.timer = time.AfterFunc(block, func() { s.expire(p) })
	return false
}

// see notes that a consumer has asked for entries: how long it is idle counts from then, and miniredis forgets it.
func (s *redisServer) see(read []string) {
	for _, key := range read[slices.Index(read, "streams")+1:] {
		s.server.Dispatch(s.aside, []string{"xclaim", key, read[2], read[3], "0", "0-1"}) // of no entry; fails on what is no key
	}
}

// dispatch lets miniredis answer.
func (s *redisServer) dispatch(l *link, command []string) {
	if answer, ok := s.engine.do(command); ok {
		s.say(l, answer)
		return
	}
	l.mu.Lock()
	l.serving = true
	l.mu.Unlock()
	s.server.Dispatch(l.peer, command)
	l.peer.Flush()
	l.mu.Lock()
	l.serving = false
	if name := command[0]; name == "subscribe" || name == "psubscribe" {
		l.subscribed = true
	}
	late := l.gone && l.subscribed
	l.mu.Unlock()
	if late {
		s.unsubscribe(l)
	}
}

// say answers by ourselves.
func (s *redisServer) say(l *link, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = append(l.out, text...)
}

// find runs a read; false when it has found nothing.
func (s *redisServer) find(l *link, read []string) bool {
	l.mu.Lock()
	before := len(l.out)
	l.mu.Unlock()
	s.dispatch(l, read)
	if read[0] == "xreadgroup" {
		s.see(read)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if string(l.out[before:]) != nothing {
		return true
	}
	l.out = l.out[:before]
	return false
}

// finish sends the answer to a request.
func (s *redisServer) finish(l *link, r *request) {
	l.mu.Lock()
	said := l.out
	l.out = nil
	cut := l.reply(r, said)
	l.mu.Unlock()
	if cut {
		time.AfterFunc(0, l.snap) // which comes here again
	}
}

// ofClient answers what miniredis does not know.
func (s *redisServer) ofClient(l *link, command []string) bool {
	if command[0] != "client" || len(command) < 2 {
		return false
	}
	switch strings.ToLower(command[1]) {
	case "id":
		s.say(l, ":"+strconv.FormatInt(l.id, 10)+"\r\n")
	case "unblock":
		ended := 0
		for _, p := range s.parked {
			if strconv.FormatInt(p.link.id, 10) == command[2] {
				s.resume(p, nothing)
				ended = 1
				break
			}
		}
		s.say(l, ":"+strconv.Itoa(ended)+"\r\n")
	default:
		return false
	}
	return true
}

// stir looks again for the reads that a command may have brought something.
func (s *redisServer) stir(command []string) {
	if len(s.parked) == 0 {
		return
	}
	all := command[0] == "exec" || command[0] == "flushall"
	for _, p := range slices.Clone(s.parked) {
		if !all && !slices.ContainsFunc(p.keys, func(key string) bool { return slices.Contains(command, key) }) {
			continue
		}
		if slices.Contains(s.parked, p) && s.find(p.link, p.command) {
			s.resume(p, "")
		}
	}
}

// expire ends a wait whose time is over.
func (s *redisServer) expire(p *parked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.parked, p) {
		s.resume(p, nothing)
	}
}

// resume ends a wait. The rest of the request, if there is any, and those after it go on by themselves.
func (s *redisServer) resume(p *parked, text string) {
	s.unpark(p)
	s.say(p.link, text)
	p.request.done++
	time.AfterFunc(0, func() {
		if s.serve(p.link, p.request) {
			p.link.served()
		}
	})
}

func (s *redisServer) unpark(p *parked) {
	p.timer.Stop()
	s.parked = slices.DeleteFunc(s.parked, func(other *parked) bool { return other == p })
}

// hangUp is when Redis hears that a connection is over.
func (s *redisServer) hangUp(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.mu.Lock()
	over, subscribed := l.gone, l.subscribed
	l.gone, l.deaf, l.mute = true, true, true
	l.mu.Unlock()
	if over {
		return
	}
	delete(s.links, l.id)
	for _, p := range slices.Clone(s.parked) {
		if p.link == l {
			s.unpark(p)
		}
	}
	if subscribed {
		s.unsubscribe(l)
	}
}

func (s *redisServer) unsubscribe(l *link) {
	s.server.Dispatch(l.peer, []string{"unsubscribe"})
}

// byHand runs a command that no process sent, as an operator does.
func (s *redisServer) byHand(command ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.engine.do(command); !ok {
		s.server.Dispatch(s.aside, command)
	}
	s.stir(command)
}

// flush takes all keys, in one step. FLUSHALL of miniredis does not tell those who watch a key.
func (s *redisServer) flush() {
	keys := s.mini.DB(0).Keys()
	if len(keys) > 0 {
		s.byHand(append([]string{"del"}, keys...)...)
	}
}

// withoutBlock takes BLOCK out of a read; the time is below 0 where there is none.
func withoutBlock(command []string) ([]string, time.Duration) {
	if name := command[0]; name != "xread" && name != "xreadgroup" {
		return command, -1
	}
	i := slices.Index(command, "block")
	if i < 0 || i > slices.Index(command, "streams") {
		return command, -1
	}
	ms, err := strconv.Atoi(command[i+1])
	if err != nil {
		return command, -1
	}
	return slices.Concat(command[:i], command[i+2:]), time.Duration(ms) * time.Millisecond
}

// parseAll takes whole commands off a text of the protocol. Names of commands, and what follows CLIENT, come in lower case.
func parseAll(text []byte) (commands [][]string, rest []byte) {
	for {
		command, n := parseOne(text)
		if n == 0 {
			return commands, text
		}
		command[0] = strings.ToLower(command[0])
		commands, text = append(commands, command), text[n:]
	}
}

// parseOne returns how many bytes the first command has; 0 where it is not whole.
func parseOne(text []byte) ([]string, int) {
	count, at := number(text, 0)
	if at == 0 {
		return nil, 0
	}
	command := make([]string, count)
	for i := range command {
		size, next := number(text, at)
		if next == 0 || next+size+2 > len(text) {
			return nil, 0
		}
		command[i], at = string(text[next:next+size]), next+size+2
	}
	return command, at
}

// number reads a line such as *3 or $12, and returns where the next one begins; 0 where it is not whole.
func number(text []byte, at int) (n, next int) {
	for i := at + 1; i+1 < len(text); i++ {
		if text[i] == '\r' {
			return n, i + 2
		}
		n = n*10 + int(text[i]-'0')
	}
	return 0, 0
}
