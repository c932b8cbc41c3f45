package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/athoune/worker-machine/internal/redistest"
	"github.com/athoune/worker-machine/stream"
	"github.com/athoune/worker-machine/web"
)

// The handler in a server of one's own, below a path.
func ExampleNew() {
	redisClient, stop := redistest.ForExample()
	defer stop()
	store, err := stream.NewStore(redisClient, stream.Config{})
	must(err)
	defer store.Close()

	handler, err := web.New(store, web.Config{Base: "/jobs"}) // without Keys, for this machine only
	must(err)
	mux := http.NewServeMux()
	mux.Handle("/jobs/", handler)

	server := httptest.NewServer(mux)
	defer server.Close()
	answer, err := http.Get(server.URL + "/jobs/healthz")
	must(err)
	answer.Body.Close()
	fmt.Println(answer.Status)
	// Output: 200 OK
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
