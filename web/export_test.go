package web

import "time"

// Routes are the API's, for the test that compares them with their description.
func (h *Handler) Routes() (routes []string) {
	for _, r := range h.routes() {
		routes = append(routes, r.method+" "+apiBase+r.path+" "+r.role.String())
	}
	return routes
}

// Beat sets how often a stream shows that it lives.
func (h *Handler) Beat(d time.Duration) { h.heartbeat = d }

// Slow sets how long a client of a stream may take for a write.
func (h *Handler) Slow(d time.Duration) { h.slow = d }

// NewServer is the server of Serve.
var NewServer = newServer
