package guard

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// seen answers with the role it was called with.
func seen(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(Of(r.Context()).String())) }

func noProbe(*http.Request) bool { return false }

// ask sends one request through a guard.
func ask(t *testing.T, cfg Config, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g.failures.wait = func(context.Context, time.Duration) {}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:8080/x", nil)
	r.RemoteAddr = "127.0.0.1:1000"
	change(r)
	w := httptest.NewRecorder()
	g.Handler(noProbe, http.HandlerFunc(seen)).ServeHTTP(w, r)
	return w
}

func TestHosts(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]int{
		"localhost": 200, "localhost:8080": 200, "LOCALHOST:1": 200, "127.0.0.1": 200, "127.0.0.1:8080": 200, "[::1]": 200, "[::1]:8080": 200,
		"[0:0:0:0:0:0:0:1]:80": 200, "queues.example.org": 200, "queues.example.org:443": 200, "Queues.Example.ORG": 200, "203.0.113.9:80": 200, "10.1.1.1:80": 200,
		"evil.example": 421, "localhost.evil.example": 421, "evil.example:8080": 421, "127.0.0.1.evil.example": 421, "localhost.": 421, "": 421,
		"127.0.0.2": 421, "192.168.0.1": 421, "[::2]": 421, "::1": 421, "[::1": 421, "[::1%25eth0]": 421, "localhost:80:80": 421, "localhost:x": 421,
		"0x7f.1": 421, "2130706433": 421, "localhost@evil.example": 421, "a.queues.example.org": 421, "localhost\x00": 421, "localhost/": 421, "[localhost]": 421,
	} {
		w := ask(t, Config{Hosts: []string{"Queues.example.org", "203.0.113.9"}}, func(r *http.Request) {
			r.Host = host
			ctx := context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
			if strings.HasPrefix(host, "10.") { // it came in by this address; without keys it would not be served
				ctx = context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(10, 1, 1, 1), Port: 8080})
			}
			*r = *r.WithContext(ctx)
		})
		if strings.HasPrefix(host, "10.") {
			want = http.StatusForbidden // not 421
		}
		if got := w.Code; got != want {
			t.Errorf("Host %q is answered with %d, want %d", host, got, want)
		}
	}
}

func TestCrossOriginRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method string
		header map[string]string
		want   int
	}{
		"a program":                        {"POST", nil, 200},
		"our own page":                     {"POST", map[string]string{"Sec-Fetch-Site": "same-origin"}, 200},
		"our own page in an old browser":   {"POST", map[string]string{"Origin": "http://localhost:8080"}, 200},
		"a page elsewhere":                 {"POST", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"a page of the same site":          {"POST", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		"a page elsewhere, long ago":       {"POST", map[string]string{"Origin": "http://evil.example"}, 403},
		"a page from a file":               {"DELETE", map[string]string{"Origin": "null"}, 403},
		"another port":                     {"DELETE", map[string]string{"Origin": "http://localhost:9090"}, 403},
		"a link elsewhere changes nothing": {"GET", map[string]string{"Sec-Fetch-Site": "cross-site"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ask(t, Config{}, func(r *http.Request) {
				r.Method = c.method
				for name, value := range c.header {
					r.Header.Set(name, value)
				}
			})
			if w.Code != c.want {
				t.Errorf("got %d, want %d", w.Code, c.want)
			}
		})
	}
}

func TestCallers(t *testing.T) {
	t.Parallel()
	keys := []Key{mustKey(t, Read, token(1)), mustKey(t, Operate, token(2)), mustKey(t, Admin, token(3))}
	cookie := newSession(keys[1], time.Now().Add(time.Hour))
	old := newSession(keys[1], time.Now().Add(-time.Second))
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   string
		status int
	}{
		"nothing shown":            {func(*http.Request) {}, "nobody", 200},
		"bearer":                   {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token(1)) }, "read", 200},
		"bearer in lower case":     {func(r *http.Request) { r.Header.Set("Authorization", "bearer "+token(3)) }, "admin", 200},
		"basic, whatever the user": {func(r *http.Request) { r.SetBasicAuth("anybody", token(2)) }, "operate", 200},
		"wrong bearer":             {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token(4)) }, "", 401},
		"wrong basic":              {func(r *http.Request) { r.SetBasicAuth(token(1), "") }, "", 401},
		"no scheme":                {func(r *http.Request) { r.Header.Set("Authorization", token(1)) }, "", 401},
		"another scheme":           {func(r *http.Request) { r.Header.Set("Authorization", "Digest "+token(1)) }, "", 401},
		"cookie":                   {func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: cookie}) }, "operate", 200},
		"cookie that has ended":    {func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: old}) }, "nobody", 200},
		"token as cookie":          {func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: token(1)}) }, "nobody", 200},
		"token in the query":       {func(r *http.Request) { r.URL.RawQuery = "token=" + token(1) }, "nobody", 200},
		"wrong token, right cookie": {func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
			r.Header.Set("Authorization", "Bearer "+token(4))
		}, "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ask(t, Config{Keys: keys}, c.change)
			if w.Code != c.status || c.want != "" && w.Body.String() != c.want {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, c.status, c.want)
			}
			if w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
		})
	}
}

// TestFailuresLockNobodyOut has somebody fail at an address as often as can be, while the owner of a key comes from there too.
func TestFailuresLockNobodyOut(t *testing.T) {
	t.Parallel()
	g, err := New(Config{Keys: []Key{mustKey(t, Admin, token(1))}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	held := make(chan struct{}, mostHeldHere)
	g.failures.wait = func(ctx context.Context, _ time.Duration) {
		held <- struct{}{}
		<-ctx.Done()
	}
	handler := g.Handler(noProbe, http.HandlerFunc(seen))
	send := func(ctx context.Context, text string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/x", nil)
		r.RemoteAddr = "192.0.2.1:1000"
		r.Header.Set("Authorization", "Bearer "+text)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	done := make(chan int, mostHeldHere)
	for range mostHeldHere {
		go func() { done <- send(ctx, token(2)).Code }()
	}
	for range mostHeldHere {
		<-held
	}
	for range 1000 {
		if w := send(ctx, token(2)); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Fatalf("a failure beyond those that are held is answered with %d", w.Code)
		}
	}
	if w := send(ctx, token(1)); w.Code != http.StatusOK || w.Body.String() != "admin" {
		t.Errorf("the owner of a key is answered with %d %s", w.Code, w.Body)
	}
	cancel()
	for range mostHeldHere {
		if code := <-done; code != http.StatusUnauthorized {
			t.Errorf("a failure that was held is answered with %d", code)
		}
	}
}

func TestWithoutKeysOnlyThisMachineIsServed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		remote string
		local  net.Addr
		header string
		want   int
	}{
		"this machine":                 {"127.0.0.1:5", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, "", 200},
		"this machine, IPv6":           {"[::1]:5", &net.TCPAddr{IP: net.IPv6loopback}, "", 200},
		"a socket":                     {"@", &net.UnixAddr{Name: "/run/x", Net: "unix"}, "", 200},
		"another machine":              {"192.0.2.1:5", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)}, "", 403},
		"our own address from outside": {"192.0.2.2:5", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)}, "", 403},
		"an address we listen at":      {"127.0.0.1:5", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)}, "", 403},
		"a proxy on this machine":      {"127.0.0.1:5", nil, "X-Forwarded-For", 403},
		"a newer proxy":                {"127.0.0.1:5", nil, "Forwarded", 403},
		"nothing known":                {"", nil, "", 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ask(t, Config{}, func(r *http.Request) {
				r.RemoteAddr = c.remote
				if c.local != nil {
					*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
				}
				if c.header != "" {
					r.Header.Set(c.header, "198.51.100.1")
				}
			})
			if w.Code != c.want || w.Code == 200 && w.Body.String() != "admin" {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, c.want)
			}
		})
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	g, err := New(Config{Base: "/jobs", Keys: []Key{mustKey(t, Operate, token(1))}, Session: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	waits := 0
	g.failures.wait = func(context.Context, time.Duration) { waits++ }
	login := func(url, text string) (*httptest.ResponseRecorder, bool) {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
		return w, g.Login(w, r, text)
	}
	if w, ok := login("http://localhost/jobs/login", token(2)); ok || waits != 1 || len(w.Result().Cookies()) != 0 {
		t.Errorf("a wrong token: %t, %d waits, cookies %v", ok, waits, w.Result().Cookies())
	}
	for url, secure := range map[string]bool{"http://localhost/jobs/login": false, "https://localhost/jobs/login": true} {
		w, ok := login(url, token(1))
		if !ok || waits != 1 {
			t.Fatalf("%s: a right token: %t, %d waits", url, ok, waits)
		}
		c := w.Result().Cookies()[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure != secure || c.Path != "/jobs/" || c.Domain != "" {
			t.Errorf("%s: cookie %v", url, c)
		}
		if left := time.Until(c.Expires); left < 59*time.Minute || left > time.Hour {
			t.Errorf("the cookie ends in %v", left)
		}
	}
	w := httptest.NewRecorder()
	g.Logout(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/", nil))
	if c := w.Result().Cookies()[0]; c.MaxAge >= 0 || c.Value != "" {
		t.Errorf("after the logout: %v", c)
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	t.Parallel()
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/x", nil)
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	g.Handler(noProbe, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret") })).ServeHTTP(w, r)
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	for sent, kept := range map[string]bool{"abc-123": true, "": false, "a b": false, "x\ny": false, strings.Repeat("a", 200): false, "{q}": false} {
		w := ask(t, Config{}, func(r *http.Request) { r.Header["X-Request-Id"] = []string{sent} })
		got := w.Header().Get("X-Request-Id")
		if (got == sent) != kept || got == "" {
			t.Errorf("request ID %q became %q", sent, got)
		}
	}
}

func TestMistakesInTheConfigAreToldAtOnce(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Hosts: []string{"http://x", "ok.example", "a b", ""}, Session: time.Second, Keys: []Key{{}}, CAs: []CA{{}}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"http://x", "a b", "Session", "Keys[0]", "ClientCAs[0]: a role", "ClientCAs[0]: there is no certificate"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}
