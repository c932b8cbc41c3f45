package web

import (
	"bytes"
	_ "embed" // the description
	"net/http"
)

//go:embed openapi.json
var description []byte

// serveDescription tells what the API is, and where.
func (h *Handler) serveDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", jsonType)
	here := []byte(`"url": "` + h.cfg.Base + `/"`)
	_, _ = w.Write(bytes.Replace(description, []byte(`"url": "/"`), here, 1))
}
