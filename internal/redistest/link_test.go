package redistest_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/athoune/worker-machine/internal/redistest"
)

func TestProxyTellsPushMessagesFromReplies(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server)
	direct := server.Client(t)
	conn, err := net.Dial("tcp", proxy.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	await := func(part string) {
		t.Helper()
		for line := ""; !strings.Contains(line, part); {
			if line, err = reader.ReadString('\n'); err != nil {
				t.Fatalf("wait for %q: %v", part, err)
			}
		}
	}
	if _, err := io.WriteString(conn, "HELLO 3\r\nSUBSCRIBE news\r\n"); err != nil {
		t.Fatal(err)
	}
	await("news")

	proxy.CutAfterRequest(contains("BLPOP"))
	if _, err := io.WriteString(conn, "BLPOP list 0\r\n"); err != nil {
		t.Fatal(err)
	}
	// The message comes between the request and its reply: it passes, and the reply is the one to be lost.
	if err := direct.Publish(t.Context(), "news", "between").Err(); err != nil {
		t.Fatal(err)
	}
	await("between")
	if err := direct.RPush(t.Context(), "list", "element").Err(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(reader)
	if !errors.Is(err, syscall.ECONNRESET) || strings.Contains(string(rest), "element") {
		t.Errorf("got %q, %v, want a reset connection and no reply", rest, err)
	}
	if got := proxy.Dropped(); got != 1 {
		t.Errorf("dropped: got %d, want 1", got)
	}
}
