package redistest_test

import (
	"context"
	"fmt"

	"github.com/athoune/worker-machine/internal/redistest"
)

func ExampleForExample() {
	client, stop := redistest.ForExample()
	defer stop()
	fmt.Println(client.Ping(context.Background()).Val())
	// Output: PONG
}
