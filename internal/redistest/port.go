package redistest

import (
	"bufio"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// taken holds the ports this process gave away, so that parallel tests do not race for one.
var taken sync.Map

// FreePort picks a port of 127.0.0.1 nobody listens on. It stays below the range systems use for outgoing connections
// (32768 on Linux): a server that restarts must find its port as free as it left it.
func FreePort(t testing.TB) int {
	t.Helper()
	const lowest, highest, tries = 12000, 32000, 500
	for range tries {
		port := lowest + rand.IntN(highest-lowest)
		if _, used := taken.LoadOrStore(port, true); used {
			continue
		}
		listener, err := net.Listen("tcp", loopback(port)) //nolint:noctx // ends at once
		if err != nil {
			continue
		}
		_ = listener.Close()
		t.Cleanup(func() { taken.Delete(port) })
		return port
	}
	t.Fatalf("redistest: no free port among %d tries between %d and %d", tries, lowest, highest)
	return 0
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// answers reports whether a Redis server at the address answers PING with anything but that it is still loading. A server
// with a password answers NOAUTH, which is an answer.
func answers(network, addr string) bool {
	const patience = time.Second
	conn, err := net.DialTimeout(network, addr, patience) //nolint:noctx // bounded by patience
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && !strings.HasPrefix(line, "-LOADING")
}
