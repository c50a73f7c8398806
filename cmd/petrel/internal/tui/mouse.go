package tui

import tea "charm.land/bubbletea/v2"

// wheel is how many rows the mouse's wheel scrolls.
const wheel = 3

// mouse scrolls what it is over, and opens what is clicked.
func (m *model) mouse(msg tea.MouseMsg) tea.Cmd {
	if m.help || m.ask != nil || m.page != chatPage {
		return nil
	}
	at := msg.Mouse()
	overList := m.narrow() && m.focus == onList || !m.narrow() && at.X < m.listWidth()
	switch msg := msg.(type) {
	case tea.MouseWheelMsg:
		by := wheel
		if msg.Button == tea.MouseWheelUp {
			by = -wheel
		}
		if overList {
			return m.move(by)
		}
		return m.scroll(by)
	case tea.MouseClickMsg:
		i := m.list.top + at.Y - 1
		switch {
		case overList && at.Y > 0 && i < len(m.list.rows):
			cmd := m.show(m.list.rows[i].ID)
			m.focus = onEditor
			return cmd
		case !overList && m.open != nil:
			m.focus = onEditor
		}
	}
	return nil
}
