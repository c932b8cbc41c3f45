package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/cmd/worker-machine/internal/embedded"
)

const defaultDevPort = 6399

func (a *app) devCommand() *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a small Redis for trying things out",
		Long: `Run a small Redis inside this program, on the loopback interface, until ctrl-C, for trying things out by hand.

It keeps nothing on disk, and is slow and incomplete. It is not for production.`,
		Example: "  worker-machine dev\n  worker-machine dev --port 0     # any free port",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.dev(cmd.Context(), port) },
	}
	cmd.Flags().IntVar(&port, "port", defaultDevPort, "the port; 0 takes a free one")
	return cmd
}

const devText = `%[1]s is up, a Redis inside this program.

  *** FOR TRYING THINGS OUT ONLY: it keeps nothing, and all is gone when it ends. NOT FOR PRODUCTION. ***

Next, each in a terminal of its own:

  %[2]s work --redis %[1]s --handle 'lines=xargs wc -l'
  echo /etc/passwd | %[2]s map --redis %[1]s lines
  %[2]s stats --redis %[1]s

ctrl-C ends it.
`

func (a *app) dev(ctx context.Context, port int) error {
	const highest = 65535
	if port < 0 || port > highest {
		return usagef("--port: from 0 to %d", highest)
	}
	server, err := embedded.Start(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		a.note("port %d may be taken, by another `worker-machine dev` perhaps; --port 0 takes a free one", port)
		return err
	}
	defer server.Close()
	if a.json {
		err = a.printJSON(map[string]string{"url": server.URL()})
	} else {
		err = a.printf(devText, server.URL(), selfName())
	}
	if err != nil {
		return err
	}
	<-ctx.Done()
	a.note("the Redis at %s is gone, and all that was in it", server.URL())
	return nil
}

// selfName is how this program is called again from a shell.
func selfName() string {
	executable, err := os.Executable()
	if err != nil {
		return fromSource
	}
	return callName(os.Args[0], executable, exec.LookPath)
}

const fromSource = "go run ./cmd/worker-machine"

// cached are the paths of binaries that go run makes: they are gone afterwards, or deep in the cache of builds.
var cached = regexp.MustCompile(`[/\\]go-build|[/\\]b001[/\\]exe[/\\]|[/\\][0-9a-f]{64}-d[/\\]`)

// callName is the way the program was called if that works again, its name if the shell finds this very binary, and otherwise the
// way that works in its source.
func callName(arg0, executable string, lookPath func(string) (string, error)) string {
	const name = "worker-machine"
	if strings.ContainsRune(arg0, filepath.Separator) && !cached.MatchString(arg0) && !cached.MatchString(executable) && isSameFile(arg0, executable) {
		return shellWord(arg0)
	}
	if found, err := lookPath(name); err == nil && isSameFile(found, executable) {
		return name
	}
	return fromSource
}

func isSameFile(a, b string) bool {
	first, err := os.Stat(a)
	if err != nil {
		return false
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9/._+@%-]+$`)

// shellWord quotes a word for a shell when it has to be.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
