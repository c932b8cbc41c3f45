package top

import (
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
)

// press does what a key says. A question and the filter take the keys first.
func (m *model) press(key tea.KeyPressMsg) tea.Cmd {
	name := key.String()
	switch {
	case name == "ctrl+c":
		return tea.Quit
	case m.ask != "":
		return m.answer(name)
	case m.typing:
		m.typeFilter(name, key.Text)
		return nil
	}
	m.told = ""
	if by, ok := m.step(name); ok {
		if m.detail {
			m.scroll = max(m.scroll+by, 0)
		} else {
			m.move(by)
		}
		return nil
	}
	return m.command(name)
}

// answer is that to the question whether to pause.
func (m *model) answer(key string) tea.Cmd {
	queue := m.ask
	m.ask = ""
	if key == "y" || key == "Y" {
		return m.act(queue)
	}
	m.told = "nothing was done"
	return nil
}

// typeFilter edits the filter.
func (m *model) typeFilter(key, typed string) {
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		_, size := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-size]
	case "ctrl+u":
		m.filter = ""
	default:
		m.filter += typed
	}
	m.move(0)
}

// step is how far a key moves the selection.
func (m *model) step(key string) (by int, ok bool) {
	const far = 1 << 20
	page := max(m.height-frameLines, 1)
	by, ok = map[string]int{
		"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -page, "pgdown": page, "ctrl+b": -page, "ctrl+f": page, "home": -far, "g": -far, "end": far, "G": far,
	}[key]
	return by, ok
}

// command does what the other keys say.
func (m *model) command(key string) tea.Cmd {
	switch key {
	case "q":
		return tea.Quit
	case "tab", "right", "l":
		return m.open((m.view + 1) % views)
	case "shift+tab", "left", "h":
		return m.open((m.view + views - 1) % views)
	case "1", "2", "3", "4":
		return m.open(view(key[0] - '1'))
	case "enter":
		m.detail, m.scroll = !m.detail && len(m.rowKeys()) > 0, 0
		return m.fetch()
	case "esc", "backspace":
		m.back()
	case "/":
		m.typing, m.detail = true, false
	case "s":
		m.order = (m.order + 1) % orders
		m.follow()
	case "p":
		m.askAbout(m.queue())
	}
	return nil
}

// back leaves the details, or removes the filter.
func (m *model) back() {
	if !m.detail {
		m.filter = ""
	}
	m.detail = false
	m.follow()
}

// askAbout asks whether a queue is to be paused, or resumed.
func (m *model) askAbout(q *Queue) {
	if q != nil {
		m.ask = q.Name
	}
}

// open opens a list, and looks at once for what it shows.
func (m *model) open(to view) tea.Cmd {
	m.view, m.detail, m.scroll = to, false, 0
	m.follow()
	return m.fetch()
}

// passes tells whether the filter lets a row through.
func (m *model) passes(texts ...string) bool {
	if m.filter == "" {
		return true
	}
	for _, text := range texts {
		if strings.Contains(strings.ToLower(text), strings.ToLower(m.filter)) {
			return true
		}
	}
	return false
}
