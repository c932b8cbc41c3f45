package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// CheckAddr refuses addresses that others than this machine reach: the state has no lock of its own.
func CheckAddr(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w; write it as 127.0.0.1:9110", err)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q is not a loopback address such as 127.0.0.1; from elsewhere go through ssh -L", host)
	}
	return nil
}

const (
	longestHeaders = 32 << 10
	statusPatience = 5 * time.Second
	mostVisitors   = 16
	largestStatus  = 8 << 20
)

// Serve tells the state at an address of this machine, as text and as JSON, until ctx is done. It returns the address it listens
// at, whose port may have been 0.
func (f *Fleet) Serve(ctx context.Context, addr string) (string, error) {
	if err := CheckAddr(addr); err != nil {
		return "", err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	server := &http.Server{
		Handler: f.handler(), ReadHeaderTimeout: statusPatience, ReadTimeout: statusPatience, WriteTimeout: statusPatience,
		IdleTimeout: statusPatience, MaxHeaderBytes: longestHeaders,
	}
	go func() { _ = server.Serve(listener) }() // until it is closed
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return listener.Addr().String(), nil
}

// handler answers GET / (text) and GET /status (JSON).
func (f *Fleet) handler() http.Handler {
	visitors := make(chan struct{}, mostVisitors)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", f.answer("text/plain; charset=utf-8", func(w io.Writer, s Status) error { return s.Text(w) }))
	mux.HandleFunc("GET /status", f.answer("application/json", func(w io.Writer, s Status) error { return json.NewEncoder(w).Encode(s) }))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if !localHost(r.Host) { // a page whose name was bound to 127.0.0.1 after it was loaded
			http.Error(w, "this host name is not served here", http.StatusMisdirectedRequest)
			return
		}
		select {
		case visitors <- struct{}{}:
			defer func() { <-visitors }()
			mux.ServeHTTP(w, r)
		default:
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
		}
	})
}

func (f *Fleet) answer(kind string, write func(io.Writer, Status) error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		status, ok := f.Status()
		if !ok {
			http.Error(w, "the fleet has ended", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", kind)
		_ = write(w, status) // who asked has gone
	}
}

func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// Ask asks the supervisor that tells its state at an address of this machine.
func Ask(ctx context.Context, addr string) (s Status, err error) {
	if err := CheckAddr(addr); err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/status", nil)
	if err != nil {
		return s, err
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects") },
	}
	response, err := client.Do(request)
	if err != nil {
		return s, fmt.Errorf("fleet: ask %s: %w", addr, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return s, fmt.Errorf("fleet: ask %s: it answers %s", addr, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, largestStatus)).Decode(&s); err != nil {
		return s, fmt.Errorf("fleet: ask %s: it is no supervisor: %w", addr, err)
	}
	return s, nil
}
