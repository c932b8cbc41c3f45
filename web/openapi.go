package web

import (
	_ "embed" // the description
	"net/http"
)

//go:embed openapi.json
var description []byte

// serveDescription tells what the API is.
func serveDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(description)
}
