package top

import "charm.land/lipgloss/v2"

// looks are the styles. They use the sixteen colours of the terminal, so that they fit its theme, dark or light; each says by its text
// too what its colour says, for those who see none.
type looks struct {
	title, faint, good, warn, bad, mark, selected, tab, key lipgloss.Style
}

func newLooks() *looks {
	plain := lipgloss.NewStyle()
	return &looks{
		title:    plain.Bold(true),
		faint:    plain.Foreground(lipgloss.BrightBlack),
		good:     plain.Foreground(lipgloss.Green),
		warn:     plain.Foreground(lipgloss.Yellow),
		bad:      plain.Foreground(lipgloss.Red).Bold(true),
		mark:     plain.Foreground(lipgloss.Cyan),
		selected: plain.Reverse(true),
		tab:      plain.Foreground(lipgloss.Cyan).Bold(true).Underline(true),
		key:      plain.Bold(true),
	}
}

// when is a style for a number that is not 0.
func (l *looks) when(n int64, style lipgloss.Style) lipgloss.Style {
	if n == 0 {
		return l.faint
	}
	return style
}
