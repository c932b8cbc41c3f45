package guard

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/athoune/worker-machine/internal/wire"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web/internal/problem"
)

// ContentPolicy is the Content-Security-Policy of every answer: nothing inline, nothing from elsewhere, no frame.
const ContentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

const (
	defaultSession = 12 * time.Hour
	leastSession   = time.Minute
	realm          = `Bearer realm="worker-machine"`
)

// CA is an authority whose client certificates let their holders in, with a role.
type CA struct {
	Role         Role
	Certificates []*x509.Certificate
}

// Config tunes a [Guard]. With the zero value everybody on this machine may do everything, and nobody else anything.
type Config struct {
	Base    string        // path it is mounted at, without a slash at the end
	Keys    []Key         // of callers
	CAs     []CA          // of client certificates
	Hosts   []string      // names it is called by, besides localhost and its addresses
	Secure  bool          // a proxy in front of it speaks TLS
	Session time.Duration // how long a login lasts; default 12h
	Logger  *zap.Logger   // nil is silent
}

// Guard stands before all handlers. It is safe for concurrent use.
type Guard struct {
	cfg      Config
	hosts    map[string]bool
	cas      map[[32]byte]Role
	origin   *http.CrossOriginProtection
	failures *failures
	now      func() time.Time
}

// New returns a Guard. All that is wrong with cfg is reported at once.
func New(cfg Config) (*Guard, error) {
	if cfg.Session == 0 {
		cfg.Session = defaultSession
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	g := &Guard{cfg: cfg, origin: http.NewCrossOriginProtection(), failures: newFailures(), now: time.Now}
	var bad []error
	if cfg.Session < leastSession {
		bad = append(bad, fmt.Errorf("guard: Session: %v, use %v or more", cfg.Session, leastSession))
	}
	for i, key := range cfg.Keys {
		if key.role == Nobody {
			bad = append(bad, fmt.Errorf("guard: Keys[%d]: it is empty: make keys with ReadKeys or NewKey", i))
		}
	}
	var err error
	if g.hosts, err = hostNames(cfg.Hosts); err != nil {
		bad = append(bad, err)
	}
	if g.cas, err = authorities(cfg.CAs); err != nil {
		bad = append(bad, err)
	}
	return g, errors.Join(bad...)
}

// Open tells whether nobody has to show a key, which is why only callers on this machine are let in.
func (g *Guard) Open() bool { return len(g.cfg.Keys) == 0 && len(g.cas) == 0 }

// Handler lets next see only requests that are meant for it: under a name of ours, from no other site, with the caller's role in
// their contexts, which is [Nobody] for those that have shown nothing. open requests are those of probes: any Host may be in them.
func (g *Guard) Handler(open func(*http.Request) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header(), requestID(r))
		defer g.recover(w, r)
		if open(r) {
			next.ServeHTTP(w, r)
			return
		}
		if !g.knowsHost(r) {
			problem.Write(w, problem.New(http.StatusMisdirectedRequest, "unknown-host", "This server does not go by that name",
				"Name it with --host or in Config.Hosts if it should."))
			return
		}
		if g.origin.Check(r) != nil {
			problem.Write(w, problem.New(http.StatusForbidden, "cross-origin", "Another site made this request",
				"Pages of other sites may not change anything here."))
			return
		}
		role, p := g.identify(r)
		if p != nil {
			refuse(w, p)
			return
		}
		next.ServeHTTP(w, r.WithContext(With(r.Context(), role)))
	})
}

// Require lets next see requests of callers with a role, or a higher one.
func Require(role Role, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := Check(r.Context(), role); p != nil {
			refuse(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Check is nil when the caller has a role, or a higher one, and otherwise the problem to answer.
func Check(ctx context.Context, role Role) *problem.Problem {
	has := Of(ctx)
	switch {
	case has >= role:
		return nil
	case has == Nobody:
		return problem.New(http.StatusUnauthorized, "unauthorized", "This needs a key", "Send it as Authorization: Bearer TOKEN.")
	}
	return problem.New(http.StatusForbidden, "forbidden", "The role of this key does not suffice",
		fmt.Sprintf("It is %s, and this needs %s.", has, role))
}

func refuse(w http.ResponseWriter, p *problem.Problem) {
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", realm)
	}
	problem.Write(w, p)
}

// identify finds the role of a caller. What is shown must be right: a wrong token beside a good certificate is refused.
func (g *Guard) identify(r *http.Request) (Role, *problem.Problem) {
	if g.Open() {
		return g.neighbour(r)
	}
	if text := r.Header.Get("Authorization"); text != "" {
		if key, ok := find(g.cfg.Keys, tokenOf(r, text)); ok {
			return key.role, nil
		}
		return Nobody, g.wrong(r)
	}
	role := g.certified(r)
	if cookie, err := r.Cookie(cookieName); err == nil {
		if key, ok := openSession(g.cfg.Keys, cookie.Value, g.now()); ok {
			role = max(role, key.role)
		}
	}
	return role, nil
}

// wrong answers a token that is of no key.
func (g *Guard) wrong(r *http.Request) *problem.Problem {
	g.cfg.Logger.Info("a wrong token", zap.String("remote", r.RemoteAddr))
	if !g.failures.Delay(r.Context(), r.RemoteAddr) {
		return problem.New(http.StatusTooManyRequests, "too-many-failures", "Too many wrong keys", "Try again later, with a right one.").Retry(longestDelay)
	}
	return problem.New(http.StatusUnauthorized, "wrong-key", "No such key", "The token is not one of this server's.")
}

// tokenOf is the token of a bearer, or the password of basic auth: its user name may be anything.
func tokenOf(r *http.Request, text string) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(text, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// certified is the role of a client certificate that the TLS stack has verified, by the authority at the end of its chain.
func (g *Guard) certified(r *http.Request) Role {
	if r.TLS == nil {
		return Nobody
	}
	role := Nobody
	for _, chain := range r.TLS.VerifiedChains {
		for _, certificate := range chain[1:] {
			role = max(role, g.cas[fingerprint(certificate)])
		}
	}
	return role
}

// neighbour lets callers on this machine in as Admin: no key is configured. One that a proxy speaks for may be anywhere.
func (g *Guard) neighbour(r *http.Request) (Role, *problem.Problem) {
	forwarded := false
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		forwarded = forwarded || r.Header.Get(name) != ""
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if isLocal(r.RemoteAddr, local) && !forwarded {
		return Admin, nil
	}
	return Nobody, problem.New(http.StatusForbidden, "no-keys", "This server has no keys",
		"Without keys or client certificates only programs on its own machine may use it, and none by a proxy.")
}

func isLocal(remote string, local net.Addr) bool {
	if local != nil && local.Network() == "unix" {
		return true
	}
	return IsLoopback(remote) && (local == nil || IsLoopback(local.String()))
}

// recover answers a request whose handler panicked, and writes why to the log.
func (g *Guard) recover(w http.ResponseWriter, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(cause)
	}
	g.cfg.Logger.Error("panic", zap.String("request", w.Header().Get(problem.RequestID)), zap.String("path", r.URL.Path),
		zap.Any("panic", cause), zap.ByteString("stack", debug.Stack()))
	problem.Write(w, problem.New(http.StatusInternalServerError, "internal", "The server made a mistake", "Its log says more, under the ID of this request."))
}

// requestID is what the client calls its request, if that is fit for a log, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get(problem.RequestID)
	if wire.CheckName("request", id) == nil {
		return id
	}
	return stream.NewID()
}

func setHeaders(h http.Header, id string) {
	h.Set(problem.RequestID, id)
	h.Set("Content-Security-Policy", ContentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
