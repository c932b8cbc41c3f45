package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/athoune/worker-machine/internal/redistest"
)

// prosody is a real XMPP server with an archive, which keeps its data through a restart.
type prosody struct {
	t       *testing.T
	dir     string
	addr    string
	process *exec.Cmd
}

const domain = "chat.test"

func startProsody(t *testing.T, users ...string) *prosody {
	t.Helper()
	for _, program := range []string{"prosody", "prosodyctl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("there is no %s on this machine: apt-get install prosody", program)
		}
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &prosody{t: t, dir: t.TempDir(), addr: listener.Addr().String()}
	_, port, _ := net.SplitHostPort(p.addr)
	_ = listener.Close()
	p.certify()
	p.write("prosody.cfg.lua", fmt.Sprintf(`
run_as_root = true
data_path = %[1]q
pidfile = %[2]q
log = { info = %[3]q }
modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "mam", "offline", "posix" }
modules_disabled = { "s2s" }
interfaces = { "127.0.0.1" }
c2s_ports = { %[4]s }
archive_expires_after = "never"
default_archive_policy = true
max_archive_query_results = 100
c2s_require_encryption = true
authentication = "internal_hashed"
VirtualHost %[5]q
  ssl = { certificate = %[6]q, key = %[7]q }
`, p.path("data"), p.path("pid"), p.path("log"), port, domain, p.path("cert.pem"), p.path("key.pem")))
	if err := os.Mkdir(p.path("data"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, user := range users {
		out, err := exec.CommandContext(t.Context(), "prosodyctl", "--root", "--config", p.path("prosody.cfg.lua"), "register", user, domain, "secret-"+user).CombinedOutput() //nolint:gosec // names of this test
		if err != nil {
			t.Fatalf("register %s: %v\n%s", user, err, out)
		}
	}
	p.start()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			log, _ := os.ReadFile(p.path("log"))
			t.Logf("Prosody says:\n%s", log[max(0, len(log)-3000):])
		}
	})
	return p
}

func (p *prosody) path(name string) string { return filepath.Join(p.dir, name) }

func (p *prosody) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// start starts the server and waits until it listens.
func (p *prosody) start() {
	p.t.Helper()
	p.process = exec.CommandContext(context.WithoutCancel(p.t.Context()), "prosody", "--root", "--config", p.path("prosody.cfg.lua"), "-F") //nolint:gosec // a file of this test
	p.process.Stderr = os.Stderr
	if err := p.process.Start(); err != nil {
		p.t.Fatal(err)
	}
	redistest.Eventually(p.t, time.Minute, func() bool {
		conn, err := new(net.Dialer).DialContext(p.t.Context(), "tcp", p.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, "Prosody listens")
}

// stop ends the server as its init system would.
func (p *prosody) stop() {
	_ = p.process.Process.Signal(syscall.SIGTERM)
	_ = p.process.Wait()
}

// certify makes the certificate that the clients are told to trust.
func (p *prosody) certify() {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: domain}, DNSNames: []string{domain}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	p.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}
