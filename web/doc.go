// Package web serves queues over HTTP: a JSON API, a dashboard, health and metrics.
//
//	handler, err := web.New(store, web.Config{})       // for this machine only: no keys
//	err = web.Serve(ctx, listener, handler, nil)       // until ctx is done; or mount it in a server of your own:
//	mux.Handle("/jobs/", handler)                      // with Config.Base "/jobs", and Config.Hosts, and Config.Keys
//
// docs/http.md tells how the API is used, docs/security.md what protects it, and /api/openapi.json describes every request.
package web
