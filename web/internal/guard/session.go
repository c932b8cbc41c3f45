package guard

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"
)

const (
	cookieName = "worker_machine"
	nonceSize  = 16
	stampSize  = 8
	signedSize = stampSize + nonceSize
)

// A session is a cookie and nothing else: when it ends, a nonce, and their HMAC by a key derived from the token that was given at
// the login. So replicas with the same keys agree, and a session ends with its token.

// newSession makes the value of a cookie.
func newSession(key Key, end time.Time) string {
	value := make([]byte, signedSize, signedSize+sha256.Size)
	binary.BigEndian.PutUint64(value, uint64(max(end.Unix(), 0))) //nolint:gosec // not negative
	_, _ = rand.Read(value[stampSize:])                           // it never fails
	return base64.RawURLEncoding.EncodeToString(append(value, sign(key, value)...))
}

func sign(key Key, value []byte) []byte {
	mac := hmac.New(sha256.New, key.session[:])
	mac.Write(value)
	return mac.Sum(nil)
}

// openSession returns the key that a session began with, if it has not ended.
func openSession(keys []Key, text string, now time.Time) (Key, bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(signedSize+sha256.Size) {
		return Key{}, false
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Key{}, false
	}
	signed, signature := value[:signedSize], value[signedSize:]
	for i := range keys {
		if hmac.Equal(signature, sign(keys[i], signed)) {
			return keys[i], now.Unix() < int64(binary.BigEndian.Uint64(signed)) //nolint:gosec // we have signed it
		}
	}
	return Key{}, false
}

// cookie is the session cookie with a value; it is the browser's until it is closed, and ours until the session ends.
func (g *Guard) cookie(r *http.Request, value string) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value, Path: g.cfg.Base + "/",
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: g.cfg.Secure || r.TLS != nil,
	}
}

// Login begins a session when the token is that of a key, and tells whether it is. A wrong token is answered late.
func (g *Guard) Login(w http.ResponseWriter, r *http.Request, token string) bool {
	key, ok := find(g.cfg.Keys, token)
	if !ok {
		g.failures.Delay(r.Context(), r.RemoteAddr)
		return false
	}
	end := g.now().Add(g.cfg.Session)
	cookie := g.cookie(r, newSession(key, end))
	cookie.Expires = end
	http.SetCookie(w, cookie)
	return true
}

// Logout makes the browser forget its session.
func (g *Guard) Logout(w http.ResponseWriter, r *http.Request) {
	cookie := g.cookie(r, "")
	cookie.MaxAge = -1
	http.SetCookie(w, cookie)
}
