package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/web/internal/guard"
)

const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second // streams and requests that wait move theirs
	idleTimeout   = 60 * time.Second
	headerBytes   = 32 << 10
	drainFor      = 20 * time.Second
	http2Streams  = 100 // of one connection
)

// Serve answers requests on a listener until ctx is done; then it ends streams and waiting requests, waits up to 20 seconds for the
// others and closes the listener and h. secure is nil for HTTP without TLS. It refuses a listener that other machines reach when
// h has neither keys nor client authorities.
func Serve(ctx context.Context, l net.Listener, h *Handler, secure *tls.Config) error {
	if h.Open() && l.Addr().Network() != "unix" && !guard.IsLoopback(l.Addr().String()) {
		return errors.Join(fmt.Errorf("web: serve on %s: other machines reach this address, so Config needs Keys or ClientCAs", l.Addr()), l.Close())
	}
	server := newServer(h)
	ended := make(chan error, 1)
	limited := guard.Listen(l, h.cfg.Limits.Connections)
	go func() {
		if secure == nil {
			ended <- server.Serve(limited)
			return
		}
		server.TLSConfig = h.TLS(secure)
		ended <- server.ServeTLS(limited, "", "")
	}()
	var err error
	select {
	case err = <-ended:
		err = fmt.Errorf("web: serve: %w", err)
	case <-ctx.Done():
	}
	h.Stop()
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	if late := server.Shutdown(patience); late != nil {
		err = errors.Join(err, fmt.Errorf("web: requests were cut off after %v: %w", drainFor, late), server.Close())
	}
	return errors.Join(err, h.Close(patience))
}

func newServer(h *Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: http2Streams},
		ErrorLog:          zap.NewStdLog(h.log.WithOptions(zap.IncreaseLevel(zap.ErrorLevel))),
	}
}
