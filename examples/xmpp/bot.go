package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"mellium.im/xmpp/history"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/stream"
)

// What the bot and the workers share.
var (
	answerTask  = stream.Func[question, string]{Name: "answer", Queue: "chat"}
	deliverTask = stream.Func[reply, bool]{Name: "deliver", Queue: "xmpp"}
)

// reply is an answer on its way to the bot.
type reply struct {
	Question question
	Text     string
}

const (
	onceFor  = 24 * time.Hour // for so long a task is not stored a second time
	turnWait = 20 * time.Millisecond
)

// bot reads the archive and sends answers.
type bot struct {
	line   *line
	inbox  *inbox
	client *stream.Client
	log    *zap.Logger

	mu    sync.Mutex
	clean map[string]int // sender -> number of the connection on which all that was sent to it is known to have arrived
}

// listen stores a task for each message of the archive that was not read yet, whenever there may be news, until ctx is done.
func (b *bot) listen(ctx context.Context) error {
	left, err := b.inbox.All(ctx) // their tasks are perhaps not stored
	if err != nil {
		return err
	}
	if err := b.ask(ctx, left); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.line.heard:
		case <-time.After(quiet): // a hint may be lost
		}
		if err := b.read(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("the archive is read again in a moment", zap.Error(err))
			time.AfterFunc(time.Second, b.line.hint)
		}
	}
}

// read takes what is new in the archive.
func (b *bot) read(ctx context.Context) error {
	for {
		cursor, err := b.inbox.Cursor(ctx)
		if err != nil {
			return err
		}
		page, more, err := b.line.Archive(ctx, history.Query{PageID: cursor})
		if err != nil || len(page) == 0 {
			return err
		}
		questions := questionsIn(page, b.line.account.jid.Bare())
		if err := b.inbox.Add(ctx, questions, page[len(page)-1].ID); err != nil {
			return err
		}
		if err := b.ask(ctx, questions); err != nil || !more {
			return err
		}
	}
}

// questionsIn picks the messages of others to the bot.
func questionsIn(page []archived, me jid.JID) (questions []question) {
	for _, a := range page {
		m := a.Forwarded.Chat
		if m.Body != "" && m.Type != stanza.ErrorMessage && m.To.Bare().Equal(me) && !m.From.Bare().Equal(me) {
			questions = append(questions, question{ID: a.ID, From: m.From.Bare().String(), Body: m.Body})
		}
	}
	return questions
}

// ask stores a task for each question, unless it was stored before.
func (b *bot) ask(ctx context.Context, questions []question) error {
	for _, q := range questions {
		_, err := answerTask.Enqueue(ctx, b.client, q, stream.Idempotent(q.ID, onceFor))
		if err != nil && !errors.Is(err, stream.ErrDuplicate) {
			return err
		}
	}
	return nil
}

// deliver sends an answer when it is its turn.
func (b *bot) deliver(ctx context.Context, r reply) (bool, error) {
	switch turn, err := b.inbox.Turn(ctx, r.Question); {
	case err != nil:
		return false, err
	case turn == answered:
		return true, nil
	case turn == later:
		return false, group.Snooze(turnWait)
	}
	to, err := jid.Parse(r.Question.From)
	if err != nil {
		return false, group.Drop(err)
	}
	sent, err := b.wasSent(ctx, to, r.Question.ID)
	if err != nil {
		return false, group.Snooze(time.Second)
	}
	if !sent {
		m := message{Message: stanza.Message{ID: r.Question.ID, To: to, Type: stanza.ChatMessage}, Body: r.Text}
		if err := b.line.Send(ctx, m); err != nil {
			b.log.Warn("perhaps sent", zap.String("answer", m.ID), zap.Error(err))
			b.doubt(r.Question.From)
			return false, group.Snooze(turnWait)
		}
	}
	return true, b.inbox.Done(ctx, r.Question)
}

// wasSent tells whether the archive has an answer with this ID. It is asked on each new connection, and after a send whose end is not known; while all
// sends to somebody on one connection were confirmed, the answer is no.
func (b *bot) wasSent(ctx context.Context, to jid.JID, id string) (bool, error) {
	_, epoch, err := b.line.now()
	if err != nil {
		return false, err
	}
	b.mu.Lock()
	clean := b.clean[to.String()] == epoch
	b.mu.Unlock()
	if clean {
		return false, nil
	}
	for query, more := (history.Query{With: to, PageID: id}), true; more; { // the answer comes after the question
		var page []archived
		if page, more, err = b.line.Archive(ctx, query); err != nil {
			return false, fmt.Errorf("look for the answer %s: %w", id, err)
		}
		for _, a := range page {
			if a.Forwarded.Chat.ID == id && a.Forwarded.Chat.To.Bare().Equal(to) {
				return true, nil
			}
			query.PageID = a.ID
		}
		more = more && len(page) > 0
	}
	b.mu.Lock()
	b.clean[to.String()] = epoch
	b.mu.Unlock()
	return false, nil
}

func (b *bot) doubt(sender string) {
	b.mu.Lock()
	delete(b.clean, sender)
	b.mu.Unlock()
}
