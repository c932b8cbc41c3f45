package board

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages refer to. There are no others: a name that is not here is not looked for.
type asset struct {
	data, kind, tag string
}

var assets = loadAssets(map[string]string{
	"board.css": "text/css; charset=utf-8", "board.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
})

func loadAssets(kinds map[string]string) map[string]asset {
	loaded := make(map[string]asset, len(kinds))
	for name, kind := range kinds {
		data, err := assetFiles.ReadFile("assets/" + name)
		if err != nil {
			panic("board: " + err.Error()) // it is part of the program: every test run would end here
		}
		hash := sha256.Sum256(data)
		loaded[name] = asset{data: string(data), kind: kind, tag: hex.EncodeToString(hash[:6])}
	}
	return loaded
}

// staticPath changes with the file, so that browsers may keep it.
func staticPath(base, name string) string { return base + "/static/" + name + "?v=" + assets[name].tag }

func (b *board) static(w http.ResponseWriter, r *http.Request) {
	file, ok := assets[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", file.kind)
	h.Set("ETag", `"`+file.tag+`"`)
	if r.URL.Query().Get("v") == file.tag {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if r.Header.Get("If-None-Match") == `"`+file.tag+`"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write([]byte(file.data))
}

// themeCookie holds how somebody wants the pages to look: light, dark, or as the device does.
const themeCookie = "wm-theme"

var nextTheme = map[string]string{"": "dark", "dark": "light", "light": ""}

func themeOf(r *http.Request) string {
	cookie, err := r.Cookie(themeCookie)
	if err != nil || cookie.Value != "dark" && cookie.Value != "light" {
		return ""
	}
	return cookie.Value
}

// theme changes the look, and stays on the page.
func (b *board) theme(w http.ResponseWriter, r *http.Request) {
	const year = 365 * 24 * 60 * 60
	cookie := &http.Cookie{
		Name: themeCookie, Value: nextTheme[themeOf(r)], Path: b.cfg.Base + "/", MaxAge: year, HttpOnly: true, Secure: r.TLS != nil,
		SameSite: http.SameSiteStrictMode,
	}
	if cookie.Value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
	http.Redirect(w, r, b.back(r), http.StatusSeeOther)
}
