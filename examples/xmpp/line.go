package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"mellium.im/sasl"
	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/dial"
	"mellium.im/xmpp/history"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/stanza"
)

const (
	patience  = 10 * time.Second // for an answer of the server
	quiet     = 30 * time.Second // then it is asked whether it lives
	pageSize  = 100
	worstWait = 5 * time.Second
)

// account is who the bot is, and where its server is.
type account struct {
	jid      jid.JID
	password string
	addr     string // host:port; "" asks DNS
	ca       string // PEM file of the authority that signed the server's certificate; "" for those of the system
}

// line keeps one XMPP connection, and makes it again when it breaks.
type line struct {
	account account
	log     *zap.Logger
	heard   chan struct{} // there may be news in the archive

	mu      sync.Mutex
	session *xmpp.Session // nil while there is none
	pages   map[string][]archived
	epoch   int // number of the connection
}

// message is a chat message, as it comes from a server.
type message struct {
	stanza.Message
	Body   string    `xml:"body,omitempty"`
	Result *archived `xml:"urn:xmpp:mam:2 result"`
}

// archived is a message in the archive.
type archived struct {
	ID        string `xml:"id,attr"`
	Query     string `xml:"queryid,attr"`
	Forwarded struct {
		Chat message `xml:"jabber:client message"`
	} `xml:"urn:xmpp:forward:0 forwarded"`
}

var errNoLine = errors.New("there is no connection to the XMPP server")

func newLine(a account, log *zap.Logger) *line {
	return &line{account: a, log: log, heard: make(chan struct{}, 1), pages: map[string][]archived{}}
}

// Run connects, again and again, until ctx is done.
func (l *line) Run(ctx context.Context) {
	for try := 0; ctx.Err() == nil; try++ {
		began := time.Now()
		err := l.serve(ctx)
		if time.Since(began) > worstWait {
			try = 0
		}
		wait := rand.N(min(worstWait, 100*time.Millisecond<<min(try, 6)))
		l.log.Warn("the XMPP connection is lost and is made again", zap.Error(err), zap.Duration("in", wait))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// serve is one connection, until it breaks.
func (l *line) serve(ctx context.Context) error {
	session, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer session.Conn().Close()
	broken := make(chan error, 1)
	go func() { broken <- session.Serve(xmpp.HandlerFunc(l.handle)) }()
	if err := session.Send(ctx, stanza.Presence{Type: stanza.AvailablePresence}.Wrap(nil)); err != nil {
		return err
	}
	l.mu.Lock()
	l.session = session
	l.epoch++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.session = nil
		l.mu.Unlock()
	}()
	l.hint()
	l.log.Info("connected", zap.Stringer("as", session.LocalAddr()))
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-broken:
			return err
		case <-time.After(quiet): // a black hole says nothing
			asked, cancel := context.WithTimeout(ctx, patience)
			err := ping.Send(asked, session, jid.JID{})
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

func (l *line) connect(ctx context.Context) (*xmpp.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	secure := &tls.Config{ServerName: l.account.jid.Domain().String(), MinVersion: tls.VersionTLS12}
	if l.account.ca != "" {
		pem, err := os.ReadFile(l.account.ca)
		if err != nil {
			return nil, err
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("XMPP_CA: there is no certificate in %s", l.account.ca)
		}
	}
	var conn net.Conn
	var err error
	if l.account.addr != "" {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", l.account.addr)
	} else {
		conn, err = (&dial.Dialer{NoTLS: true}).Dial(ctx, "tcp", l.account.jid)
	}
	if err != nil {
		return nil, err
	}
	session, err := xmpp.NewClientSession(ctx, l.account.jid, conn, xmpp.StartTLS(secure),
		xmpp.SASL("", l.account.password, sasl.ScramSha256Plus, sasl.ScramSha1Plus, sasl.ScramSha256, sasl.ScramSha1, sasl.Plain), xmpp.BindResource())
	if err != nil {
		_ = conn.Close()
	}
	return session, err
}

// handle takes what comes in. It must not wait: all that comes passes through here.
func (l *line) handle(stream xmlstream.TokenReadEncoder, start *xml.StartElement) error {
	if start.Name.Local != "message" {
		return nil
	}
	var m message
	if err := xml.NewTokenDecoder(xmlstream.MultiReader(xmlstream.Token(*start), stream)).Decode(&m); err != nil {
		l.log.Warn("a message cannot be read", zap.Error(err))
		return nil
	}
	if m.Result == nil {
		l.hint()
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if page, asked := l.pages[m.Result.Query]; asked {
		l.pages[m.Result.Query] = append(page, *m.Result)
	}
	return nil
}

func (l *line) hint() {
	select {
	case l.heard <- struct{}{}:
	default:
	}
}

// now is the connection there is, and its number.
func (l *line) now() (*xmpp.Session, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		return nil, 0, errNoLine
	}
	return l.session, l.epoch, nil
}

// Archive is a page of the archive after the message with this ID, or with somebody since a time; more says that there is more.
func (l *line) Archive(ctx context.Context, query history.Query) (page []archived, more bool, err error) {
	session, _, err := l.now()
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	query.ID, query.Limit = fmt.Sprintf("q%x", rand.Uint64()), pageSize //nolint:gosec // a name, no secret
	l.mu.Lock()
	l.pages[query.ID] = nil
	l.mu.Unlock()
	result, err := history.Fetch(ctx, query, jid.JID{}, session)
	l.mu.Lock()
	page = l.pages[query.ID]
	delete(l.pages, query.ID)
	l.mu.Unlock()
	if err != nil {
		return nil, false, fmt.Errorf("read the archive: %w", err)
	}
	return page, !result.Complete, nil
}

// Send sends a message, and returns once the server has handled it: it answers a ping only after what came before.
func (l *line) Send(ctx context.Context, m message) error {
	session, _, err := l.now()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := session.Encode(ctx, m); err != nil {
		return fmt.Errorf("send the answer %s: %w", m.ID, err)
	}
	if err := ping.Send(ctx, session, jid.JID{}); err != nil {
		return fmt.Errorf("learn whether the answer %s arrived: %w", m.ID, err)
	}
	return nil
}
