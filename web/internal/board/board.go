// Package board is the dashboard: pages for people, rendered on the server.
package board

import (
	"net/http"

	"github.com/athoune/worker-machine/inspect"
)

// Config tunes the dashboard.
type Config struct {
	Base string // path it is mounted at, without a slash at the end; "" for the root
}

// New returns the pages, to be mounted behind the guard that checks callers.
func New(look *inspect.Inspector, cfg Config) (http.Handler, error) {
	return http.NotFoundHandler(), nil
}
