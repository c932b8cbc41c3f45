package web_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web"
)

// Each test here, or its namesake in internal/guard, holds one line of the table in docs/security.md.

func TestServeRefusesOpenServersThatOthersReach(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	err = web.Serve(t.Context(), listener, s.handler, nil)
	if err == nil || !strings.Contains(err.Error(), "needs Keys or ClientCAs") {
		t.Errorf("got %v", err)
	}
	if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener was left open: %v", err)
	}
}

// TestRoles asks for everything as everybody. What the role does not let through is refused before anything else is looked at.
func TestRoles(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Keys: threeKeys(t)})
	rank := map[string]int{"": 0, "read": 1, "operate": 2, "admin": 3}
	for _, route := range s.handler.Routes() {
		words := strings.Fields(route)
		method, path, needs := words[0], words[1], words[2]
		path = strings.NewReplacer("{queue}", "q", "{worker}", "w", "{task}", stream.NewID(), "{letter}", "1-1", "{run}", stream.NewID()).Replace(path)
		for role := range rank {
			s.token = tokenFor(role)
			got := s.do(method, path, "", header("Accept", "*/*")).status
			want := "let through"
			switch {
			case role == "":
				want = "401"
			case rank[role] < rank[needs]:
				want = "403"
			}
			refused := got == http.StatusUnauthorized || got == http.StatusForbidden
			if refused != (want != "let through") || refused && fmt.Sprint(got) != want {
				t.Errorf("%s %s as %q: got %d, want %s", method, path, role, got, want)
			}
		}
	}
	s.token = ""
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 404, "/": 401, "/queues/q": 401, "/live/overview": 401, "/api/v1/doctor": 401} {
		if got := s.do("GET", path, ""); got.status != want {
			t.Errorf("a stranger asks for %s: %d, want %d", path, got.status, want)
		}
	}
	if n := s.store.Client().DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("refused requests have made %d keys", n)
	}
}

func TestMetricsNeedARole(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	s := newSite(t, web.Config{Keys: threeKeys(t), Metrics: metrics})
	s.metricsAs(401, "")
	s.metricsAs(200, "read")
}

func (s *site) metricsAs(want int, role string) {
	s.t.Helper()
	s.token = tokenFor(role)
	if got := s.do("GET", "/metrics", ""); got.status != want {
		s.t.Errorf("metrics as %q: %d, want %d", role, got.status, want)
	}
}

// certificates is a little authority.
type certificates struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *certificates {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &certificates{t: t, root: root, key: key}
}

// issue makes a certificate, of a server or a client.
func (c *certificates) issue(usage x509.ExtKeyUsage, end time.Time) tls.Certificate {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.root, &key.PublicKey, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	servers, watchers, staff, strangers := newAuthority(t, "servers"), newAuthority(t, "watchers"), newAuthority(t, "staff"), newAuthority(t, "strangers")
	s := newSite(t, web.Config{Keys: threeKeys(t), ClientCAs: []web.ClientCA{
		{Role: web.Read, Certificates: []*x509.Certificate{watchers.root}}, {Role: web.Admin, Certificates: []*x509.Certificate{staff.root}},
	}})
	url := s.serveTLS(servers)
	roots := x509.NewCertPool()
	roots.AddCert(servers.root)
	soon, ago := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		certificate *tls.Certificate
		list, purge int // statuses; 0: no connection
	}{
		"none":                     {nil, 401, 401},
		"a watcher's":              {ptr(watchers.issue(x509.ExtKeyUsageClientAuth, soon)), 200, 403},
		"one of the staff's":       {ptr(staff.issue(x509.ExtKeyUsageClientAuth, soon)), 200, 400},
		"a stranger's":             {ptr(strangers.issue(x509.ExtKeyUsageClientAuth, soon)), 0, 0},
		"one that has ended":       {ptr(staff.issue(x509.ExtKeyUsageClientAuth, ago)), 0, 0},
		"one of a server":          {ptr(staff.issue(x509.ExtKeyUsageServerAuth, soon)), 0, 0},
		"by the servers authority": {ptr(servers.issue(x509.ExtKeyUsageClientAuth, soon)), 0, 0},
	} {
		cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		if c.certificate != nil {
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.certificate, nil }
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}, Timeout: patience}
		for path, want := range map[string]int{"GET /api/v1/queues": c.list, "DELETE /api/v1/queues/q/tasks": c.purge} {
			method, path, _ := strings.Cut(path, " ")
			r, _ := http.NewRequestWithContext(t.Context(), method, url+path, nil)
			answer, err := client.Do(r)
			switch {
			case err != nil && want != 0:
				t.Errorf("%s: %v", name, err)
			case err == nil && answer.StatusCode != want:
				t.Errorf("%s: %s %s: %d, want %d", name, method, path, answer.StatusCode, want)
			case err == nil && answer.ProtoMajor != 2:
				t.Errorf("%s: it is %s", name, answer.Proto)
			}
			if err == nil {
				answer.Body.Close()
			}
		}
		client.CloseIdleConnections()
	}
	old := &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // it is to be refused
	if c, err := (&tls.Dialer{Config: old}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "https://")); err == nil {
		c.Close()
		t.Error("TLS 1.1 is taken")
	}
}

func ptr[T any](v T) *T { return &v }

// serveTLS serves the site's handler with TLS, too, until the test ends.
func (s *site) serveTLS(servers *certificates) string {
	s.t.Helper()
	listener, err := new(net.ListenConfig).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	leaf := servers.issue(x509.ExtKeyUsageServerAuth, time.Now().Add(time.Hour))
	go func() {
		ended <- web.Serve(ctx, listener, s.handler, &tls.Config{Certificates: []tls.Certificate{leaf}})
	}() //nolint:gosec // Serve sets the version
	s.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
	return "https://" + listener.Addr().String()
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	for _, path := range []string{"/", "/static/board.css", "/healthz", "/readyz", "/api/openapi.json", "/api/v1/queues", "/api/v1/nothing", "/nothing"} {
		got := s.do("GET", path, "")
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
				"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
			"X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if value := got.header.Get(name); value != want {
				t.Errorf("%s: %s is %q", path, name, value)
			}
		}
		if value := got.header.Get("Referrer-Policy"); value != "no-referrer" && (strings.HasPrefix(path, "/api") || value != "same-origin") {
			t.Errorf("%s: Referrer-Policy is %q", path, value)
		}
		if value := got.header.Get("Cache-Control"); value != "no-store" && !strings.HasPrefix(path, "/static/") {
			t.Errorf("%s: Cache-Control is %q", path, value)
		}
		if value := got.header.Get("Access-Control-Allow-Origin"); value != "" {
			t.Errorf("%s: other sites may read it: %q", path, value)
		}
	}
}

func TestHostsAndOriginsOfTheWholeServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Hosts: []string{"queues.example.org"}})
	as := func(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }
	for path := range map[string]bool{"/": true, "/api/v1/queues": true, "/api/openapi.json": true, "/metrics": true, "/nothing": true, "/static/board.css": true} {
		if got := s.do("GET", path, "", as("evil.example")); got.status != http.StatusMisdirectedRequest {
			t.Errorf("%s under another name: %d", path, got.status)
		}
	}
	s.must(200, "GET", "/api/v1/queues", "", as("queues.example.org:8080"))
	s.must(200, "GET", "/healthz", "", as("10.0.0.7:8080"))
	got := s.do("POST", api+"/tasks", `{"function":"f"}`, header("Origin", "http://evil.example"))
	if got.status != http.StatusForbidden || !strings.Contains(string(got.body), "cross-origin") {
		t.Errorf("a page elsewhere enqueues: %d %s", got.status, got.body)
	}
}

// TestGetChangesNothing asks for everything that GET can ask for, and compares all of Redis.
func TestGetChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	task := s.must(201, "POST", api+"/tasks", `{"function":"f","payload":1,"keep":"1h"}`)["task"].(string)
	before := s.dump()
	for _, route := range s.handler.Routes() {
		words := strings.Fields(route)
		path := strings.NewReplacer("{queue}", "q", "{worker}", "w", "{task}", task, "{letter}", "1-1", "{run}", task).Replace(words[1])
		s.do("GET", path, "", header("Accept", "*/*"))
		s.do("HEAD", path, "", header("Accept", "*/*"))
	}
	if after := s.dump(); after != before {
		t.Errorf("Redis was\n%s\nand is\n%s", before, after)
	}
}

// dump is all that lies in Redis, but for what a lane keeps alive.
func (s *site) dump() string {
	s.t.Helper()
	var all []string
	client := s.store.Client()
	for _, key := range client.Keys(s.t.Context(), "*").Val() {
		all = append(all, fmt.Sprintf("%s %x", key, client.Dump(s.t.Context(), key).Val()))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func TestPayloadsAreHidden(t *testing.T) {
	t.Parallel()
	const secret = "canary-in-a-payload"
	redact := func(_, function string, payload []byte) []byte {
		if function == "private" {
			return []byte(`"hidden"`)
		}
		return payload
	}
	s := newSite(t, web.Config{Keys: threeKeys(t), Redact: redact})
	s.work("q")
	s.token = tokenFor("operate")
	open := s.must(201, "POST", api+"/tasks", `{"function":"echo","payload":"`+secret+`","after":"1h"}`)["task"].(string)
	private := s.must(201, "POST", api+"/tasks", `{"function":"private","payload":"`+secret+`","after":"1h"}`)["task"].(string)
	result := s.must(200, "POST", api+"/calls", `{"function":"echo","payload":"`+secret+`"}`)["task"].(string)
	s.must(200, "POST", api+"/calls", `{"function":"fail","payload":"`+secret+`"}`)
	letter := s.must(200, "GET", api+"/letters", "")["letters"].([]any)[0].(map[string]any)["letter"].(string)
	for path, roles := range map[string]map[string]string{ // what each role is shown: hidden, refused, redacted, shown
		api + "/tasks/" + open:                       {"read": "hidden", "operate": "hidden", "admin": "hidden"},
		api + "/tasks?state=delayed":                 {"read": "hidden", "operate": "hidden", "admin": "hidden"},
		api + "/letters":                             {"read": "hidden", "operate": "hidden", "admin": "hidden"},
		api + "/tasks/" + open + "?payload=true":     {"read": "refused", "operate": "shown", "admin": "shown"},
		api + "/tasks/" + open + "/payload":          {"read": "refused", "operate": "shown", "admin": "shown"},
		api + "/tasks/" + private + "?payload=true":  {"read": "refused", "operate": "redacted", "admin": "redacted"},
		api + "/tasks/" + private + "/payload":       {"read": "refused", "operate": "redacted", "admin": "redacted"},
		api + "/tasks/" + result:                     {"read": "hidden", "operate": "shown", "admin": "shown"},
		api + "/tasks/" + result + "?wait=1s":        {"read": "hidden", "operate": "shown", "admin": "shown"},
		api + "/tasks/" + result + "/result":         {"read": "refused", "operate": "shown", "admin": "shown"},
		api + "/letters/" + letter:                   {"read": "hidden", "operate": "hidden", "admin": "hidden"},
		api + "/letters/" + letter + "?payload=true": {"read": "refused", "operate": "shown", "admin": "shown"},
		api + "/tasks/" + result + "?as=base64":      {"read": "hidden", "operate": "shown", "admin": "shown"},
	} {
		for role, want := range roles {
			s.token = tokenFor(role)
			got := s.do("GET", path, "", header("Accept", "*/*"))
			text := string(got.body)
			is := "hidden"
			switch {
			case got.status == http.StatusForbidden:
				is = "refused"
			case got.status != http.StatusOK:
				is = fmt.Sprint(got.status, " ", text)
			case strings.Contains(text, secret), strings.Contains(text, "ImNhbmFyeS1pbi1hLXBheWxvYWQi"):
				is = "shown"
			case strings.Contains(text, `"hidden"`):
				is = "redacted"
			}
			if is != want {
				t.Errorf("%s as %s: it is %s, want %s", path, role, is, want)
			}
		}
	}
	for _, entry := range s.logs.All() {
		line, _ := json.Marshal(entry)
		if text := string(line) + fmt.Sprint(entry.ContextMap()); strings.Contains(text, secret) || strings.Contains(text, tokenFor("read")) {
			t.Errorf("a payload or a token is in the log: %s", text)
		}
	}
}

// TestHostileTextsStayText: what tasks hold cannot become a page, whatever a browser takes the answer for.
func TestHostileTextsStayText(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	for _, text := range []string{`<img src=x onerror=alert(1)>`, `</script><script>alert(1)</script>`, "\u202eevil", "\x1b[31mred"} {
		payload, _ := json.Marshal(text)
		body := `{"function":"f","payload":` + string(payload) + `,"headers":{"h":` + string(payload) + `}}`
		task := s.must(201, "POST", api+"/tasks", body)["task"].(string)
		got := s.do("GET", api+"/tasks/"+task+"?payload=true", "")
		if got.status != 200 || strings.ContainsAny(string(got.body), "<>\x1b") {
			t.Errorf("%q: %d %s", text, got.status, got.body)
		}
		file := s.do("GET", api+"/tasks/"+task+"/payload", "")
		if file.header.Get("Content-Type") != "application/octet-stream" || file.header.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(file.header.Get("Content-Disposition"), "attachment;") {
			t.Errorf("%q as a file: %v", text, file.header)
		}
	}
}

func TestTimeoutsOfTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	server := web.NewServer(s.handler)
	if server.ReadHeaderTimeout != 5*time.Second || server.ReadTimeout != 30*time.Second || server.WriteTimeout != 60*time.Second ||
		server.IdleTimeout != 60*time.Second || server.MaxHeaderBytes != 32<<10 {
		t.Errorf("the server is %+v", server)
	}
	c := s.dial()
	began := time.Now()
	_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.ReadAll(c) // until the server closes
	if took := time.Since(began); took < 4*time.Second || took > 10*time.Second {
		t.Errorf("a header that does not end was cut off after %v, want 5s", took)
	}
	large := s.dial()
	_, _ = io.WriteString(large, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Large: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	line, err := bufio.NewReader(large).ReadString('\n')
	if err == nil && !strings.Contains(line, "431") { // or it is reset, since nobody reads on
		t.Errorf("64 KiB of headers: %q", line)
	}
}

func (s *site) dial() net.Conn {
	s.t.Helper()
	c, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Client: stream.ClientConfig{MaxPayload: 64 << 20}, Limits: web.Limits{Body: 1 << 20, Bulk: 2 << 20}})
	task := func(size int) string { return `{"function":"f","payload":"` + strings.Repeat("x", size) + `"}` }
	lines := header("Content-Type", "application/x-ndjson")
	for name, c := range map[string]struct {
		path, body string
		want       int
		change     func(*http.Request)
	}{
		"a task that fits":               {api + "/tasks", task(1<<20 - 100), 201, header("X-A", "")},
		"a task that does not":           {api + "/tasks", task(1 << 20), 413, header("X-A", "")},
		"a call that does not":           {api + "/calls", task(1 << 20), 413, header("X-A", "")},
		"a task beyond all bounds":       {api + "/tasks", task(3 << 20), 413, header("X-A", "")},
		"two tasks that fit":             {api + "/tasks", "[" + task(900<<10) + "," + task(900<<10) + "]", 200, header("X-A", "")},
		"lines that are too many":        {api + "/tasks", strings.Repeat(task(900<<10)+"\n", 3), 413, lines},
		"a line that is too long":        {api + "/tasks", task(1<<20) + "\n", 413, lines},
		"IDs beyond all bounds":          {api + "/cancel", `{"tasks":["` + strings.Repeat("x", 2<<20) + `"]}`, 413, header("X-A", "")},
		"a batch beyond all bounds":      {api + "/batches", `{"function":"f","inputs":["` + strings.Repeat("x", 3<<20) + `"]}`, 413, header("X-A", "")},
		"a length that is not the truth": {api + "/tasks", task(3 << 20), 413, func(r *http.Request) { r.ContentLength = -1 }},
	} {
		if got := s.do("POST", c.path, c.body, c.change); got.status != c.want {
			t.Errorf("%s: got %d %.200s, want %d", name, got.status, got.body, c.want)
		}
	}
	if _, err := web.New(s.store, web.Config{Limits: web.Limits{Body: 65 << 20}}); err == nil {
		t.Error("65 MiB can be allowed")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Limits: web.Limits{Connections: 2}})
	ask := func(c net.Conn, wait time.Duration) string {
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(wait))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return line
	}
	first, second, third := s.dial(), s.dial(), s.dial()
	for _, c := range []net.Conn{first, second} {
		if line := ask(c, patience); !strings.Contains(line, "200") {
			t.Fatalf("a connection within the bound: %q", line)
		}
	}
	if line := ask(third, 300*time.Millisecond); line != "" {
		t.Errorf("a connection beyond the bound: %q", line)
	}
	first.Close()
	_ = third.SetReadDeadline(time.Now().Add(patience))
	if line, err := bufio.NewReader(third).ReadString('\n'); !strings.Contains(line, "200") {
		t.Errorf("when there is room again: %q, %v", line, err)
	}
}

// TestSlowReadersAreLeft: a client that asks for a stream and does not read it holds nothing for long.
func TestSlowReadersAreLeft(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{Limits: web.Limits{Streams: 1}})
	s.work("q")
	s.handler.Slow(2 * time.Second)
	c := s.dial()
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	body := `{"function":"echo","inputs":["` + strings.Repeat("x", 500<<10) + `"` + strings.Repeat(`,"`+strings.Repeat("x", 500<<10)+`"`, 19) + `]}`
	_, _ = fmt.Fprintf(c, "POST %s/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", api, len(body), body)
	begun := make([]byte, 12)
	if _, err := io.ReadFull(c, begun); err != nil || string(begun) != "HTTP/1.1 200" {
		t.Fatalf("the slow client's batch begins with %q, %v", begun, err)
	}
	if got := s.do("POST", api+"/batches", `{"function":"echo","inputs":[]}`); got.status != http.StatusServiceUnavailable {
		t.Errorf("the slow client's batch has ended at once: %d", got.status)
	}
	redistest.Eventually(t, patience, func() bool {
		return s.do("POST", api+"/batches", `{"function":"echo","inputs":[]}`).status == http.StatusOK
	}, "the slow client's batch has not ended")
}

// TestErrorsHoldNoTextOfRedis makes Redis fail in several ways: answers have a code and the ID of the request, and the log has the rest.
func TestErrorsHoldNoTextOfRedis(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil  func(s *site)
		status int
		logged string
	}{
		"a key of another type": {func(s *site) { s.store.Client().Set(t.Context(), s.store.Keys("q").Tasks(), "x", 0) }, 500, "WRONGTYPE"},
		"a user without rights": {func(s *site) {
			s.store.Client().Do(t.Context(), "ACL", "SETUSER", "default", "-@all", "+ping", "+hello", "+auth")
		}, 503, "NOPERM"},
		"a full Redis": {func(s *site) { s.store.Client().ConfigSet(t.Context(), "maxmemory", "1") }, 429, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, web.Config{Client: stream.ClientConfig{RetryFor: 100 * time.Millisecond}})
			c.spoil(s)
			got := s.do("POST", api+"/tasks", `{"function":"f"}`)
			text := string(got.body)
			if got.status != c.status {
				t.Errorf("got %d %s, want %d", got.status, text, c.status)
			}
			for _, leak := range []string{"WRONGTYPE", "NOPERM", "OOM", "redis:", "stream:", "goroutine", "wm:{", s.redis.Addr} {
				if strings.Contains(text, leak) {
					t.Errorf("the answer holds %s: %s", leak, text)
				}
			}
			id := got.header.Get("X-Request-Id")
			if id == "" || !strings.Contains(text, `"request_id":"`+id+`"`) {
				t.Errorf("the answer does not hold the ID %q: %s", id, text)
			}
			logged := ""
			for _, entry := range s.logs.All() {
				if entry.ContextMap()["request"] == id {
					logged += fmt.Sprintln(entry.Message, entry.ContextMap())
				}
			}
			if !strings.Contains(logged, c.logged) {
				t.Errorf("the log says %q of %s", logged, id)
			}
		})
	}
}

// TestNamesAreChecked puts names that mean something elsewhere into every place of a path.
func TestNamesAreChecked(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	for _, route := range s.handler.Routes() {
		words := strings.Fields(route)
		for _, place := range []string{"{queue}", "{worker}", "{task}", "{letter}", "{run}"} {
			if !strings.Contains(words[1], place) {
				continue
			}
			for _, name := range []string{"%7Bx%7D", "..%2F..%2Fetc", "a%0D%0Ab", "a%20b", "*", "%00", "a%2Fb", "-x", strings.Repeat("a", 129), "%FF", "a:b"} {
				path := strings.Replace(words[1], place, name, 1)
				path = strings.NewReplacer("{queue}", "q", "{worker}", "w", "{task}", stream.NewID(), "{letter}", "1-1", "{run}", stream.NewID()).Replace(path)
				got := s.do(words[0], path, "", header("Accept", "*/*"))
				if got.status != http.StatusBadRequest && got.status != http.StatusNotFound {
					t.Errorf("%s %s: %d %s", words[0], path, got.status, got.body)
				}
			}
		}
	}
	if n := s.store.Client().DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("bad names have made %d keys", n)
	}
}

// TestAssetsAreEmbedded: no path leads to a file of the machine.
func TestAssetsAreEmbedded(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	for _, path := range []string{"/static/../../../etc/passwd", "/static/..%2f..%2f..%2fetc%2fpasswd", "/static/%2e%2e/board.go", "/static//etc/passwd", "/static/", "/static/./board.css", "/static/..\\board.go"} {
		got := s.do("GET", path, "")
		if got.status != http.StatusNotFound && got.status != http.StatusBadRequest || strings.Contains(string(got.body), "root:") {
			t.Errorf("%s: %d %.100s", path, got.status, got.body)
		}
	}
	if got := s.do("GET", "/static/board.css", ""); got.status != http.StatusOK {
		t.Errorf("an asset: %d", got.status)
	}
}

// TestNothingIsFetched: there are no callbacks, so the server connects to nothing but Redis.
func TestNothingIsFetched(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"callback", "webhook", "url", "notify"} {
		s := newSite(t, web.Config{})
		got := s.do("POST", api+"/tasks", `{"function":"f","`+name+`":"http://169.254.169.254/"}`)
		if got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}

func TestProfilesAreNotServed(t *testing.T) {
	t.Parallel()
	s := newSite(t, web.Config{})
	for _, path := range []string{"/debug/pprof/", "/debug/vars", "/api/v1/debug/pprof/"} {
		if got := s.do("GET", path, ""); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}
