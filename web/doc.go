// Package web serves queues over HTTP: a JSON API, a dashboard, health and metrics.
package web
