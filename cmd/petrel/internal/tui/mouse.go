package tui

import (
	tea "charm.land/bubbletea/v2"

	"github.com/petrelchat/petrel/chat"
)

// wheel is how many rows the mouse's wheel scrolls.
const wheel = 3

// mouse scrolls what it is over, and opens or chooses what is clicked.
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
			m.click(at.Y)
		}
	}
	return nil
}

// click chooses the message in a row of the screen; elsewhere the keys go to the text.
func (m *model) click(y int) {
	t, view := m.open, m.viewHeight()
	m.focus, t.sel = onEditor, ""
	row := y - 1 // the head is above
	if row < 0 || row >= view {
		return
	}
	row += t.topRow(view) - max(view-t.height, 0) // few messages stand at the bottom
	for i, b := range t.blocks {
		if row < 0 {
			return
		}
		if row < len(b.rows) {
			if row >= b.rules && t.msgs[i].Kind == chat.KindPost {
				t.sel, m.focus = b.key, onMessages
			}
			return
		}
		row -= len(b.rows)
	}
}
