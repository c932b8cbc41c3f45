package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"mellium.im/xmpp/jid"

	"github.com/athoune/worker-machine/group"
	"github.com/athoune/worker-machine/stream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "xmpp:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing more to do
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 || args[0] != "bot" && args[0] != "worker" {
		return errors.New("usage: xmpp bot | xmpp worker")
	}
	url := os.Getenv("REDIS_URL")
	if url == "" {
		url = "redis://127.0.0.1:6379"
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return errors.New("REDIS_URL is no URL of a Redis") // the error of the library holds the password
	}
	client := redis.NewClient(options)
	defer client.Close()
	log, err := zap.NewDevelopment(zap.WithCaller(false), zap.AddStacktrace(zap.FatalLevel))
	if err != nil {
		return err
	}
	store, err := stream.NewStore(client, stream.Config{Logger: log.WithOptions(zap.IncreaseLevel(zap.WarnLevel))})
	if err != nil {
		return err
	}
	defer store.Close()
	tasks, err := stream.NewClient(store, stream.ClientConfig{})
	if err != nil {
		return err
	}
	defer func() { _ = tasks.Close(context.WithoutCancel(ctx)) }()
	if args[0] == "worker" {
		return runWorker(ctx, tasks)
	}
	return runBot(ctx, tasks, client, log)
}

// runWorker finds answers. That it stores the same delivery once, however often it runs, is the idempotency key.
func runWorker(ctx context.Context, tasks *stream.Client) error {
	worker, err := group.NewWorker(tasks.Store(), group.Config{Concurrency: 8})
	if err != nil {
		return err
	}
	group.Handle(worker, answerTask, func(ctx context.Context, q question) (string, error) {
		text := answer(q.Body)
		_, err := deliverTask.Enqueue(ctx, tasks, reply{q, text}, stream.Idempotent(q.ID, onceFor))
		if err != nil && !errors.Is(err, stream.ErrDuplicate) {
			return "", err
		}
		return text, nil
	})
	return worker.Run(ctx)
}

// answer is where the work would be.
func answer(text string) string { return strings.ToUpper(text) }

// runBot holds the connection, and is the worker that sends.
func runBot(ctx context.Context, tasks *stream.Client, client redis.UniversalClient, log *zap.Logger) error {
	me, err := jid.Parse(os.Getenv("XMPP_JID"))
	if err != nil || me.Localpart() == "" {
		return errors.New("XMPP_JID: give the bot's address, as in bot@example.org")
	}
	line := newLine(account{jid: me, password: os.Getenv("XMPP_PASSWORD"), addr: os.Getenv("XMPP_ADDR"), ca: os.Getenv("XMPP_CA")}, log)
	b := &bot{line: line, inbox: newInbox(client, me.Bare().String()), client: tasks, log: log, clean: map[string]int{}}
	worker, err := group.NewWorker(tasks.Store(), group.Config{Concurrency: 32})
	if err != nil {
		return err
	}
	group.Handle(worker, deliverTask, b.deliver)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go line.Run(ctx)
	go func() { cancel(b.listen(ctx)) }()
	if err := worker.Run(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
