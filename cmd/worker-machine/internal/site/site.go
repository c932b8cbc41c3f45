// Package site is a web site of ten pages that takes its time, for the demonstration, and what reads titles from it.
//
//	pages, err := site.Start(ctx, time.Second)
//	defer pages.Close()
//	title, err := site.Title(ctx, pages.URLs()[0]) // a second later
package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// titles are the pages in the order of their numbers; the one without a title fails.
var titles = []string{
	"LinuxFr.org", "The Go Programming Language", "Redis", "Valkey", "Debian",
	"", "Hacker News", "Wikipedia", "Internet Archive", "OpenStreetMap",
}

// Pages is how many pages there are, and Failing how many of them fail.
const (
	Pages   = 10
	Failing = 1
)

// Site is the running site.
type Site struct {
	server *http.Server
	base   string
	delay  time.Duration
}

// Start serves the pages on a free port of the loopback interface, each after delay, until [Site.Close].
func Start(ctx context.Context, delay time.Duration) (*Site, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("site: listen: %w", err)
	}
	s := &Site{base: "http://" + listener.Addr().String(), delay: delay}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page/{number}", s.page)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

// URLs are the addresses of the pages.
func (s *Site) URLs() []string {
	urls := make([]string, Pages)
	for i := range urls {
		urls[i] = s.base + "/page/" + strconv.Itoa(i+1)
	}
	return urls
}

// Close ends the site at once.
func (s *Site) Close() { _ = s.server.Close() }

func (s *Site) page(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.Atoi(r.PathValue("number"))
	if err != nil || number < 1 || number > len(titles) {
		http.NotFound(w, r)
		return
	}
	thinking := time.NewTimer(s.delay)
	defer thinking.Stop()
	select {
	case <-thinking.C:
	case <-r.Context().Done():
		return
	}
	if titles[number-1] == "" {
		http.Error(w, "the database of this page is on holiday", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, "<!doctype html><html><head><title>%s</title></head><body>...</body></html>", html.EscapeString(titles[number-1]))
}

// largestPage bounds what is read of a page; the title stands at its beginning.
const largestPage = 1 << 20

// ErrNoTitle says that a page has no title.
var ErrNoTitle = errors.New("the page has no title")

// Title fetches a page and returns its title. Another status than 200 is an error.
func Title(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", url, response.Status)
	}
	return titleOf(io.LimitReader(response.Body, largestPage))
}

// titleOf finds the first title element.
func titleOf(page io.Reader) (string, error) {
	tokens := html.NewTokenizer(page)
	inTitle := false
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			if err := tokens.Err(); !errors.Is(err, io.EOF) {
				return "", err
			}
			return "", ErrNoTitle
		case html.StartTagToken:
			name, _ := tokens.TagName()
			inTitle = string(name) == "title"
		case html.TextToken:
			if title := strings.Join(strings.Fields(string(tokens.Text())), " "); inTitle && title != "" {
				return title, nil
			}
		case html.EndTagToken, html.SelfClosingTagToken, html.CommentToken, html.DoctypeToken:
			inTitle = false
		}
	}
}
