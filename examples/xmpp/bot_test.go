package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"mellium.im/xmpp/history"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/athoune/worker-machine/internal/redistest"
)

const (
	people   = 4
	messages = 50 // of each
)

var botAddress = jid.MustParse("bot@" + domain)

// stage runs the program's processes.
type stage struct {
	t       *testing.T
	program string
	env     []string
}

func newStage(t *testing.T, p *prosody) *stage {
	t.Helper()
	s := &stage{t: t, program: filepath.Join(t.TempDir(), "xmpp")}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, ".").CombinedOutput(); err != nil { //nolint:gosec // this program
		t.Fatalf("%v\n%s", err, out)
	}
	s.env = append(os.Environ(), "REDIS_URL="+redistest.Start(t).URL(), "XMPP_JID="+botAddress.String(), "XMPP_PASSWORD=secret-bot",
		"XMPP_ADDR="+p.addr, "XMPP_CA="+p.path("cert.pem"))
	return s
}

// run starts the program.
func (s *stage) run(what string) *exec.Cmd {
	s.t.Helper()
	command := exec.CommandContext(context.WithoutCancel(s.t.Context()), s.program, what) //nolint:gosec // this program
	command.Env, command.Stderr = s.env, os.Stderr
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.kill(command) })
	return command
}

func (s *stage) kill(command *exec.Cmd) {
	_ = command.Process.Kill()
	_ = command.Wait()
}

// person is somebody who talks to the bot.
type person struct {
	line *line
	name string
}

func (s *stage) person(ctx context.Context, p *prosody, i int) *person {
	name := fmt.Sprintf("person%d", i)
	me := jid.MustParse(name + "@" + domain)
	one := &person{name: name, line: newLine(account{jid: me, password: "secret-" + name, addr: p.addr, ca: p.path("cert.pem")}, zap.NewNop())}
	go one.line.Run(ctx)
	return one
}

// archive is all that the server keeps of the talk with the bot, in its order.
func (o *person) archive(ctx context.Context) (all []archived, err error) {
	query := history.Query{With: botAddress}
	for more := true; more; {
		var page []archived
		if page, more, err = o.line.Archive(ctx, query); err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) == 0 {
			break
		}
		query.PageID = page[len(page)-1].ID
	}
	return all, nil
}

// say sends a message once, whatever happens to the connection: where that is not known, the archive tells.
func (o *person) say(t *testing.T, n int) {
	t.Helper()
	id := fmt.Sprintf("%s-%d", o.name, n)
	unsure := false
	redistest.Eventually(t, time.Minute, func() bool {
		if unsure {
			all, err := o.archive(t.Context())
			if err != nil {
				return false
			}
			for _, a := range all {
				if a.Forwarded.Chat.ID == id {
					return true
				}
			}
		}
		m := message{Message: stanza.Message{ID: id, To: botAddress, Type: stanza.ChatMessage}, Body: fmt.Sprintf("message %d of %s", n, o.name)}
		unsure = true
		return o.line.Send(t.Context(), m) == nil
	}, "message %s is sent", id)
}

// answers is what the bot said, in the order of the archive.
func (o *person) answers(t *testing.T) []string {
	t.Helper()
	all, err := o.archive(t.Context())
	if err != nil {
		return nil // the connection is being made again
	}
	var texts []string
	for _, a := range all {
		if a.Forwarded.Chat.From.Bare().Equal(botAddress) {
			texts = append(texts, a.Forwarded.Chat.Body)
		}
	}
	return texts
}

// TestEachMessageIsAnsweredOnce sends 200 messages while workers are killed twice, the bot once, and the server restarts: 200 answers,
// in the order of each sender.
func TestEachMessageIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	users := []string{"bot"}
	for i := range people {
		users = append(users, fmt.Sprintf("person%d", i))
	}
	server := startProsody(t, users...)
	s := newStage(t, server)
	bot := s.run("bot")
	worker := s.run("worker")
	var talking sync.WaitGroup
	everybody := make([]*person, people)
	said := make(chan int, people*messages)
	for i := range everybody {
		everybody[i] = s.person(t.Context(), server, i)
		talking.Go(func() {
			for n := range messages {
				everybody[i].say(t, n)
				said <- n
			}
		})
	}
	await := func(n int) {
		for range n {
			<-said
		}
	}
	await(40)
	s.kill(worker)
	worker = s.run("worker")
	await(40)
	server.stop()
	server.start()
	await(40)
	s.kill(bot)
	s.run("bot")
	await(40)
	s.kill(worker)
	s.run("worker")
	talking.Wait()
	for _, one := range everybody {
		redistest.Eventually(t, 2*time.Minute, func() bool { return len(one.answers(t)) >= messages }, "%s has all answers", one.name)
		texts := one.answers(t)
		for n, text := range texts {
			if want := answer(fmt.Sprintf("message %d of %s", n, one.name)); text != want {
				t.Fatalf("answer %d of %s is %q, want %q", n, one.name, text, want)
			}
		}
		if len(texts) != messages {
			t.Errorf("%s got %d answers, want %d", one.name, len(texts), messages)
		}
	}
}
