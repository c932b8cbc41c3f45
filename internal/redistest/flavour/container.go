package flavour

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// engineTimeout bounds the question whether there is a Docker engine, pullTimeout the pull of an image of some 50 MB.
const (
	engineTimeout = 5 * time.Second
	pullTimeout   = 2 * time.Minute
)

// Docker returns nil when a Docker engine answers, and the reason when none does. It prepares testcontainers for it on the way:
// call it before anything else of testcontainers.
func Docker() error {
	_, err := engine()
	return err
}

// engine connects to Docker, once for all tests of the process.
var engine = sync.OnceValues(func() (*testcontainers.DockerProvider, error) {
	// The reaper is an image of its own that cannot be pulled everywhere, and each test removes its containers. The address is for
	// tests that run in a container themselves, beside the engine: the gateway testcontainers would guess is not theirs.
	for name, value := range map[string]string{
		"TESTCONTAINERS_RYUK_DISABLED": "true", "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1",
	} {
		if _, set := os.LookupEnv(name); !set {
			if err := os.Setenv(name, value); err != nil {
				return nil, fmt.Errorf("flavour: set %s: %w", name, err)
			}
		}
	}
	return connect()
})

func connect() (provider *testcontainers.DockerProvider, err error) {
	defer func() { // testcontainers panics where it finds no engine
		if cause := recover(); cause != nil {
			err = fmt.Errorf("flavour: no Docker engine: %v", cause)
		}
	}()
	provider, err = testcontainers.NewDockerProvider(testcontainers.WithLogger(log.NewNoopLogger()))
	if err != nil {
		return nil, fmt.Errorf("flavour: no Docker engine: %w", err)
	}
	// Not the context of a test: the answer is for all tests of the process.
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	if err := provider.Health(ctx); err != nil {
		return nil, fmt.Errorf("flavour: Docker engine does not answer: %w", err)
	}
	return provider, nil
}

// findImage returns the image to use: the given one, else the local one, else the public one, which is pulled when it is not
// there.
func findImage(t testing.TB, given, local, public string) (string, error) {
	t.Helper()
	provider, err := engine()
	if err != nil {
		return "", err
	}
	docker := provider.Client()
	candidates := []string{local, public}
	if given != "" {
		candidates = []string{given}
	}
	for _, image := range candidates {
		if _, err := docker.ImageInspect(t.Context(), image); err == nil {
			return image, nil
		}
	}
	image := candidates[len(candidates)-1]
	if err := pull(docker, image); err != nil {
		return "", fmt.Errorf("flavour: no image %s (scripts/images makes it): %w", local, err)
	}
	return image, nil
}

// pulls holds what came of each pull, so that a registry out of reach is asked once.
var pulls sync.Map

func pull(docker client.APIClient, image string) error {
	once, _ := pulls.LoadOrStore(image, sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), pullTimeout) // for all tests of the process
		defer cancel()
		progress, err := docker.ImagePull(ctx, image, client.ImagePullOptions{})
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, progress)
		return errors.Join(err, progress.Close())
	}))
	return once.(func() error)()
}

func startContainer(image string) func(testing.TB) (network, addr string) {
	return func(t testing.TB) (string, string) {
		t.Helper()
		const port = "6379/tcp"
		container, err := testcontainers.Run(t.Context(), image,
			testcontainers.WithExposedPorts(port), testcontainers.WithLogger(log.NewNoopLogger()))
		testcontainers.CleanupContainer(t, container, testcontainers.StopTimeout(0))
		if err != nil {
			t.Fatalf("flavour: start %s: %v", image, err)
		}
		addr, err := container.PortEndpoint(t.Context(), port, "")
		if err != nil {
			t.Fatalf("flavour: find the port of %s: %v", image, err)
		}
		awaitAnswer(t, addr, image)
		return "tcp", addr
	}
}
