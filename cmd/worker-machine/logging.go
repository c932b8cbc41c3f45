package main

import (
	"context"
	"io"
	"strings"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/plain"
)

var levels = []string{"debug", "info", "warn", "error"}

// logger makes the logger of --log-level and --json.
func (a *app) logger() (*zap.Logger, error) {
	var level zapcore.Level
	if err := level.Set(strings.ToLower(a.logLevel)); err != nil || level > zapcore.ErrorLevel {
		return nil, usagef("--log-level: it is %q, and should be one of %s", plain.Short(a.logLevel, 20), strings.Join(levels, ", "))
	}
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.ISO8601TimeEncoder
	config.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(config)
	if !a.json {
		config.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(config)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(escaping{a.stderr})), level)), nil
}

// escaping keeps what strangers wrote into errors from reaching the terminal as more than text: a message is one line.
type escaping struct{ to io.Writer }

// Write writes one log line.
func (w escaping) Write(line []byte) (int, error) {
	text := strings.ReplaceAll(strings.TrimSuffix(string(line), "\n"), "\t", "  ")
	if _, err := io.WriteString(w.to, plain.Line(text)+"\n"); err != nil {
		return 0, err
	}
	return len(line), nil
}

// quietRedis silences what go-redis prints to the stderr of the process about connections it retries: our log tells.
func quietRedis() { redis.SetLogger(silent{}) }

type silent struct{}

// Printf prints nothing.
func (silent) Printf(context.Context, string, ...any) {}
